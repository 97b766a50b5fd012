//! A run that this gateway has met, or what a key calls without one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use governor::clock::DefaultClock;
use parking_lot::{Mutex, RwLock};
use rust_decimal::Decimal;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::RateLimits;
use crate::domain::budget::{Balance, BudgetRef};
use crate::domain::control::{AttemptBudget, RunControl};
use crate::domain::id::{Attempt, RunId};
use crate::domain::limits::Limits;
use crate::domain::money::Usd;
use crate::domain::organization::KeySnapshot;
use crate::domain::run::{OnCap, RunSnapshot, RunStanding, RunState, RunTerms};
use crate::ledger::queue::RunQueue;
use crate::limits::Concurrency;
use crate::limits::bodies::Bytes;
use crate::limits::pace::{Pace, Paced};

use super::own_reach::OwnReach;
use super::payers::KnownOrganization;

/// How long a run that nobody calls for is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// A run that this gateway has met.
pub struct KnownRun {
    /// Its id; the key's, for what a key calls without a run.
    pub id: RunId,
    /// What never changes.
    pub terms: RunTerms,
    /// Who pays.
    pub payer: Arc<KnownOrganization>,
    /// The providers that it brings keys of its own for.
    pub(super) own_reach: OwnReach,
    /// The order of its calls.
    pub queue: Arc<RunQueue>,
    /// The number of its calls.
    pub concurrency: Arc<Concurrency>,
    /// The number of its readings of its usage.
    pub reads: Arc<Concurrency>,
    /// The bytes of its large bodies.
    pub bodies: Arc<Bytes>,
    /// The pace of its calls.
    pub paced: Paced,
    /// The pace of its calls to each endpoint that has a limit, in the order of the setting.
    endpoints: Box<[OnceLock<Option<Arc<Pace>>>]>,
    /// Only one of its prompts is counted at a time.
    pub counting: Arc<tokio::sync::Mutex<()>>,
    changed: Notify,
    standing: RwLock<RunStanding>,
    budgets: RwLock<Vec<BudgetRef>>,
    cuts: Mutex<BTreeMap<Attempt, CancellationToken>>,
    balance: Mutex<Option<Balance>>,
    last_used: Mutex<Instant>,
    halt: CancellationToken,
    of_key: bool,
}

impl KnownRun {
    pub(super) fn new(
        snapshot: RunSnapshot,
        payer: Arc<KnownOrganization>,
        halt: CancellationToken,
        rates: &RateLimits,
    ) -> Self {
        let limits = Limits {
            requests_per_minute: snapshot.terms.requests_per_minute,
            max_concurrency: snapshot.terms.max_concurrency,
            ..Limits::default()
        };
        Self {
            id: snapshot.id,
            terms: snapshot.terms,
            payer,
            of_key: false,
            own_reach: OwnReach::default(),
            queue: Arc::default(),
            concurrency: Arc::default(),
            reads: Arc::default(),
            bodies: Arc::default(),
            paced: Paced::new(limits.share(rates.gateways)),
            endpoints: rates.endpoints.iter().map(|_| OnceLock::new()).collect(),
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

    /// What a key calls without a run, as if it were one that is always running.
    pub(super) fn of_key(
        key: &KeySnapshot,
        payer: Arc<KnownOrganization>,
        halt: CancellationToken,
        rates: &RateLimits,
    ) -> Self {
        let terms = RunTerms {
            organization: key.organization,
            allowed_models: None,
            token_limit: None,
            call_limit: None,
            max_concurrency: key.terms.max_concurrency,
            requests_per_minute: key.terms.rate_limit_rpm,
            max_output_tokens_per_call: None,
            on_cap: OnCap::Clamp,
            require_token: false,
            control: RunControl::default(),
        };
        let standing = RunStanding {
            state: RunState::Running,
            attempt: Attempt::FIRST,
            token: key.hash,
            expires_at: None,
            cut: false,
            version: 0,
        };
        let (id, budgets) = (RunId::from_uuid(key.id.uuid()), Vec::new());
        let snapshot = RunSnapshot { id, terms, budgets, standing };
        let paced = Paced::new(key.terms.limits().share(rates.gateways));
        Self { of_key: true, paced, ..Self::new(snapshot, payer, halt, rates) }
    }

    /// The run's id; `None` for what a key calls without a run.
    pub fn named(&self) -> Option<RunId> {
        (!self.of_key).then_some(self.id)
    }

    /// The pace of its calls to an endpoint, if that has a limit.
    pub(super) fn endpoint(&self, path: &str, rates: &RateLimits) -> Option<&Arc<Pace>> {
        let (nth, limit) = rates.endpoint(path)?;
        let limits = Limits { requests_per_minute: Some(limit), ..Limits::default() };
        let new = || Pace::new(&limits.share(rates.gateways), &DefaultClock::default());
        self.endpoints.get(nth)?.get_or_init(new).as_ref()
    }

    /// Somebody called for it just now.
    pub(super) fn touch(&self) {
        *self.last_used.lock() = Instant::now();
    }

    /// Whether nobody called for it in a while.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(*self.last_used.lock()) >= FORGET_AFTER
    }

    /// Something changed that every waiting call has to hear of.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
        self.queue.wake_head();
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
    pub(super) fn learn(&self, snapshot: RunSnapshot) {
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
    pub(super) fn update(&self, heard: RunStanding) {
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

    /// Takes in a balance that the ledger answered. Without a run there is none to tell.
    pub fn set_balance(&self, balance: Balance) {
        *self.balance.lock() = self.named().map(|_| balance);
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
