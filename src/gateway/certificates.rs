//! Clients' certificates as credentials: a name in one may stand for an inference key.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::domain::fault::Fault;
use crate::domain::id::KeyId;
use crate::domain::key::{Credential, TokenHash};

use super::caller::{Identity, Presented, invalid_key, not_found, two_credentials};
use super::{Gateway, Mode};

/// Certificates that are remembered.
const REMEMBERED: usize = 4096;
/// How long it is remembered that a certificate stands for no key, or for one that is not good.
const FRESH: Duration = Duration::from_secs(2);

/// Which certificates stand for which keys, by the hash of their names.
pub(super) struct Certificates(Cache<TokenHash, Seen>);

#[derive(Clone, Copy)]
struct Seen {
    key: Option<KeyId>,
    at: Instant,
}

impl Default for Certificates {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Certificates {
    /// The hash of a certificate's names.
    pub(super) fn hash(names: &[String]) -> TokenHash {
        // With their lengths, so that no name passes for two.
        let named = |name: &String| format!("{}:{name}", name.len());
        TokenHash::of(&names.iter().map(named).collect::<String>())
    }

    /// The key that it stood for when that was last looked at.
    pub(super) fn key(&self, names: TokenHash) -> Option<KeyId> {
        self.0.get(&names)?.key
    }

    /// Whether that was only just now.
    pub(super) fn is_fresh(&self, names: TokenHash) -> bool {
        self.0.get(&names).is_some_and(|seen| seen.at.elapsed() < FRESH)
    }

    /// Takes in what the ledger says.
    pub(super) fn note(&self, names: TokenHash, key: Option<KeyId>) {
        self.0.insert(names, Seen { key, at: Instant::now() });
    }
}

impl Gateway {
    /// Who calls by the certificate of his connection, if it stands for a key. Beside it the same
    /// key may be sent, and no other credential.
    ///
    /// # Errors
    /// 400 if there is another credential; 401 if the certificate or its key is not good any more;
    /// 503 if the ledger cannot say.
    pub(super) async fn certified(&self, presented: &Presented) -> Result<Option<Identity>, Fault> {
        if presented.certificate_is_bad {
            return Err(invalid_key());
        }
        let names = &presented.certificate_names;
        if names.is_empty() || self.mode == Mode::Dev {
            return Ok(None);
        }
        let found = self.directory.by_certificate(names).await.map_err(not_found)?;
        let Some((key, good)) = found else { return Ok(None) };
        let hash = key.heard().hash;
        if presented.credentials.iter().any(|one| *one != Credential::InferenceKey(hash)) {
            return Err(two_credentials());
        }
        if good { Ok(Some(Identity::Key(key, None))) } else { Err(invalid_key()) }
    }
}
