//! The runs that this gateway has met: what never changes about them, what was last heard of the
//! rest, and the order, number and pace of their calls here.
//!
//! Nothing is admitted on what stands here. The ledger decides; this only saves it questions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::RateLimits;
use crate::domain::id::RunId;
use crate::domain::key::TokenHash;
use crate::domain::run::RunSnapshot;
use crate::ledger::{Ledger, LedgerError, RunKey};
use crate::limits::strangers::Strangers;

pub use super::known::KnownRun;
use super::payers::{KnownOrganization, Payers};

/// All runs that this gateway has met.
pub struct Directory {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) payers: Payers,
    runs: RwLock<HashMap<RunId, Arc<KnownRun>>>,
    tokens: RwLock<HashMap<TokenHash, RunId>>,
    pub(super) halt: CancellationToken,
    pub(super) rates: Arc<RateLimits>,
    lookups: Semaphore,
    strangers: Strangers,
}

/// Why it could not be found out whose a credential is.
#[derive(Debug)]
pub enum NotFound {
    /// The ledger could not answer.
    Ledger(LedgerError),
    /// Too much was asked in vain from that address; the time until it may ask again.
    TooMany(Duration),
}

/// How many questions in vain an address may ask at once, and how long until it may ask another.
/// Sandboxes may share an address, and each of them may be wrong a few times.
const STRANGERS_BURST: u32 = 200;
const STRANGERS_INTERVAL: Duration = Duration::from_millis(50);

/// How many look-ups of unknown runs and tokens are under way at once.
const MAX_LOOKUPS: usize = 3;

impl Directory {
    /// A directory that knows nobody yet; `halt` cuts every call of every run.
    pub fn new(ledger: Arc<dyn Ledger>, halt: CancellationToken, rates: Arc<RateLimits>) -> Self {
        Self {
            ledger,
            payers: Payers::default(),
            runs: RwLock::default(),
            tokens: RwLock::default(),
            halt,
            rates,
            lookups: Semaphore::new(MAX_LOOKUPS),
            strangers: Strangers::new(STRANGERS_BURST, STRANGERS_INTERVAL),
        }
    }

    /// The run of this id, asked of the ledger the first time, and only so often in vain `from` an
    /// address.
    ///
    /// # Errors
    /// If the ledger cannot answer, or is not asked.
    pub async fn by_id(
        &self,
        id: RunId,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownRun>>, NotFound> {
        match self.known(id) {
            Some(known) => Ok(Some(known)),
            None => self.look_up(RunKey::Id(id), from).await,
        }
    }

    /// The run whose current attempt has this token. A token that is not known to be current is
    /// asked of the ledger every time, and only so often in vain `from` an address.
    ///
    /// # Errors
    /// If the ledger cannot answer, or is not asked.
    pub async fn by_token(
        &self,
        hash: TokenHash,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownRun>>, NotFound> {
        match self.known_by_token(hash) {
            Some(known) => Ok(Some(known)),
            None => self.look_up(RunKey::Token(hash), from).await,
        }
    }

    fn known_by_token(&self, hash: TokenHash) -> Option<Arc<KnownRun>> {
        let id = self.tokens.read().get(&hash).copied()?;
        self.known(id).filter(|known| known.standing().token == hash)
    }

    /// Asks the ledger again about a run that is known here.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn refresh(&self, id: RunId) -> Result<(), LedgerError> {
        let Some(known) = self.runs.read().get(&id).cloned() else { return Ok(()) };
        if let Some(snapshot) = self.ledger.find(RunKey::Id(id)).await? {
            known.learn(snapshot);
        }
        Ok(())
    }

    /// Money of a run, a key or an organization became free.
    pub fn wake(&self, whose: Uuid) {
        let run = self.runs.read().get(&RunId::from_uuid(whose)).cloned();
        match run {
            Some(known) => known.queue.wake_head(),
            None => self.wake_shared(whose),
        }
    }

    /// All runs, and what keys call without one.
    pub(super) fn accounts(&self) -> Vec<Arc<KnownRun>> {
        let mut all: Vec<_> = self.runs.read().values().cloned().collect();
        all.extend(self.key_accounts());
        all
    }

    /// Something changed that every waiting call has to hear of.
    pub fn wake_all(&self) {
        self.accounts().iter().for_each(|known| known.wake());
    }

    /// How many calls wait for money, over all runs.
    pub fn waiting(&self) -> usize {
        self.accounts().iter().map(|known| known.queue.waiting()).sum()
    }

    /// The ids of all runs that have calls under way here.
    pub fn busy(&self) -> Vec<RunId> {
        let runs = self.runs.read();
        let busy = runs.values().filter(|known| known.concurrency.taken() > 0);
        busy.map(|known| known.id).collect()
    }

    /// Asks the ledger again about all runs that have calls under way here, in one question.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub async fn refresh_busy(&self) -> Result<(), LedgerError> {
        let busy = self.busy();
        if busy.is_empty() {
            return Ok(());
        }
        for (id, standing) in self.ledger.standings(&busy).await? {
            if let Some(known) = self.runs.read().get(&id) {
                known.update(standing);
            }
        }
        Ok(())
    }

    /// The ids of all runs that are known here.
    pub fn ids(&self) -> Vec<RunId> {
        self.runs.read().keys().copied().collect()
    }

    /// How many runs are known here.
    pub fn len(&self) -> usize {
        self.runs.read().len()
    }

    /// Whether no run is known here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets runs that nobody called for in a while, and tokens that are no longer theirs.
    pub fn forget_idle(&self, now: Instant) {
        self.strangers.forget(now);
        let mut runs = self.runs.write();
        runs.retain(|_, known| Arc::strong_count(known) > 1 || !known.is_idle(now));
        self.tokens
            .write()
            .retain(|hash, id| runs.get(id).is_some_and(|known| known.standing().token == *hash));
        drop(runs);
        self.forget_idle_payers(now);
    }

    /// The run of this id, if it was met.
    pub fn known(&self, id: RunId) -> Option<Arc<KnownRun>> {
        let known = self.runs.read().get(&id).cloned()?;
        known.touch();
        Some(known)
    }

    async fn look_up(
        &self,
        key: RunKey,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownRun>>, NotFound> {
        let met = || match key {
            RunKey::Id(id) => self.known(id),
            RunKey::Token(hash) => self.known_by_token(hash),
        };
        self.ask_for_stranger(from, met, async {
            let Some(snapshot) = self.ledger.find(key).await? else { return Ok(None) };
            let payer = self.organization(snapshot.terms.organization).await?;
            if let RunKey::Token(hash) = key {
                self.tokens.write().insert(hash, snapshot.id);
            }
            Ok(Some(self.meet(snapshot, payer)))
        })
        .await
    }

    /// Asks the ledger about somebody who was not met. Anybody can make us ask, so only a few ask
    /// at once and never take the connections that orchestrators need, and no address asks in vain
    /// for long.
    pub(super) async fn ask_for_stranger<T>(
        &self,
        from: Option<IpAddr>,
        met: impl Fn() -> Option<T>,
        ask: impl Future<Output = Result<Option<T>, LedgerError>>,
    ) -> Result<Option<T>, NotFound> {
        let look = |address| self.strangers.check(address, Instant::now());
        from.map_or(Ok(()), look).map_err(NotFound::TooMany)?;
        let _place = self.lookups.acquire().await;
        // Meanwhile somebody may have asked the same.
        if let Some(met) = met() {
            return Ok(Some(met));
        }
        // Taken only now, so that a crowd of newcomers who wait here is no crowd of strangers.
        let take = |address| self.strangers.take(address, Instant::now());
        let question = from.map(take).transpose().map_err(NotFound::TooMany)?;
        let found = ask.await;
        // A ledger that is away is not the address's fault either.
        if !matches!(found, Ok(None))
            && let Some(question) = question
        {
            question.give_back();
        }
        found.map_err(NotFound::Ledger)
    }

    fn meet(&self, snapshot: RunSnapshot, payer: Arc<KnownOrganization>) -> Arc<KnownRun> {
        let mut runs = self.runs.write();
        if let Some(known) = runs.get(&snapshot.id) {
            known.learn(snapshot);
            return Arc::clone(known);
        }
        let known = Arc::new(KnownRun::new(snapshot, payer, self.halt.clone(), &self.rates));
        runs.insert(known.id, Arc::clone(&known));
        known
    }
}
