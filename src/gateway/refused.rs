//! What a call hears that a budget refused: the code by whose budget it is, its numbers, and what
//! helps.

use chrono::Utc;
use rust_decimal::Decimal;

use crate::domain::budget::{Amounts, Balance, Scope, Unit, Window};
use crate::domain::fault::{Code, Fault, MoneyFacts};
use crate::domain::money::Usd;
use crate::domain::organization::spent_code;
use crate::domain::reservation::Refusal;

use super::admission::{closed, expired};
use super::caller::{Caller, invalid_key, run_not_found};

/// The budget that refused.
pub(super) struct Refused {
    pub(super) scope: Scope,
    pub(super) unit: Unit,
    pub(super) window: Window,
    /// Where it stands.
    pub(super) balance: Balance,
    /// Where the run's dollars stand.
    pub(super) usd: Balance,
}

impl Refused {
    /// The refusal of a call that takes at least `worst`.
    pub(super) fn fault(&self, worst: &Amounts, only_reserved: bool, caller: &Caller) -> Fault {
        let facts = self.facts(worst, caller);
        let fault = match (self.unit, only_reserved) {
            (Unit::Usd, true) => Fault::new(
                Code::BudgetReserved,
                format!(
                    "This call can cost up to ${}. Calls in flight have reserved {}; try again \
                     when they have ended.",
                    worst.usd,
                    self.what(),
                ),
            )
            .retry_after(1),
            (Unit::Usd, false) => Fault::new(spent_code(self.scope, Unit::Usd), self.spent(worst)),
            (Unit::Tokens, true) => Fault::new(
                Code::BudgetReserved,
                format!(
                    "This call can take up to {} tokens. Calls in flight have reserved too many \
                     of those that the {} may take; try again when they have ended.",
                    worst.tokens,
                    self.whose(),
                ),
            )
            .retry_after(1),
            (Unit::Tokens, false) => self.after_the_window(Fault::new(
                Code::TokenCeilingExceeded,
                format!(
                    "This call can take up to {} tokens, which is more than the {} has left. Ask \
                     for fewer output tokens or send a shorter prompt.",
                    worst.tokens,
                    self.whose(),
                ),
            )),
            (Unit::Calls, _) => Fault::new(
                Code::CallLimitExceeded,
                "The run has made as many calls as it may. Finish with what you have.",
            ),
        };
        match facts {
            Some(facts) => fault.money(facts),
            None => fault,
        }
    }

    /// Where the budget is full again once its day or its month is over, that is when to come back.
    fn after_the_window(&self, fault: Fault) -> Fault {
        // This clock only tells when to come back; the ledger's decides who is admitted.
        let now = Utc::now();
        let Some(end) = self.window.end(now) else { return fault };
        let seconds = u32::try_from((end - now).num_seconds()).unwrap_or_default();
        fault.retry_after(seconds.saturating_add(1))
    }

    const fn whose(&self) -> &'static str {
        if matches!(self.scope, Scope::Key) { "key" } else { "run" }
    }

    /// The run's numbers, or the budget's own: what an organization spends is told only to its
    /// keys.
    fn facts(&self, worst: &Amounts, caller: &Caller) -> Option<MoneyFacts> {
        let own = self.unit == Unit::Usd && self.scope != Scope::Run && caller.key.is_some();
        let of = match (own, caller.run.named()) {
            (true, _) => &self.balance,
            (false, Some(_)) => &self.usd,
            (false, None) => return None,
        };
        Some(MoneyFacts {
            limit: amount(of.limit),
            spent: amount(of.spent),
            reserved: amount(of.reserved),
            worst_case: worst.usd,
        })
    }

    /// What is reserved, and of what.
    fn what(&self) -> String {
        match self.scope {
            Scope::Run => {
                let (reserved, cap) = (amount(self.usd.reserved), amount(self.usd.limit));
                format!("${reserved} of the run's cap of ${cap}")
            }
            Scope::Key => "too much of the key's budget".to_owned(),
            Scope::Organization => "too much of the organization's month".to_owned(),
            Scope::Credits => "too much of the organization's credits".to_owned(),
        }
    }

    fn spent(&self, worst: &Amounts) -> String {
        let costs = format!("This call can cost up to ${}, and", worst.usd);
        match self.scope {
            Scope::Run => format!(
                "{costs} the run has ${} left of its cap of ${}. Ask for fewer output tokens or \
                 send a shorter prompt, if anything is left.",
                amount(self.usd.unspent()),
                amount(self.usd.limit)
            ),
            Scope::Key => format!(
                "{costs} this key's budget has too little left for it. Ask for fewer output \
                 tokens, or have the key's budget raised."
            ),
            Scope::Organization => format!(
                "{costs} the organization's month has too little left for it, or its cost circuit \
                 is open. Its owner can raise the monthly limit and reset the circuit."
            ),
            Scope::Credits => format!(
                "{costs} the organization's credits have too little left for it. Its owner can top \
                 them up."
            ),
        }
    }
}

fn amount(decimal: Decimal) -> Usd {
    Usd::from_decimal(decimal.normalize()).unwrap_or_default()
}

/// What a refused retry tells the client: that the run is over, if it is; else nothing, and the
/// failure that was to be retried stands.
pub(super) fn final_word(refusal: Refusal) -> Option<Fault> {
    match refusal {
        Refusal::RunClosed(state) => Some(closed(state.as_str())),
        Refusal::RunExpired => Some(expired()),
        Refusal::InvalidKey => Some(invalid_key()),
        Refusal::RunNotFound => Some(run_not_found()),
        Refusal::RunNotActive(_)
        | Refusal::Outdated
        | Refusal::Behind { .. }
        | Refusal::Budget { .. } => None,
    }
}
