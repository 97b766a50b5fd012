//! One run's books: what it may spend, what it has in flight, and what it has spent.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::budget::{Amounts, Balance, Unit};
use crate::domain::control::{AttemptBudget, RunControl};
use crate::domain::id::{Attempt, KeyId, OrganizationId, ReservationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::reservation::CallFacts;
use crate::domain::run::{
    OnCap, Registration, RunPatch, RunProvider, RunSnapshot, RunStanding, RunState, RunTerms,
    StateAdmission,
};

use super::super::{CallRecord, Close, Page, RunRecord, RunsError};
use super::balances::{self, Balances};
use super::shared::Place;
use super::used::Used;

mod money;

/// How many ended calls of a run are kept as rows, the newest. Sums are exact without them.
pub const KEPT_CALLS: usize = 100_000;

/// Why a settlement changed nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The same charge was booked before.
    Repeated,
    /// Another charge was booked before.
    Differs {
        /// Its cost.
        booked: Usd,
    },
    /// No reservation of this id is in flight or remembered.
    Unknown,
}

/// A run and its sums.
pub(super) struct Account {
    run: RunSnapshot,
    /// Whether it stands for the calls that a key makes without a run.
    of_key: bool,
    /// One for each of the budgets that the current attempt spends from, in their order.
    balances: Balances,
    /// Those of earlier attempts, where each has its own.
    earlier: BTreeMap<Attempt, Balances>,
    reservations: HashMap<ReservationId, Held>,
    calls: BTreeMap<ReservationId, CallRecord>,
    used: BTreeMap<String, Used>,
    refusals: BTreeMap<&'static str, u64>,
    metadata: String,
    providers: Vec<RunProvider>,
    fingerprint: [u8; 32],
    close_reason: Option<String>,
    created_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

/// One call in flight.
struct Held {
    attempt: Attempt,
    amounts: Amounts,
    /// Where of the budgets that are not the run's.
    places: Vec<Place>,
    facts: CallFacts,
    created_at: DateTime<Utc>,
}

impl Account {
    /// A run as it is registered.
    pub(super) fn open(registration: Registration, token: TokenHash, now: DateTime<Utc>) -> Self {
        let Registration {
            id,
            terms,
            cost_limit,
            status,
            expires_at,
            metadata,
            providers,
            fingerprint,
        } = registration;
        let balances = balances::opened(&terms, cost_limit);
        let budgets = balances.iter().map(|(budget, _)| *budget).collect();
        let standing = RunStanding {
            state: RunState::Pending,
            attempt: Attempt::FIRST,
            token,
            expires_at,
            cut: false,
            version: 0,
        };
        let mut account = Self {
            run: RunSnapshot { id, terms, budgets, standing },
            of_key: false,
            balances,
            earlier: BTreeMap::new(),
            reservations: HashMap::new(),
            calls: BTreeMap::new(),
            used: BTreeMap::new(),
            refusals: BTreeMap::new(),
            metadata,
            providers,
            fingerprint,
            close_reason: None,
            created_at: now,
            closed_at: None,
        };
        account.enter(status, now);
        account
    }

    /// The calls that a key makes without a run. They have no budgets but the key's and those of
    /// its organization.
    pub(super) fn of_key(key: KeyId, organization: OrganizationId, now: DateTime<Utc>) -> Self {
        let mut account = Self::newcomer(RunId::from_uuid(key.uuid()), Usd::ZERO, now);
        account.run.terms.organization = organization;
        account.of_key = true;
        account.balances.clear();
        account
    }

    /// A run that nobody registered. Its token is nobody's, and so is its fingerprint: a later
    /// registration of the same id is another run's.
    pub(super) fn newcomer(id: RunId, cost_limit: Usd, now: DateTime<Utc>) -> Self {
        let terms = RunTerms {
            organization: OrganizationId::DEFAULT,
            allowed_models: None,
            token_limit: None,
            call_limit: None,
            max_concurrency: None,
            requests_per_minute: None,
            max_output_tokens_per_call: None,
            on_cap: OnCap::Clamp,
            require_token: false,
            control: RunControl::default(),
        };
        let registration = Registration {
            id,
            terms,
            cost_limit,
            status: RunState::Running,
            expires_at: None,
            metadata: "{}".to_owned(),
            providers: Vec::new(),
            fingerprint: [0; 32],
        };
        let unknowable = TokenHash::of(&Uuid::new_v4().to_string());
        Self::open(registration, unknowable, now)
    }

    /// Applies a patch, or nothing of it.
    pub(super) fn patch(&mut self, patch: RunPatch, now: DateTime<Utc>) -> Result<(), RunsError> {
        if let Some(limit) = patch.cost_limit.map(Usd::decimal) {
            let budgets = self.balances.iter_mut();
            for (_, balance) in budgets.filter(|(budget, _)| budget.unit == Unit::Usd) {
                if limit < balance.spent {
                    let spent = Usd::from_decimal(balance.spent).unwrap_or(Usd::ZERO);
                    return Err(RunsError::LimitBelowSpent { spent });
                }
                balance.limit = limit;
            }
        }
        if let Some(expires_at) = patch.expires_at {
            self.run.standing.expires_at = expires_at;
        }
        if let Some(metadata) = patch.metadata {
            self.metadata = metadata;
        }
        if let Some(status) = patch.status {
            self.enter(self.run.standing.state.towards(status), now);
        }
        self.run.standing.version += 1;
        Ok(())
    }

    /// Ends the run's spending. The first reason that is given stays.
    pub(super) fn close(&mut self, close: Close, now: DateTime<Utc>) {
        let before = self.run.standing.state;
        self.close_reason = self.close_reason.take().or(close.reason);
        self.enter(before.towards(close.status), now);
        self.run.standing.cut |= close.cut;
        self.run.standing.version += 1;
    }

    /// Opens the next attempt.
    pub(super) fn open_attempt(
        &mut self,
        status: RunState,
        token: TokenHash,
    ) -> Result<(), RunsError> {
        let standing = &mut self.run.standing;
        if !standing.state.allows_new_attempt() {
            return Err(RunsError::InvalidTransition(standing.state));
        }
        if self.run.terms.control.attempt_budget == AttemptBudget::PerAttempt {
            let fresh = balances::fresh(&self.balances);
            self.run.budgets = fresh.iter().map(|(budget, _)| *budget).collect();
            self.earlier.insert(standing.attempt, std::mem::replace(&mut self.balances, fresh));
            self.used.clear();
        }
        standing.state = status;
        standing.attempt = standing.attempt.next();
        standing.version += 1;
        standing.token = token;
        standing.cut = false;
        self.close_reason = None;
        self.closed_at = None;
        Ok(())
    }

    fn enter(&mut self, state: RunState, now: DateTime<Utc>) {
        let standing = &mut self.run.standing;
        standing.state = state;
        standing.cut |= state == RunState::Cancelled;
        if state.admission() == StateAdmission::Closed {
            self.closed_at.get_or_insert(now);
        }
    }

    pub(super) fn rotate_token(&mut self, token: TokenHash) {
        self.run.standing.token = token;
        self.run.standing.version += 1;
    }

    pub(super) fn count_refusal(&mut self, code: &'static str, count: u64) {
        let counted = self.refusals.entry(code).or_default();
        *counted = counted.saturating_add(count);
    }

    pub(super) fn id(&self) -> RunId {
        self.run.id
    }

    /// The run's name among others; calls without one share a name.
    pub(super) fn name(&self) -> String {
        if self.of_key { "none".to_owned() } else { self.run.id.to_string() }
    }

    pub(super) fn organization(&self) -> OrganizationId {
        self.run.terms.organization
    }

    pub(super) fn state(&self) -> RunState {
        self.run.standing.state
    }

    pub(super) fn token(&self) -> TokenHash {
        self.run.standing.token
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Those that it brings keys of its own for.
    pub(super) fn providers(&self) -> &[RunProvider] {
        &self.providers
    }

    pub(super) fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    pub(super) fn snapshot(&self) -> RunSnapshot {
        self.run.clone()
    }

    pub(super) fn is_in_flight(&self, id: ReservationId) -> bool {
        self.reservations.contains_key(&id)
    }

    fn balance(&self, unit: Unit) -> Balance {
        let found = self.balances.iter().find(|(budget, _)| budget.unit == unit);
        found.map(|(_, balance)| *balance).unwrap_or_default()
    }

    pub(super) fn calls(&self, page: Page) -> Vec<CallRecord> {
        let after = page.after.map(ReservationId::from_uuid);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let rows = self.calls.range((start, Bound::Unbounded));
        rows.take(limit).map(|(_, call)| call.clone()).collect()
    }

    /// Every ended call that is kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = &CallRecord> {
        self.calls.values()
    }

    fn in_flight(&self, counts: impl Fn(Attempt) -> bool) -> u64 {
        let held = self.reservations.values().filter(|held| counts(held.attempt));
        u64::try_from(held.count()).unwrap_or(u64::MAX)
    }

    pub(super) fn standing(&self) -> RunStanding {
        self.run.standing
    }

    pub(super) fn record(&self, now: DateTime<Utc>) -> RunRecord {
        RunRecord {
            expired: self.run.standing.expires_at.is_some_and(|expiry| now >= expiry),
            run: self.snapshot(),
            metadata: self.metadata.clone(),
            close_reason: self.close_reason.clone(),
            created_at: self.created_at,
            closed_at: self.closed_at,
            balances: self.balances.iter().map(|(budget, at)| (budget.unit, *at)).collect(),
            total_spent: balances::spent(self.earlier.values().chain([&self.balances])),
            in_flight: self.in_flight(|attempt| !self.earlier.contains_key(&attempt)),
            earlier_in_flight: self.in_flight(|attempt| self.earlier.contains_key(&attempt)),
            models: self.used.iter().map(|(model, used)| used.of(model)).collect(),
            refusals: self.refusals.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect(),
        }
    }
}
