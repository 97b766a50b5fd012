//! The budgets of a run or of one of its attempts.

use rust_decimal::Decimal;

use crate::domain::budget::{Amounts, Balance, BudgetRef, Unit};
use crate::domain::id::BudgetId;
use crate::domain::money::Usd;
use crate::domain::run::RunTerms;

use super::used::sum;

/// Budgets and where they stand, in the order of their units.
pub(super) type Balances = Vec<(BudgetRef, Balance)>;

/// The budgets of a run that is registered.
pub(super) fn opened(terms: &RunTerms, cost_limit: Usd) -> Balances {
    let limits = [
        (Unit::Calls, terms.call_limit.map(Decimal::from)),
        (Unit::Tokens, terms.token_limit.map(|limit| Decimal::from(limit.count()))),
        (Unit::Usd, Some(cost_limit.decimal())),
    ];
    limits.into_iter().filter_map(|(unit, limit)| Some(untouched(unit, limit?))).collect()
}

/// Budgets of the same limits from which nothing was taken yet.
pub(super) fn fresh(balances: &Balances) -> Balances {
    balances.iter().map(|(budget, balance)| untouched(budget.unit, balance.limit)).collect()
}

fn untouched(unit: Unit, limit: Decimal) -> (BudgetRef, Balance) {
    (BudgetRef::of_run(BudgetId::generate(), unit), Balance { limit, ..Balance::default() })
}

/// Frees what was held and books what was taken.
pub(super) fn settle(balances: &mut Balances, held: &Amounts, booked: &Amounts) {
    for (budget, balance) in balances {
        balance.reserved = sum(balance.reserved, -held.in_unit(budget.unit));
        balance.spent = sum(balance.spent, booked.in_unit(budget.unit));
    }
}

/// The dollars that were spent of all of them.
pub(super) fn spent<'a>(balances: impl Iterator<Item = &'a Balances>) -> Decimal {
    let usd = balances.flatten().filter(|(budget, _)| budget.unit == Unit::Usd);
    usd.fold(Decimal::ZERO, |total, (_, balance)| sum(total, balance.spent))
}
