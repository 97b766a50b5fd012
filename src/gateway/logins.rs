//! Credentials of the control plane, guessed rarely. Passwords of members are hashed slowly, off
//! the workers, a few at a time.
//!
//! What a member may do is read with each request, and so is the hash of his password. Only the
//! slow comparison of the two is remembered, for a minute: so a member who is taken out, or gets
//! another password, is refused at once on every gateway.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::OrganizationId;
use crate::domain::key::TokenHash;
use crate::domain::organization::Role;
use crate::ledger::members::PasswordHash;
use crate::ledger::organizations::OrchestratorKey;
use crate::limits::connections::household;
use crate::limits::failures::Failures;

use super::{Gateway, unavailable};

/// How long a comparison is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long it is remembered that an orchestrator key was good. It is looked up all the same.
const KEY_REMEMBERED: Duration = Duration::from_secs(3600);
/// How many of each are remembered.
const MAX_REMEMBERED: usize = 1_024;
/// How many passwords are hashed at once: each takes 19 MiB and a processor.
const MAX_AT_ONCE: usize = 2;
/// How long a login waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Failures of an address: so many at once, then one at each interval.
const OF_ADDRESS: (u32, Duration) = (20, Duration::from_secs(6));
/// Failures of a name, from whatever addresses. More than of an address, so that one who guesses
/// does not keep the member himself out.
const OF_NAME: (u32, Duration) = (60, Duration::from_secs(2));

/// What a password is compared with where there is no such member. It is the hash of nothing.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cnVuZ2F0ZXJ1bmdhdGVydQ$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What is known of logins.
pub(super) struct Logins {
    places: Semaphore,
    addresses: Failures,
    names: Failures,
    key: OnceLock<[u8; 32]>,
    /// Passwords that were right, by the digest of the comparison.
    passwords: Remembered,
    /// Orchestrator keys that were good, by the hash of their secret. Apart from the passwords, so
    /// that however many an organization has, no member is forgotten for them.
    keys: Remembered,
}

/// What was good, until when that is believed.
#[derive(Default)]
struct Remembered(Mutex<HashMap<[u8; 32], Instant>>);

impl Remembered {
    fn has(&self, what: &[u8; 32], now: Instant) -> bool {
        self.0.lock().get(what).is_some_and(|until| now < *until)
    }

    fn add(&self, what: [u8; 32], now: Instant, long: Duration) {
        let mut known = self.0.lock();
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, until| now < *until);
        }
        if known.len() < MAX_REMEMBERED || known.contains_key(&what) {
            known.insert(what, now + long);
        }
    }

    fn forget(&self, what: &[u8; 32]) {
        self.0.lock().remove(what);
    }
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            places: Semaphore::new(MAX_AT_ONCE),
            addresses: Failures::new(OF_ADDRESS.0, OF_ADDRESS.1),
            names: Failures::new(OF_NAME.0, OF_NAME.1),
            key: OnceLock::new(),
            passwords: Remembered::default(),
            keys: Remembered::default(),
        }
    }
}

impl Logins {
    /// What a comparison is remembered by: a hash that nobody outside of this process can make.
    fn digest(&self, password: &SecretString, hash: &PasswordHash) -> Option<[u8; 32]> {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).ok()?;
        let key = self.key.get_or_init(|| fresh);
        let mut digest = Sha256::new();
        digest.update(key);
        // The salt in it is the member's own, so it stands for him too.
        digest.update(Sha256::digest(hash.0.as_bytes()));
        digest.update(Sha256::digest(password.expose_secret().as_bytes()));
        Some(digest.finalize().into())
    }
}

fn too_many(wait: Duration) -> Fault {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    Fault::new(Code::RateLimited, "Too many credentials were wrong. Wait, and check what you send.")
        .retry_after(seconds)
}

fn busy() -> Fault {
    Fault::new(Code::Unavailable, "Too many are signing in right now. Try again shortly.")
        .retry_after(1)
}

impl Gateway {
    /// What somebody may do who says that he is this member of this organization; `None` if his
    /// name or his password is wrong, which takes the same time.
    ///
    /// # Errors
    /// 429 if too many of his address or his name were wrong; 503 if too many sign in at once.
    pub async fn sign_in(
        &self,
        organization: OrganizationId,
        name: &str,
        password: SecretString,
        from: Option<IpAddr>,
    ) -> Result<Option<Role>, Fault> {
        let now = Instant::now();
        let found = self.ledger.find_member(organization, name).await.map_err(unavailable)?;
        let (role, hash) = match found {
            Some((role, hash)) => (Some(role), hash),
            None => (None, PasswordHash(NOBODY.to_owned())),
        };
        let digest = self.logins.digest(&password, &hash);
        if digest.is_some_and(|digest| self.logins.passwords.has(&digest, now)) {
            return Ok(role);
        }
        let (address, whose) = (from.map(household), (organization, name));
        self.logins.addresses.check(address, now).map_err(too_many)?;
        self.logins.names.check(whose, now).map_err(too_many)?;
        let place = self.place().await?;
        // Another request may have brought the same meanwhile.
        if digest.is_some_and(|digest| self.logins.passwords.has(&digest, now)) {
            return Ok(role);
        }
        // Taken in one's place, so that no more are out than there are places: a member who asks
        // many things at once is not taken for somebody who guesses.
        let by_address = self.logins.addresses.take(address, now).map_err(too_many)?;
        let by_name = self.logins.names.take(whose, now).map_err(too_many)?;
        let matches = move || {
            Argon2::default().verify_password(password.expose_secret().as_bytes(), &*hash.0)
        };
        let compared = self.spawn_blocking(matches).await.map_err(failed)?;
        drop(place);
        if compared.is_err() || role.is_none() {
            return Ok(None);
        }
        by_address.give_back();
        by_name.give_back();
        if let Some(digest) = digest {
            self.logins.passwords.add(digest, now, REMEMBERED);
        }
        Ok(role)
    }

    /// The orchestrator key of this secret, if it is good. One that was good a while ago is looked
    /// up whatever else came from its address: who sends wrong ones there keeps nobody out.
    ///
    /// # Errors
    /// 429 if too many of this address were wrong; 503 if the ledger cannot say.
    pub async fn find_orchestrator(
        &self,
        secret: TokenHash,
        from: Option<IpAddr>,
    ) -> Result<Option<OrchestratorKey>, Fault> {
        let (address, now) = (from.map(household), Instant::now());
        if !self.logins.keys.has(secret.as_bytes(), now) {
            self.logins.addresses.check(address, now).map_err(too_many)?;
        }
        let found = self.ledger.find_orchestrator_key(secret).await.map_err(unavailable)?;
        match found {
            Some(_) => self.logins.keys.add(*secret.as_bytes(), now, KEY_REMEMBERED),
            None => {
                self.logins.keys.forget(secret.as_bytes());
                let _failed = self.logins.addresses.take(address, now);
            }
        }
        Ok(found)
    }

    /// Counts a token that is not the operator's. His own is not looked for here, so nobody's
    /// guesses keep him out.
    ///
    /// # Errors
    /// 429 if too many of this address were wrong.
    pub fn count_guess(&self, from: Option<IpAddr>) -> Result<(), Fault> {
        let guess = self.logins.addresses.take(from.map(household), Instant::now());
        guess.map(drop).map_err(too_many)
    }

    /// Hashes a password for storage.
    pub(super) async fn hash_password(
        &self,
        password: Zeroizing<String>,
    ) -> Result<PasswordHash, Fault> {
        let hash = move || Argon2::default().hash_password(password.as_bytes());
        let _place = self.place().await?;
        match self.spawn_blocking(hash).await.map_err(failed)? {
            Ok(hash) => Ok(PasswordHash(hash.to_string())),
            Err(error) => Err(failed(error)),
        }
    }

    /// A place among those whose passwords are hashed.
    async fn place(&self) -> Result<SemaphorePermit<'_>, Fault> {
        let place = timeout(LONGEST_WAIT, self.logins.places.acquire()).await;
        place.map_err(|_| busy())?.map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::internal(
        Code::InternalError,
        "The password could not be looked at. Nothing was changed; try again.",
        error,
    )
}
