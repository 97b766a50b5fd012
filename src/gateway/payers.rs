//! The organizations and inference keys that this gateway has met, as it last heard of them.
//!
//! Nothing is admitted on what stands here: the ledger looks at the key and at every budget behind
//! its locks. This says which budgets those are, and saves questions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use parking_lot::RwLock;
use uuid::Uuid;

use crate::config::RateLimits;
use crate::domain::budget::BudgetRef;
use crate::domain::id::{KeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::limits::Limits;
use crate::domain::organization::{KeySnapshot, KeyStatus, OrganizationSnapshot};
use crate::domain::reservation::Authority;
use crate::ledger::LedgerError;
use crate::limits::Concurrency;
use crate::limits::pace::Paced;

use super::certificates::Certificates;
use super::directory::{Directory, KnownRun, NotFound};

/// An organization that this gateway has met.
pub struct KnownOrganization {
    /// Its id.
    pub id: OrganizationId,
    /// The pace of all of its calls.
    pub paced: Paced,
    /// The number of all of its calls, if that is limited.
    pub concurrency: Arc<Concurrency>,
    heard: RwLock<Arc<OrganizationSnapshot>>,
}

/// An inference key that this gateway has met.
pub struct KnownKey {
    /// Its id.
    pub id: KeyId,
    /// The order, number and pace of its calls that name no run.
    pub account: Arc<KnownRun>,
    heard: RwLock<Arc<KeySnapshot>>,
}

/// Those that were met.
#[derive(Default)]
pub(super) struct Payers {
    organizations: RwLock<HashMap<OrganizationId, Arc<KnownOrganization>>>,
    keys: RwLock<HashMap<KeyId, Arc<KnownKey>>>,
    secrets: RwLock<HashMap<TokenHash, KeyId>>,
    certificates: Certificates,
}

impl KnownOrganization {
    /// One of which nothing is set and that has no budgets.
    pub fn bare(id: OrganizationId) -> Arc<Self> {
        let (settings, budgets) = (None, Vec::new());
        let snapshot = OrganizationSnapshot { id, settings, budgets, version: 0 };
        let heard = RwLock::new(Arc::new(snapshot));
        let paced = Paced::new(Limits::default());
        Arc::new(Self { id, paced, concurrency: Arc::default(), heard })
    }

    /// What was last heard of it.
    pub fn heard(&self) -> Arc<OrganizationSnapshot> {
        Arc::clone(&self.heard.read())
    }

    /// Learns what was read `after` this version of it. What was heard otherwise meanwhile stays,
    /// if it is newer.
    fn update(&self, snapshot: OrganizationSnapshot, rates: &RateLimits, after: Option<u64>) {
        let mut heard = self.heard.write();
        if snapshot.version >= heard.version || after == Some(heard.version) {
            let limits = snapshot.settings.as_ref().map(|settings| settings.limits);
            self.paced.set(limits.unwrap_or_default().share(rates.gateways));
            *heard = Arc::new(snapshot);
        }
    }
}

impl KnownKey {
    /// What was last heard of it.
    pub fn heard(&self) -> Arc<KeySnapshot> {
        Arc::clone(&self.heard.read())
    }

    /// Whether it looks good to whoever shows this for it. The ledger decides on every call.
    pub(super) fn admits(&self, authority: Authority) -> bool {
        matches!(authority, Authority::Key(id, hash) if id == self.id && self.is_good(hash))
    }

    /// Whether it looks good, and this secret for it, if one is shown. The ledger decides on every
    /// call, by its own clock.
    fn is_good(&self, hash: Option<TokenHash>) -> bool {
        let heard = self.heard.read();
        let expired = heard.terms.expires_at.is_some_and(|expiry| Utc::now() >= expiry);
        let shown = hash.is_none_or(|hash| heard.hash == hash);
        heard.status == KeyStatus::Active && shown && !expired
    }

    /// Whether one of these names in a certificate stands for it.
    pub(super) fn answers_to(&self, names: &[String]) -> bool {
        let heard = self.heard.read();
        heard.terms.client_identity.as_ref().is_some_and(|identity| names.contains(identity))
    }

    /// As [`KnownOrganization::update`].
    fn update(&self, snapshot: KeySnapshot, rates: &RateLimits, after: Option<u64>) {
        let mut heard = self.heard.write();
        if snapshot.version >= heard.version || after == Some(heard.version) {
            self.account.paced.set(snapshot.terms.limits().share(rates.gateways));
            *heard = Arc::new(snapshot);
        }
    }
}

/// The budgets that a call falls under, in the order of checking.
pub fn budgets_of(run: &KnownRun, key: Option<&KnownKey>) -> Vec<BudgetRef> {
    let payer = run.payer.heard();
    let mut budgets = run.budgets();
    if key.is_none() && payer.budgets.is_empty() {
        return budgets;
    }
    budgets.extend_from_slice(&payer.budgets);
    if let Some(key) = key {
        budgets.extend_from_slice(&key.heard().budgets);
    }
    budgets.sort_by_key(BudgetRef::rank);
    budgets
}

impl Directory {
    /// The organization of this id. One that the ledger does not know has no budgets.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn organization(
        &self,
        id: OrganizationId,
    ) -> Result<Arc<KnownOrganization>, LedgerError> {
        if let Some(known) = self.payers.organizations.read().get(&id) {
            return Ok(Arc::clone(known));
        }
        let snapshot = self.ledger.find_organization(id).await?;
        let mut organizations = self.payers.organizations.write();
        let known = organizations.entry(id).or_insert_with(|| KnownOrganization::bare(id));
        if let Some(snapshot) = snapshot {
            known.update(snapshot, &self.rates, None);
        }
        Ok(Arc::clone(known))
    }

    /// The key of this secret, if it is good. One that does not look good is asked of the ledger
    /// every time, and only so often in vain `from` an address.
    ///
    /// # Errors
    /// If the ledger cannot answer, or is not asked.
    pub async fn by_key(
        &self,
        hash: TokenHash,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownKey>>, NotFound> {
        let known = || {
            let id = self.payers.secrets.read().get(&hash).copied()?;
            self.known_key(id).filter(|key| key.is_good(Some(hash)))
        };
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        self.ask_for_stranger(from, known, async {
            let Some(snapshot) = self.ledger.find_key(hash).await? else { return Ok(None) };
            let payer = self.organization(snapshot.organization).await?;
            let key = self.meet_key(snapshot, payer);
            Ok(key.is_good(Some(hash)).then_some(key))
        })
        .await
    }

    /// The key that one of these names in a certificate stands for, and whether it is good. Names
    /// that stand for none are asked about again after a while only: the certificate may be there
    /// beside tokens, at every call.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn by_certificate(
        &self,
        names: &[String],
    ) -> Result<Option<(Arc<KnownKey>, bool)>, NotFound> {
        let seen = Certificates::hash(names);
        let with_standing = |key: Arc<KnownKey>| {
            let good = key.is_good(None);
            (key, good)
        };
        let met = || self.known_key(self.payers.certificates.key(seen)?);
        // The names may have been taken from the key since, and given to another one.
        let still = || met().filter(|key| key.answers_to(names)).map(with_standing);
        let known = || still().filter(|(_, good)| *good);
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        let was_taken = met().is_some_and(|key| !key.answers_to(names));
        if self.payers.certificates.is_fresh(seen) && !was_taken {
            return Ok(still());
        }
        self.ask_for_stranger(None, known, async {
            let found = self.ledger.find_key_by_identity(names).await?;
            self.payers.certificates.note(seen, found.as_ref().map(|key| key.id));
            let Some(snapshot) = found else { return Ok(None) };
            let payer = self.organization(snapshot.organization).await?;
            Ok(Some(with_standing(self.meet_key(snapshot, payer))))
        })
        .await
    }

    /// The key of this id, if it was met.
    pub fn known_key(&self, id: KeyId) -> Option<Arc<KnownKey>> {
        let known = self.payers.keys.read().get(&id).cloned()?;
        known.account.touch();
        Some(known)
    }

    fn meet_key(&self, snapshot: KeySnapshot, payer: Arc<KnownOrganization>) -> Arc<KnownKey> {
        self.payers.secrets.write().insert(snapshot.hash, snapshot.id);
        let mut keys = self.payers.keys.write();
        if let Some(known) = keys.get(&snapshot.id) {
            known.update(snapshot, &self.rates, None);
            return Arc::clone(known);
        }
        let account = KnownRun::of_key(&snapshot, payer, self.halt.clone(), &self.rates);
        let account = Arc::new(account);
        let heard = RwLock::new(Arc::new(snapshot.clone()));
        let known = Arc::new(KnownKey { id: snapshot.id, account, heard });
        keys.insert(known.id, Arc::clone(&known));
        known
    }

    /// Asks the ledger again about a key that is known here.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn refresh_key(&self, id: KeyId) -> Result<(), LedgerError> {
        self.refresh_key_after(id, None).await
    }

    /// The same where the ledger said that the version `after` is not the key's any more: a
    /// database that took another's place may know an earlier one only.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub(super) async fn refresh_key_after(
        &self,
        id: KeyId,
        after: Option<u64>,
    ) -> Result<(), LedgerError> {
        let Some(known) = self.payers.keys.read().get(&id).cloned() else { return Ok(()) };
        if let Some(snapshot) = self.ledger.find_key_by_id(id).await? {
            self.payers.secrets.write().insert(snapshot.hash, id);
            known.update(snapshot, &self.rates, after);
        }
        known.account.wake();
        Ok(())
    }

    /// Asks the ledger again about an organization that is known here, and wakes who waits for it.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn refresh_organization(&self, id: OrganizationId) -> Result<(), LedgerError> {
        self.refresh_organization_after(id, None).await
    }

    /// The same where the ledger said that the version `after` is not the organization's any more.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub(super) async fn refresh_organization_after(
        &self,
        id: OrganizationId,
        after: Option<u64>,
    ) -> Result<(), LedgerError> {
        let Some(known) = self.payers.organizations.read().get(&id).cloned() else { return Ok(()) };
        if let Some(snapshot) = self.ledger.find_organization(id).await? {
            known.update(snapshot, &self.rates, after);
        }
        self.wake_payer(id);
        Ok(())
    }

    /// The keys and organizations that are known here.
    pub(super) fn known_payers(&self) -> (Vec<KeyId>, Vec<OrganizationId>) {
        let keys = self.payers.keys.read().keys().copied().collect();
        (keys, self.payers.organizations.read().keys().copied().collect())
    }

    /// Money of a key or an organization became free: whoever may fall under it asks again.
    pub(super) fn wake_shared(&self, whose: Uuid) {
        match self.payers.keys.read().get(&KeyId::from_uuid(whose)) {
            // Calls for a run wait in the order of the run.
            Some(key) => self.wake_payer(key.account.terms.organization),
            None => self.wake_payer(OrganizationId::from_uuid(whose)),
        }
    }

    fn wake_payer(&self, organization: OrganizationId) {
        let all = self.accounts();
        for known in all.iter().filter(|known| known.terms.organization == organization) {
            if known.queue.waiting() > 0 {
                known.queue.wake_head();
            }
        }
    }

    /// What keys have under way without a run.
    pub(super) fn key_accounts(&self) -> Vec<Arc<KnownRun>> {
        self.payers.keys.read().values().map(|key| Arc::clone(&key.account)).collect()
    }

    /// Forgets keys that nobody used in a while, secrets that are no longer theirs, and
    /// organizations of which nobody is known any more. Their limits are full again by then.
    pub(super) fn forget_idle_payers(&self, now: Instant) {
        let mut keys = self.payers.keys.write();
        keys.retain(|_, key| Arc::strong_count(key) > 1 || !key.account.is_idle(now));
        self.payers
            .secrets
            .write()
            .retain(|hash, id| keys.get(id).is_some_and(|key| key.heard.read().hash == *hash));
        drop(keys);
        self.payers.organizations.write().retain(|_, known| Arc::strong_count(known) > 1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use crate::domain::organization::KeyTerms;
    use crate::ledger::memory::MemoryLedger;
    use crate::limits::pace::Pace;

    use super::*;

    fn key_of(organization: OrganizationId) -> KeySnapshot {
        let id = KeyId::generate();
        KeySnapshot {
            id,
            organization,
            terms: KeyTerms { rate_limit_rpm: Some(60), ..KeyTerms::default() },
            status: KeyStatus::Active,
            hash: TokenHash::of(&id.to_string()),
            budgets: Vec::new(),
            version: 0,
        }
    }

    #[test]
    fn a_hundred_thousand_keys_used_once_do_not_stay() {
        const KEYS: usize = 100_000;
        let (events, _nobody_listens) = tokio::sync::mpsc::unbounded_channel();
        let ledger = MemoryLedger::new(Utc::now, None, events);
        let directory = Directory::new(ledger, CancellationToken::new(), Arc::default());
        let meet = || {
            let payer = KnownOrganization::bare(OrganizationId::generate());
            directory.payers.organizations.write().insert(payer.id, Arc::clone(&payer));
            directory.meet_key(key_of(payer.id), payer)
        };
        let use_once = |key: &KnownKey| -> Weak<Pace> {
            let pace = key.account.paced.now().pace.unwrap();
            assert!(pace.rates().iter().all(|rate| rate.take(1).is_ok()));
            Arc::downgrade(&pace)
        };
        let in_use = meet();
        let used: Vec<_> = (0..KEYS).map(|_| use_once(&meet())).collect();
        let known = || {
            let (keys, organizations) = directory.known_payers();
            (keys.len(), organizations.len(), directory.payers.secrets.read().len())
        };
        let minutes = |count: u64| Instant::now() + Duration::from_secs(60 * count);
        directory.forget_idle(minutes(5));
        assert_eq!(known(), (KEYS + 1, KEYS + 1, KEYS + 1), "they may come back");
        directory.forget_idle(minutes(11));
        assert_eq!(known(), (1, 1, 1), "somebody calls with one of them");
        assert!(used.iter().all(|pace| pace.upgrade().is_none()));
        assert!(directory.known_key(in_use.id).is_some());
    }
}
