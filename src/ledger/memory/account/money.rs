//! Reserving and settling of one run's calls, on its own budgets and on those that it shares.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::budget::{Amounts, BudgetRef, Scope, Unit, Window};
use crate::domain::money::{Overflow, add_exact};
use crate::domain::policy;
use crate::domain::reservation::{Ask, Refusal, Reservation};
use crate::domain::settlement::{Charge, CostSource};

use super::super::super::organizations::BudgetStanding;
use super::super::super::queue::Turn;
use super::super::super::{CallRecord, Settlement};
use super::super::balances;
use super::super::shared::Shared;
use super::{Account, Held, KEPT_CALLS, Late};

impl Account {
    /// Decides about one call and takes what it may cost. A call that has to wait has joined the
    /// queue when this returns, so that nothing later overtakes it.
    pub(in super::super) fn admit(
        &mut self,
        ask: Ask,
        turn: &Turn,
        now: DateTime<Utc>,
        shared: &mut Shared,
    ) -> Result<Reservation, Refusal> {
        let run_of = (!self.of_key).then_some(self.run.terms.organization);
        shared.check_key(ask.authority, run_of, now)?;
        let standing = &self.run.standing;
        policy::check_standing(standing, self.run.terms.require_token, ask.authority, now)?;
        if self.is_outdated(&ask) || shared.is_outdated(&ask) {
            return Err(Refusal::Outdated);
        }
        let attempt = standing.attempt;
        let others = ask.budgets.iter().filter(|budget| budget.scope != Scope::Run);
        let others: Vec<_> = others.filter_map(|budget| shared.standing(budget, now)).collect();
        let usd = |account: &Self, others: &[BudgetStanding]| {
            let last = others.iter().rfind(|of| of.budget.unit == Unit::Usd);
            let last = last.map(|of| of.balance).unwrap_or_default();
            if account.of_key { last } else { account.balance(Unit::Usd) }
        };
        if turn.ask_is_behind() {
            turn.hold();
            return Err(Refusal::Behind { usd: usd(self, &others) });
        }
        // An attempt in flight counts as one call, whatever the ask says.
        let amounts = Amounts { calls: 1, ..ask.amounts };
        self.take(&amounts, &others).map_err(|refused| {
            turn.hold();
            shared.wait_for(&refused, now);
            let of = others.iter().find(|of| of.budget.id == refused.id);
            let balance = of.map_or_else(|| self.balance(refused.unit), |of| of.balance);
            Refusal::Budget {
                scope: refused.scope,
                unit: refused.unit,
                window: of.map_or(Window::Lifetime, |of| of.budget.window),
                latched: of.is_some_and(|of| of.latched),
                balance,
                usd: usd(self, &others),
            }
        })?;
        let refs: Vec<_> = others.iter().map(|of| of.budget).collect();
        let places = shared.take(&refs, &amounts, now);
        let others: Vec<_> = refs.iter().filter_map(|of| shared.standing(of, now)).collect();
        let held = Held { attempt, amounts, places, facts: ask.facts, created_at: now };
        self.reservations.insert(ask.id, held);
        Ok(Reservation {
            id: ask.id,
            organization: ask.organization,
            run: ask.run,
            key: ask.authority.key(),
            attempt,
            budgets: ask.budgets,
            amounts,
            balance: usd(self, &others),
        })
    }

    /// Whether it is on budgets of an earlier attempt.
    fn is_outdated(&self, ask: &Ask) -> bool {
        let is_earlier = |id| self.earlier.values().flatten().any(|(budget, _)| budget.id == id);
        !self.earlier.is_empty() && ask.budgets.iter().any(|budget| is_earlier(budget.id))
    }

    /// Reserves on every budget of the run, if all budgets can take it; answers the first that
    /// cannot.
    fn take(&mut self, amounts: &Amounts, others: &[BudgetStanding]) -> Result<(), BudgetRef> {
        let own = self.balances.iter().map(|(budget, balance)| (budget, balance, false));
        let others = others.iter().map(|of| (&of.budget, &of.balance, of.latched));
        policy::check_budgets(own.chain(others), amounts)?;
        // What fits has few enough digits; a sum that had to be rounded would not be a cap.
        let sums: Result<Vec<Decimal>, BudgetRef> = self
            .balances
            .iter()
            .map(|(budget, balance)| {
                let amount = amounts.in_unit(budget.unit);
                add_exact(balance.reserved, amount).map_err(|Overflow| *budget)
            })
            .collect();
        for ((_, balance), reserved) in self.balances.iter_mut().zip(sums?) {
            balance.reserved = reserved;
        }
        Ok(())
    }

    /// Ends a reservation and books its charge. What is freed is what was taken, whatever the
    /// settlement says about it.
    ///
    /// # Errors
    /// If nothing was changed. Else it answers for whose budgets somebody waits.
    pub(in super::super) fn settle(
        &mut self,
        settlement: Settlement,
        shared: &mut Shared,
    ) -> Result<Vec<Uuid>, Late> {
        let Settlement { reservation, outcome } = settlement;
        let charge = Charge { cost: outcome.charge.cost.normalized(), ..outcome.charge };
        let Some(held) = self.reservations.remove(&reservation.id) else {
            return Err(match self.calls.get(&reservation.id) {
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
        let awaited = shared.book(&held.places, &held.amounts, &booked);
        if charge.source != CostSource::None && !is_earlier {
            self.used.entry(held.facts.model.clone()).or_default().count(&charge);
        }
        let call = CallRecord {
            id: reservation.id,
            request_id: held.facts.request_id,
            key: reservation.key,
            attempt: held.attempt,
            model: held.facts.model,
            requested_model: held.facts.requested_model,
            provider: held.facts.provider,
            endpoint: held.facts.endpoint.to_owned(),
            price_version: held.facts.price_version,
            charge,
            served_model: outcome.served_model,
            service_tier: outcome.service_tier,
            status: Some(outcome.status),
            latency_ms: Some(outcome.latency_ms),
            ttfb_ms: outcome.ttfb_ms,
            created_at: held.created_at,
        };
        shared.note_charge(reservation.organization, &held.places, reservation.run, &call);
        self.calls.insert(reservation.id, call);
        if self.calls.len() > KEPT_CALLS {
            self.calls.pop_first();
        }
        Ok(awaited)
    }
}
