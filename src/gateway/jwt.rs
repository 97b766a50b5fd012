//! Signed tokens (JWT, RFC 7519) of an identity provider that the operator trusts.
//!
//! A token is checked in memory. Its keys come from elsewhere: whoever loads them calls
//! [`Jwt::replace`], and a token of a key that is not known asks for that, now and then.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Validation, decode, decode_header};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::{JwksSource, JwtClaims, JwtSettings};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::key::TokenHash;

mod keys;

pub use keys::{BadKeys, Keys};

/// Tokens that were found to be good and are remembered.
const REMEMBERED: usize = 4096;
/// How often at most a token of an unknown key has the keys read again.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long such a token waits for that.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who pays.
    pub organization: OrganizationId,
    /// The run that it is for, if it is for one.
    pub run: Option<RunId>,
    /// When it ends, in seconds since 1970; the leeway is not in it.
    expires: u64,
}

/// A token as it came, and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Its three parts.
    pub text: &'a str,
    /// The hash of them.
    pub hash: TokenHash,
}

/// Nothing is known of any key yet, so no token can be told from another.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the keys of signed tokens have not been read yet")]
pub struct NoKeys;

/// What is known at a time. What was found to be good by other keys is forgotten with them.
struct Known {
    keys: Keys,
    good: Cache<TokenHash, Arc<Claims>>,
}

/// Tells good tokens from bad ones.
pub struct Jwt {
    settings: JwtSettings,
    known: ArcSwapOption<Known>,
    /// When somebody last wanted the keys to be read, and how often they had been by then.
    asked: Mutex<Option<(Instant, u64)>>,
    wanted: Notify,
    /// How often the keys were read, or could not be.
    looked: watch::Sender<u64>,
}

impl Jwt {
    /// Without any key yet.
    pub fn new(settings: JwtSettings) -> Self {
        Self {
            settings,
            known: ArcSwapOption::empty(),
            asked: Mutex::default(),
            wanted: Notify::new(),
            looked: watch::Sender::new(0),
        }
    }

    /// Where its keys are.
    pub fn source(&self) -> &JwksSource {
        &self.settings.keys
    }

    /// How often keys behind a URL are to be read.
    pub fn refresh(&self) -> Duration {
        self.settings.refresh
    }

    /// Takes in keys that were read.
    pub fn replace(&self, keys: Keys) {
        let known = self.known.load();
        // What is as it was goes on being remembered.
        if known.as_ref().is_none_or(|known| known.keys != keys) {
            let good = Cache::new(REMEMBERED);
            self.known.store(Some(Arc::new(Known { keys, good })));
        }
    }

    /// The keys were read, or could not be: whoever waits for it waits no longer.
    pub fn looked(&self) {
        self.looked.send_modify(|times| *times += 1);
    }

    /// Completes when somebody wants the keys to be read again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    /// If nothing is known that it could be told by.
    pub async fn check(&self, token: Signed<'_>) -> Result<Option<Arc<Claims>>, NoKeys> {
        let known = self.known.load_full();
        if let Some(known) = &known {
            if let Some(claims) = known.good.get(&token.hash) {
                return Ok((!self.is_over(&claims)).then_some(claims));
            }
            let Some(kid) = key_id(token.text) else { return Ok(None) };
            if known.keys.get(&kid).is_some() {
                return Ok(self.verify(known, token, &kid));
            }
        }
        self.look_again().await;
        let known = self.known.load_full().ok_or(NoKeys)?;
        let kid = key_id(token.text);
        Ok(kid.and_then(|kid| self.verify(&known, token, &kid)))
    }

    /// Has the keys read again and waits for it, unless that was only just done.
    async fn look_again(&self) {
        // A file is read again when it changes.
        if matches!(self.settings.keys, JwksSource::File(_)) {
            return;
        }
        let mut looked = self.looked.subscribe();
        {
            let mut asked = self.asked.lock();
            let (now, times) = (Instant::now(), *looked.borrow());
            match *asked {
                Some((last, before)) if now.duration_since(last) < ASK_EVERY => {
                    if before != times {
                        return;
                    }
                }
                Some(_) | None => {
                    *asked = Some((now, times));
                    self.wanted.notify_one();
                }
            }
        }
        let _heard_or_not = tokio::time::timeout(PATIENCE, looked.changed()).await;
    }

    fn verify(&self, known: &Known, token: Signed<'_>, kid: &str) -> Option<Arc<Claims>> {
        let key = known.keys.get(kid)?;
        let mut wanted = Validation::new(key.algorithm);
        wanted.leeway = self.settings.leeway.as_secs();
        wanted.validate_nbf = true;
        wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
        wanted.set_issuer(&[&self.settings.issuer]);
        wanted.set_audience(&[&self.settings.audience]);
        let decoded = decode::<Map<String, Value>>(token.text, &key.key, &wanted);
        let claims = Arc::new(self.read(&decoded.ok()?.claims)?);
        known.good.insert(token.hash, Arc::clone(&claims));
        Some(claims)
    }

    /// What a token's claims say, if they say it plainly.
    fn read(&self, claims: &Map<String, Value>) -> Option<Claims> {
        let JwtClaims { organization, run, scope, needed_scope } = &self.settings.claims;
        // The library would take a list of issuers too.
        claims.get("iss")?.as_str()?;
        let has_scope = match claims.get(scope)? {
            Value::String(scopes) => scopes.split(' ').any(|scope| scope == needed_scope),
            Value::Array(scopes) => {
                scopes.iter().any(|scope| scope.as_str() == Some(needed_scope.as_str()))
            }
            _ => false,
        };
        let organization = match claims.get(organization) {
            None => OrganizationId::DEFAULT,
            Some(id) => OrganizationId::parse(id.as_str()?)?,
        };
        let run = match claims.get(run) {
            None => None,
            Some(id) => Some(RunId::parse(id.as_str()?)?),
        };
        let expires = claims.get("exp")?;
        let expires = expires.as_u64().or_else(|| whole(expires))?;
        has_scope.then_some(Claims { organization, run, expires })
    }

    fn is_over(&self, claims: &Claims) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        claims.expires < now.saturating_sub(self.settings.leeway).as_secs()
    }
}

/// The whole seconds of a time that is written with a fraction.
fn whole(seconds: &Value) -> Option<u64> {
    seconds.as_number()?.to_string().split_once('.')?.0.parse().ok()
}

/// The key that a token names. One that names none, or that demands what nobody here understands
/// (`crit`; RFC 7515, section 4.1.11), is not good.
fn key_id(token: &str) -> Option<String> {
    let header = decode_header(token).ok()?;
    header.kid.filter(|_| header.crit.is_none())
}
