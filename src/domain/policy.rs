//! Who is admitted: state first, then budgets, and what to do with a call that does not fit.

use chrono::{DateTime, Utc};

use super::budget::{Amounts, Balance, BudgetRef, Fit, Unit};
use super::money::{Overflow, Usd};
use super::reservation::{Authority, Refusal};
use super::run::{OnCap, RunStanding, StateAdmission};
use super::tier::AskedPrices;
use super::usage::Tokens;

/// Whether a run in this standing may spend at all. Checked in the published order: credential,
/// state, expiry.
///
/// # Errors
/// The first rule that is violated.
pub fn check_standing(
    standing: &RunStanding,
    require_token: bool,
    authority: Authority,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let trusted = match authority {
        Authority::Token(hash) => hash == standing.token,
        // A key is good for its organization, not for one run.
        Authority::RunId | Authority::Key(..) => !require_token,
    };
    if !trusted {
        return Err(Refusal::InvalidKey);
    }
    let expired = standing.expires_at.is_some_and(|expiry| now >= expiry);
    match standing.state.admission() {
        StateAdmission::Closed => Err(Refusal::RunClosed(standing.state)),
        StateAdmission::NotYet | StateAdmission::Open if expired => Err(Refusal::RunExpired),
        StateAdmission::NotYet => Err(Refusal::RunNotActive(standing.state)),
        StateAdmission::Open => Ok(()),
    }
}

/// Whether `amounts` fit all of a call's budgets. Checked in the published order: calls, tokens,
/// dollars of the key, of the organization, of the credits, of the run. Beside each stands whether
/// it is latched, and so admits nothing.
///
/// # Errors
/// The first budget that they do not fit.
pub fn check_budgets<'a>(
    budgets: impl Iterator<Item = (&'a BudgetRef, &'a Balance, bool)>,
    amounts: &Amounts,
) -> Result<(), BudgetRef> {
    budgets
        .filter(|(budget, balance, latched)| {
            *latched || balance.fit(amounts.in_unit(budget.unit)) != Fit::Fits
        })
        .map(|(budget, ..)| *budget)
        .min_by_key(BudgetRef::rank)
        .map_or(Ok(()), Err)
}

/// A call as it may be admitted: how much input it brings, how much output it may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What it is priced at.
    pub prices: AskedPrices,
    /// The most input it can be counted as.
    pub input: Tokens,
    /// The output bound of one choice.
    pub output: Tokens,
    /// How many choices were asked for.
    pub choices: u32,
    /// The least output of one choice that is worth having.
    pub least_output: Tokens,
    /// What to do when the cap cannot afford it in full.
    pub on_cap: OnCap,
}

/// What to do with a call that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask again when something changes.
    Wait,
    /// Ask again now: it fits by these numbers.
    Retry,
    /// Ask again with this output bound for one choice.
    Clamp(Tokens),
    /// Refuse for good: what is spent leaves too little.
    RefuseSpent,
    /// Refuse for now: only what is reserved stands in the way.
    RefuseReserved,
}

impl Wanted {
    /// The most that the call takes of each unit with this output bound for one choice.
    ///
    /// # Errors
    /// If the worst case cannot be represented; such a call fits no budget.
    pub fn amounts(&self, output: Tokens) -> Result<Amounts, Overflow> {
        let output = output.times(u64::from(self.choices));
        let usd = self.prices.worst_case(self.input, output)?;
        Ok(Amounts { usd, tokens: self.input.plus(output), calls: 1 })
    }

    /// The smallest output bound for one choice that is acceptable.
    pub fn smallest_output(&self) -> Tokens {
        match self.on_cap {
            OnCap::Clamp => self.least_output.min(self.output),
            OnCap::Refuse => self.output,
        }
    }

    /// What comes after the ledger said that `unit` does not fit.
    ///
    /// `patient` says whether the call may wait any longer.
    pub fn after_refusal(&self, unit: Unit, balance: &Balance, patient: bool) -> Step {
        let Ok(smallest) = self.amounts(self.smallest_output()) else {
            return Step::RefuseSpent;
        };
        let fit = balance.fit(smallest.in_unit(unit));
        if fit == Fit::Exceeds {
            return Step::RefuseSpent;
        }
        if patient && !balance.reserved.is_zero() {
            return Step::Wait;
        }
        if fit == Fit::Waits {
            return Step::RefuseReserved;
        }
        match (unit, self.on_cap) {
            (Unit::Calls, _) | (_, OnCap::Refuse) => Step::Retry,
            (Unit::Tokens | Unit::Usd, OnCap::Clamp) => self.clamp(unit, balance),
        }
    }

    /// The largest output bound that what is available buys; at least the smallest one fits.
    fn clamp(&self, unit: Unit, balance: &Balance) -> Step {
        let choices = u64::from(self.choices.max(1));
        let affordable = match unit {
            Unit::Usd => Usd::from_decimal(balance.available())
                .ok()
                .and_then(|available| self.prices.output_affordable(available, self.input)),
            Unit::Tokens | Unit::Calls => {
                let available = u64::try_from(balance.available().trunc()).unwrap_or(0);
                Some(Tokens::new(available).minus_or_zero(self.input))
            }
        };
        let each = Tokens::new(affordable.unwrap_or_default().count() / choices).min(self.output);
        if each == self.output { Step::Retry } else { Step::Clamp(each) }
    }
}
