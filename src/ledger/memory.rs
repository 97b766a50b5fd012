//! The ledger in memory: what `rungate dev` runs on, and the model of the other one.
//!
//! Every rule is the Postgres ledger's; only durability, leases and other gateways are missing.
//! One lock guards everything, is held for no longer than the sums take, and never over an await.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::domain::id::{KeyId, OrganizationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::reservation::{Ask, Refusal};
use crate::domain::run::{Registration, RunPatch, RunSnapshot, RunStanding, RunState};

use super::grant::{Grant, Settle};
use super::queue::{RunQueue, Turn};
use super::{
    CallRecord, Close, Event, Ledger, LedgerError, Page, Registered, RunKey, RunRecord, RunsError,
    Settlement, Totals, TotalsQuery, UsageQuery, UsageRow,
};

mod account;
mod balances;
mod used;
mod shared;
mod minted;
mod organizations;
mod credits;
mod people;
mod providers;
mod totals;

pub use account::KEPT_CALLS;
use account::{Account, Late};
use shared::Shared;

/// The ledger of a gateway without a database. What it knows ends with the process.
pub struct MemoryLedger {
    books: Arc<Books>,
    clock: fn() -> DateTime<Utc>,
    events: UnboundedSender<Event>,
}

/// What grants settle into, and so what outlives the ledger while calls are in flight.
struct Books {
    state: Mutex<State>,
    events: UnboundedSender<Event>,
}

struct State {
    runs: HashMap<RunId, Account>,
    /// The calls of keys without a run.
    key_calls: HashMap<KeyId, Account>,
    shared: Shared,
    tokens: HashMap<TokenHash, RunId>,
    by_creation: BTreeSet<(DateTime<Utc>, RunId)>,
    newcomers: Option<Usd>,
}

impl MemoryLedger {
    /// An empty ledger that reads the time from `clock` and tells `events` of every changed run.
    ///
    /// With `newcomers`, a run id that was never seen is registered when it is first looked up by
    /// its id or asked money for: running, and capped at that many dollars.
    pub fn new(
        clock: fn() -> DateTime<Utc>,
        newcomers: Option<Usd>,
        events: UnboundedSender<Event>,
    ) -> Arc<Self> {
        let state = State {
            runs: HashMap::new(),
            key_calls: HashMap::new(),
            shared: Shared::default(),
            tokens: HashMap::new(),
            by_creation: BTreeSet::new(),
            newcomers,
        };
        let books = Arc::new(Books { state: Mutex::new(state), events: events.clone() });
        Arc::new(Self { books, clock, events })
    }

    /// Where this ledger's grants settle.
    pub fn books(&self) -> Arc<dyn Settle> {
        Arc::clone(&self.books) as Arc<dyn Settle>
    }

    /// Changes one run and tells of it, unless the change is refused.
    fn change(
        &self,
        run: RunId,
        how: impl FnOnce(&mut State, DateTime<Utc>) -> Result<RunRecord, RunsError>,
    ) -> Result<RunRecord, RunsError> {
        let record = how(&mut self.books.state.lock(), (self.clock)())?;
        let _nobody_listens = self.events.send(Event::RunChanged(run));
        Ok(record)
    }
}

impl State {
    fn get(&mut self, run: RunId) -> Result<&mut Account, RunsError> {
        self.runs.get_mut(&run).ok_or(RunsError::NotFound)
    }

    /// The run, registered on the spot where newcomers are welcome.
    fn meet(&mut self, run: RunId, now: DateTime<Utc>) -> Option<&mut Account> {
        if let Some(cap) = self.newcomers
            && !self.runs.contains_key(&run)
        {
            self.insert(Account::newcomer(run, cap, now));
        }
        self.runs.get_mut(&run)
    }

    /// Those whose call it is, and what they share with others.
    fn account_of(&mut self, ask: &Ask, now: DateTime<Utc>) -> Option<(&mut Account, &mut Shared)> {
        match (ask.run, ask.authority.key()) {
            (Some(run), _) => {
                self.meet(run, now)?;
                Some((self.runs.get_mut(&run)?, &mut self.shared))
            }
            (None, Some(key)) => {
                self.shared.keys.get(&key)?;
                let account = || Account::of_key(key, ask.organization, now);
                let account = self.key_calls.entry(key).or_insert_with(account);
                Some((account, &mut self.shared))
            }
            (None, None) => None,
        }
    }

    fn insert(&mut self, account: Account) {
        let run = account.id();
        self.tokens.insert(account.token(), run);
        self.by_creation.insert((account.created_at(), run));
        self.runs.insert(run, account);
    }

    fn register(
        &mut self,
        registrations: Vec<(Registration, TokenHash)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Registered>, RunsError> {
        let mut batch: HashMap<RunId, [u8; 32]> = HashMap::new();
        for (registration, _) in &registrations {
            let id = registration.id;
            let known = self.runs.get(&id).map(Account::fingerprint);
            let first = *batch.entry(id).or_insert(registration.fingerprint);
            if known.unwrap_or(first) != registration.fingerprint {
                return Err(RunsError::Conflict(id));
            }
        }
        let register = |(registration, token): (Registration, TokenHash)| {
            if let Some(account) = self.runs.get(&registration.id) {
                return Registered::Existing(account.record(now));
            }
            let account = Account::open(registration, token, now);
            let record = account.record(now);
            self.insert(account);
            Registered::New(record)
        };
        Ok(registrations.into_iter().map(register).collect())
    }

    /// Lets `change` replace a run's token, and keeps the index of tokens in step.
    fn retoken(
        &mut self,
        run: RunId,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Account) -> Result<(), RunsError>,
    ) -> Result<RunRecord, RunsError> {
        let account = self.get(run)?;
        let old = account.token();
        change(account)?;
        let (new, record) = (account.token(), account.record(now));
        self.tokens.remove(&old);
        self.tokens.insert(new, run);
        Ok(record)
    }

    fn list(
        &self,
        (organization, status): (Option<OrganizationId>, Option<RunState>),
        page: Page,
        now: DateTime<Utc>,
    ) -> Vec<RunRecord> {
        let own = |account: &Account| organization.is_none_or(|id| account.organization() == id);
        let start = match page.after.map(RunId::from_uuid) {
            None => Bound::Unbounded,
            // A run of somebody else's is as good as none.
            Some(after) => match self.runs.get(&after).filter(|account| own(account)) {
                Some(account) => Bound::Excluded((account.created_at(), after)),
                None => return Vec::new(),
            },
        };
        self.by_creation
            .range((start, Bound::Unbounded))
            .filter_map(|(_, run)| self.runs.get(run))
            .filter(|account| own(account))
            .filter(|account| status.is_none_or(|status| account.state() == status))
            .take(usize::try_from(page.limit).unwrap_or(usize::MAX))
            .map(|account| account.record(now))
            .collect()
    }
}

impl Settle for Books {
    fn settle(&self, settlement: Settlement, queue: Arc<RunQueue>) {
        let id = settlement.reservation.id;
        let cost = settlement.outcome.charge.cost;
        let settled = {
            let mut state = self.state.lock();
            let State { runs, key_calls, shared, .. } = &mut *state;
            let account = match (settlement.reservation.run, settlement.reservation.key) {
                (Some(run), _) => runs.get_mut(&run),
                (None, key) => key.and_then(|key| key_calls.get_mut(&key)),
            };
            account.map_or(Err(Late::Unknown), |account| account.settle(settlement, shared))
        };
        match settled {
            Ok(awaited) => {
                queue.wake_head();
                for whose in awaited {
                    let _nobody_listens = self.events.send(Event::BudgetFreed(whose));
                }
            }
            Err(Late::Repeated) => {}
            Err(Late::Differs { booked }) => tracing::warn!(
                call.id = %id, cost_usd = %cost, booked_usd = %booked,
                "settlement.late: the call is booked with another charge; nothing was changed"
            ),
            Err(Late::Unknown) => tracing::warn!(
                call.id = %id, cost_usd = %cost,
                "settlement.unknown: there is no such reservation; nothing was changed"
            ),
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn admit(
        &self,
        ask: Ask,
        turn: &Arc<Turn>,
    ) -> Result<Result<Grant, Refusal>, LedgerError> {
        let now = (self.clock)();
        let verdict = {
            let mut state = self.books.state.lock();
            match state.account_of(&ask, now) {
                Some((account, _)) if account.is_in_flight(ask.id) => {
                    return Err(LedgerError::Unavailable("the reservation's id is taken".into()));
                }
                Some((account, shared)) => account.admit(ask, turn, now, shared),
                // A credential is looked at before the run is.
                None => {
                    state.shared.check_key(ask.authority, None, now).and(Err(Refusal::RunNotFound))
                }
            }
        };
        // Outside the lock, because a grant takes it when it is dropped.
        Ok(verdict.map(|taken| Grant::new(taken, Arc::clone(turn.queue()), self.books())))
    }

    async fn find(&self, key: RunKey) -> Result<Option<RunSnapshot>, LedgerError> {
        let mut state = self.books.state.lock();
        let found = match key {
            RunKey::Id(run) => state.meet(run, (self.clock)()).map(|account| account.snapshot()),
            RunKey::Token(hash) => {
                let run = state.tokens.get(&hash);
                run.and_then(|run| state.runs.get(run)).map(Account::snapshot)
            }
        };
        Ok(found)
    }

    async fn standings(&self, runs: &[RunId]) -> Result<Vec<(RunId, RunStanding)>, LedgerError> {
        let state = self.books.state.lock();
        let known = runs.iter().filter_map(|run| Some((*run, state.runs.get(run)?.standing())));
        Ok(known.collect())
    }

    async fn register(
        &self,
        registrations: Vec<(Registration, TokenHash)>,
    ) -> Result<Vec<Registered>, RunsError> {
        self.books.state.lock().register(registrations, (self.clock)())
    }

    async fn patch(&self, run: RunId, patch: RunPatch) -> Result<RunRecord, RunsError> {
        self.change(run, |state, now| {
            let account = state.get(run)?;
            account.patch(patch, now)?;
            Ok(account.record(now))
        })
    }

    async fn close(&self, run: RunId, close: Close) -> Result<RunRecord, RunsError> {
        self.change(run, |state, now| {
            let account = state.get(run)?;
            account.close(close, now);
            Ok(account.record(now))
        })
    }

    async fn open_attempt(
        &self,
        run: RunId,
        status: RunState,
        token: TokenHash,
    ) -> Result<RunRecord, RunsError> {
        self.change(run, |state, now| {
            state.retoken(run, now, |account| account.open_attempt(status, token))
        })
    }

    async fn rotate_token(&self, run: RunId, token: TokenHash) -> Result<RunRecord, RunsError> {
        self.change(run, |state, now| {
            state.retoken(run, now, |account| {
                account.rotate_token(token);
                Ok(())
            })
        })
    }

    async fn record(&self, run: RunId) -> Result<Option<RunRecord>, LedgerError> {
        Ok(self.books.state.lock().runs.get(&run).map(|account| account.record((self.clock)())))
    }

    async fn list(
        &self,
        organization: Option<OrganizationId>,
        status: Option<RunState>,
        page: Page,
    ) -> Result<Vec<RunRecord>, LedgerError> {
        Ok(self.books.state.lock().list((organization, status), page, (self.clock)()))
    }

    async fn calls(&self, run: RunId, page: Page) -> Result<Vec<CallRecord>, LedgerError> {
        let state = self.books.state.lock();
        Ok(state.runs.get(&run).map(|account| account.calls(page)).unwrap_or_default())
    }

    async fn totals(&self, query: &TotalsQuery) -> Result<Totals, LedgerError> {
        let state = self.books.state.lock();
        Ok(totals::of(state.runs.values().chain(state.key_calls.values()), query))
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError> {
        let state = self.books.state.lock();
        let accounts = state.runs.values().chain(state.key_calls.values());
        Ok(totals::of_organization(accounts, query, |key| state.shared.name_of(key)))
    }

    async fn count_refusals(
        &self,
        refusals: Vec<(RunId, &'static str, u64)>,
    ) -> Result<(), LedgerError> {
        let mut state = self.books.state.lock();
        for (run, code, count) in refusals {
            if let Some(account) = state.runs.get_mut(&run) {
                account.count_refusal(code, count);
            }
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn flush(&self) {}
}

#[cfg(test)]
mod tests;
