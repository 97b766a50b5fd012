//! The runs that this gateway has met: what never changes about them, what was last heard of the
//! rest, and the order, number and pace of their calls here.
//!
//! Nothing is admitted on what stands here. The ledger decides; this only saves it questions.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rust_decimal::Decimal;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::budget::{Balance, BudgetRef};
use crate::domain::control::AttemptBudget;
use crate::domain::id::{Attempt, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::run::{RunSnapshot, RunStanding, RunTerms};
use crate::ledger::queue::RunQueue;
use crate::ledger::{Ledger, LedgerError, RunKey};
use crate::limits::bodies::Bytes;
use crate::limits::strangers::Strangers;
use crate::limits::{Concurrency, RequestRate};

/// How long a run that nobody calls for is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// A run that this gateway has met.
pub struct KnownRun {
    /// Its id.
    pub id: RunId,
    /// What never changes.
    pub terms: RunTerms,
    /// The order of its calls.
    pub queue: Arc<RunQueue>,
    /// The number of its calls.
    pub concurrency: Arc<Concurrency>,
    /// The number of its readings of its usage.
    pub reads: Arc<Concurrency>,
    /// The bytes of its large bodies.
    pub bodies: Arc<Bytes>,
    /// The pace of its calls, if it has a limit.
    pub rate: Option<RequestRate>,
    /// Only one of its prompts is counted at a time.
    pub counting: Arc<tokio::sync::Mutex<()>>,
    changed: Notify,
    standing: RwLock<RunStanding>,
    budgets: RwLock<Vec<BudgetRef>>,
    cuts: Mutex<BTreeMap<Attempt, CancellationToken>>,
    balance: Mutex<Option<Balance>>,
    last_used: Mutex<Instant>,
    halt: CancellationToken,
}

impl KnownRun {
    fn new(snapshot: RunSnapshot, halt: CancellationToken) -> Self {
        let rate = snapshot.terms.requests_per_minute.and_then(NonZeroU32::new);
        Self {
            id: snapshot.id,
            terms: snapshot.terms,
            queue: Arc::default(),
            concurrency: Arc::default(),
            reads: Arc::default(),
            bodies: Arc::default(),
            rate: rate.map(RequestRate::per_minute),
            counting: Arc::default(),
            changed: Notify::new(),
            standing: RwLock::new(snapshot.standing),
            budgets: RwLock::new(snapshot.budgets),
            cuts: Mutex::default(),
            balance: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            halt,
        }
    }

    /// What was last heard of the run.
    pub fn standing(&self) -> RunStanding {
        *self.standing.read()
    }

    /// The rows of the budgets that its current attempt spends from, as last heard.
    pub fn budgets(&self) -> Vec<BudgetRef> {
        self.budgets.read().clone()
    }

    /// Completes at the next change that is heard of.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// What cuts the calls of an attempt. Already cancelled if the attempt is over.
    pub fn cut_token(&self, attempt: Attempt) -> CancellationToken {
        // Under the lock that an update takes as well: none falls in between.
        let mut cuts = self.cuts.lock();
        let standing = self.standing();
        let over = standing.attempt > attempt || (standing.attempt == attempt && standing.cut);
        let token = cuts.entry(attempt).or_insert_with(|| self.halt.child_token()).clone();
        drop(cuts);
        if over {
            token.cancel();
        }
        token
    }

    /// Takes in what was found out about the run.
    fn learn(&self, snapshot: RunSnapshot) {
        if snapshot.standing.version >= self.standing().version {
            *self.budgets.write() = snapshot.budgets;
        }
        self.update(snapshot.standing);
    }

    /// Whether a call of an attempt spends from the budgets that are current.
    fn is_current(&self, attempt: Attempt, standing: &RunStanding) -> bool {
        let shared = self.terms.control.attempt_budget == AttemptBudget::Shared;
        shared || attempt == standing.attempt
    }

    /// Takes in what was heard of the run: cuts what is to be cut, wakes who waits.
    fn update(&self, heard: RunStanding) {
        let mut cuts = self.cuts.lock();
        {
            let mut standing = self.standing.write();
            if heard.version < standing.version {
                return;
            }
            if !self.is_current(standing.attempt, &heard) {
                *self.balance.lock() = None;
            }
            *standing = heard;
        }
        cuts.retain(|attempt, token| {
            let over = *attempt < heard.attempt;
            if over || (*attempt == heard.attempt && heard.cut) {
                token.cancel();
            }
            !over
        });
        drop(cuts);
        self.changed.notify_waiters();
        self.queue.wake_head();
    }

    /// The run's dollars as this gateway knows them; `None` before it has asked the ledger.
    pub fn balance(&self) -> Option<Balance> {
        *self.balance.lock()
    }

    /// Takes in a balance that the ledger answered.
    pub fn set_balance(&self, balance: Balance) {
        *self.balance.lock() = Some(balance);
    }

    /// Takes in that a reservation of `reserved` became a cost of an attempt.
    pub fn note_settled(&self, attempt: Attempt, reserved: Usd, cost: Usd) {
        if !self.is_current(attempt, &self.standing()) {
            return;
        }
        let mut known = self.balance.lock();
        let Some(balance) = known.as_mut() else { return };
        balance.spent = balance.spent.saturating_add(cost.decimal()).normalize();
        let rest = balance.reserved.saturating_sub(reserved.decimal());
        balance.reserved = rest.max(Decimal::ZERO).normalize();
    }
}

/// All runs that this gateway has met.
pub struct Directory {
    ledger: Arc<dyn Ledger>,
    runs: RwLock<HashMap<RunId, Arc<KnownRun>>>,
    tokens: RwLock<HashMap<TokenHash, RunId>>,
    halt: CancellationToken,
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
    pub fn new(ledger: Arc<dyn Ledger>, halt: CancellationToken) -> Self {
        Self {
            ledger,
            runs: RwLock::default(),
            tokens: RwLock::default(),
            halt,
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
        if let Some(known) = self.runs.read().get(&RunId::from_uuid(whose)) {
            known.queue.wake_head();
        }
    }

    /// Something changed that every waiting call has to hear of.
    pub fn wake_all(&self) {
        for known in self.runs.read().values() {
            known.changed.notify_waiters();
            known.queue.wake_head();
        }
    }

    /// How many calls wait for money, over all runs.
    pub fn waiting(&self) -> usize {
        self.runs.read().values().map(|known| known.queue.waiting()).sum()
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
    pub fn forget_idle(&self) {
        self.strangers.forget(Instant::now());
        let mut runs = self.runs.write();
        runs.retain(|_, known| {
            Arc::strong_count(known) > 1 || known.last_used.lock().elapsed() < FORGET_AFTER
        });
        self.tokens
            .write()
            .retain(|hash, id| runs.get(id).is_some_and(|known| known.standing().token == *hash));
    }

    /// The run of this id, if it was met.
    pub fn known(&self, id: RunId) -> Option<Arc<KnownRun>> {
        let known = self.runs.read().get(&id).cloned()?;
        *known.last_used.lock() = Instant::now();
        Some(known)
    }

    /// Asks the ledger about somebody who was not met. Anybody can make us ask, so only a few ask
    /// at once and never take the connections that orchestrators need, and no address asks in vain
    /// for long.
    async fn look_up(
        &self,
        key: RunKey,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownRun>>, NotFound> {
        let look = |address| self.strangers.check(address, Instant::now());
        from.map_or(Ok(()), look).map_err(NotFound::TooMany)?;
        let _place = self.lookups.acquire().await;
        // Meanwhile somebody may have asked the same.
        let met = match key {
            RunKey::Id(id) => self.known(id),
            RunKey::Token(hash) => self.known_by_token(hash),
        };
        if met.is_some() {
            return Ok(met);
        }
        // Taken only now, so that a crowd of newcomers who wait here is no crowd of strangers.
        let take = |address| self.strangers.take(address, Instant::now());
        let question = from.map(take).transpose().map_err(NotFound::TooMany)?;
        let found = self.ledger.find(key).await;
        // A ledger that is away is not the address's fault either.
        if !matches!(found, Ok(None))
            && let Some(question) = question
        {
            question.give_back();
        }
        Ok(found.map_err(NotFound::Ledger)?.map(|snapshot| {
            if let RunKey::Token(hash) = key {
                self.tokens.write().insert(hash, snapshot.id);
            }
            self.meet(snapshot)
        }))
    }

    fn meet(&self, snapshot: RunSnapshot) -> Arc<KnownRun> {
        let mut runs = self.runs.write();
        if let Some(known) = runs.get(&snapshot.id) {
            known.learn(snapshot);
            return Arc::clone(known);
        }
        let known = Arc::new(KnownRun::new(snapshot, self.halt.clone()));
        runs.insert(known.id, Arc::clone(&known));
        known
    }
}
