//! One run's books: what it may spend, what it has in flight, and what it has spent.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::budget::{Amounts, Balance, Unit};
use crate::domain::control::{AttemptBudget, RunControl};
use crate::domain::id::{Attempt, OrganizationId, ReservationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::{Overflow, Usd, add_exact};
use crate::domain::policy;
use crate::domain::reservation::{Ask, CallFacts, Refusal, Reservation};
use crate::domain::run::{
    OnCap, Registration, RunPatch, RunSnapshot, RunStanding, RunState, RunTerms, StateAdmission,
};
use crate::domain::settlement::{Charge, CostSource};

use super::super::queue::Turn;
use super::super::{CallRecord, Close, Page, RunRecord, RunsError, Settlement};
use super::balances::{self, Balances};
use super::used::Used;

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
    /// One for each of the budgets that the current attempt spends from, in their order.
    balances: Balances,
    /// Those of earlier attempts, where each has its own.
    earlier: BTreeMap<Attempt, Balances>,
    reservations: HashMap<ReservationId, Held>,
    calls: BTreeMap<ReservationId, CallRecord>,
    used: BTreeMap<String, Used>,
    refusals: BTreeMap<&'static str, u64>,
    metadata: String,
    fingerprint: [u8; 32],
    close_reason: Option<String>,
    created_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

/// One call in flight.
struct Held {
    attempt: Attempt,
    amounts: Amounts,
    facts: CallFacts,
    created_at: DateTime<Utc>,
}

impl Account {
    /// A run as it is registered.
    pub(super) fn open(registration: Registration, token: TokenHash, now: DateTime<Utc>) -> Self {
        let Registration { id, terms, cost_limit, status, expires_at, metadata, fingerprint } =
            registration;
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
            balances,
            earlier: BTreeMap::new(),
            reservations: HashMap::new(),
            calls: BTreeMap::new(),
            used: BTreeMap::new(),
            refusals: BTreeMap::new(),
            metadata,
            fingerprint,
            close_reason: None,
            created_at: now,
            closed_at: None,
        };
        account.enter(status, now);
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
            fingerprint: [0; 32],
        };
        let unknowable = TokenHash::of(&Uuid::new_v4().to_string());
        Self::open(registration, unknowable, now)
    }

    /// Decides about one call and takes what it may cost. A call that has to wait has joined the
    /// queue when this returns, so that nothing later overtakes it.
    pub(super) fn admit(
        &mut self,
        ask: Ask,
        turn: &Turn,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let standing = &self.run.standing;
        policy::check_standing(standing, self.run.terms.require_token, ask.authority, now)?;
        if self.is_outdated(&ask) {
            return Err(Refusal::Outdated);
        }
        if turn.ask_is_behind() {
            turn.hold();
            return Err(Refusal::Behind { usd: self.balance(Unit::Usd) });
        }
        // An attempt in flight counts as one call, whatever the ask says.
        let amounts = Amounts { calls: 1, ..ask.amounts };
        let attempt = standing.attempt;
        self.take(&amounts).map_err(|unit| {
            turn.hold();
            Refusal::Budget { unit, balance: self.balance(unit), usd: self.balance(Unit::Usd) }
        })?;
        let held = Held { attempt, amounts, facts: ask.facts, created_at: now };
        self.reservations.insert(ask.id, held);
        Ok(Reservation {
            id: ask.id,
            run: ask.run,
            attempt,
            budgets: ask.budgets,
            amounts,
            balance: self.balance(Unit::Usd),
        })
    }

    /// Whether it is on budgets of an earlier attempt.
    fn is_outdated(&self, ask: &Ask) -> bool {
        let is_earlier = |id| self.earlier.values().flatten().any(|(budget, _)| budget.id == id);
        !self.earlier.is_empty() && ask.budgets.iter().any(|budget| is_earlier(budget.id))
    }

    /// Reserves on every budget or on none; answers the first that cannot take it.
    fn take(&mut self, amounts: &Amounts) -> Result<(), Unit> {
        let all = self.balances.iter().map(|(budget, balance)| (budget, balance));
        policy::check_budgets(all, amounts)?;
        // What fits has few enough digits; a sum that had to be rounded would not be a cap.
        let sums: Result<Vec<Decimal>, Unit> = self
            .balances
            .iter()
            .map(|(budget, balance)| {
                let amount = amounts.in_unit(budget.unit);
                add_exact(balance.reserved, amount).map_err(|Overflow| budget.unit)
            })
            .collect();
        for ((_, balance), reserved) in self.balances.iter_mut().zip(sums?) {
            balance.reserved = reserved;
        }
        Ok(())
    }

    /// Ends a reservation and books its charge. What is freed is what was taken, whatever the
    /// settlement says about it.
    pub(super) fn settle(&mut self, settlement: Settlement) -> Option<Late> {
        let Settlement { reservation, outcome } = settlement;
        let charge = Charge { cost: outcome.charge.cost.normalized(), ..outcome.charge };
        let Some(held) = self.reservations.remove(&reservation.id) else {
            return Some(match self.calls.get(&reservation.id) {
                Some(call) if call.charge == charge => Late::Repeated,
                Some(call) => Late::Differs { booked: call.charge.cost },
                None => Late::Unknown,
            });
        };
        // As the row says it: a sum is the sum of its calls.
        let booked = Amounts {
            usd: charge.cost,
            tokens: charge.usage.total(),
            calls: u32::from(charge.source != CostSource::None),
        };
        let earlier = self.earlier.get_mut(&held.attempt);
        let is_earlier = earlier.is_some();
        balances::settle(earlier.unwrap_or(&mut self.balances), &held.amounts, &booked);
        if charge.source != CostSource::None && !is_earlier {
            self.used.entry(held.facts.model.clone()).or_default().count(&charge);
        }
        let call = CallRecord {
            id: reservation.id,
            request_id: held.facts.request_id,
            attempt: held.attempt,
            model: held.facts.model,
            requested_model: held.facts.requested_model,
            provider: held.facts.provider,
            endpoint: held.facts.endpoint.to_owned(),
            price_version: held.facts.price_version,
            charge,
            served_model: outcome.served_model,
            status: Some(outcome.status),
            latency_ms: Some(outcome.latency_ms),
            ttfb_ms: outcome.ttfb_ms,
            created_at: held.created_at,
        };
        self.calls.insert(reservation.id, call);
        if self.calls.len() > KEPT_CALLS {
            self.calls.pop_first();
        }
        None
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

    pub(super) fn state(&self) -> RunState {
        self.run.standing.state
    }

    pub(super) fn token(&self) -> TokenHash {
        self.run.standing.token
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
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
