//! What a run used of one model, in sums that need no rows.

use rust_decimal::Decimal;

use crate::domain::money::{Overflow, add_exact};
use crate::domain::settlement::{Charge, CostSource};

use super::super::ModelUse;

/// The running totals of one model.
#[derive(Default)]
pub(super) struct Used {
    calls: u64,
    input: u64,
    cached: u64,
    output: u64,
    cost: Decimal,
    sources: [u64; CostSource::ALL.len()],
}

impl Used {
    /// Adds a call that bought something.
    pub(super) fn count(&mut self, charge: &Charge) {
        let usage = &charge.usage;
        self.calls += 1;
        self.input = self.input.saturating_add(usage.input().count());
        self.cached = self.cached.saturating_add(usage.cached_input.count());
        self.output = self.output.saturating_add(usage.output.count());
        self.cost = sum(self.cost, charge.cost.decimal());
        for (source, count) in CostSource::ALL.iter().zip(&mut self.sources) {
            *count += u64::from(*source == charge.source);
        }
    }

    /// The totals as a record shows them.
    pub(super) fn of(&self, model: &str) -> ModelUse {
        let sources = CostSource::ALL.into_iter().zip(self.sources);
        ModelUse {
            model: model.to_owned(),
            calls: self.calls,
            input_tokens: self.input,
            cached_input_tokens: self.cached,
            output_tokens: self.output,
            cost: self.cost,
            sources: sources.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// The exact sum. Prices and limits have too few digits for it to fail; should it fail all the
/// same, the largest number closes the budget, where a rounded one would be a wrong bill.
pub(super) fn sum(a: Decimal, b: Decimal) -> Decimal {
    add_exact(a, b).unwrap_or_else(|Overflow| {
        tracing::error!(%a, %b, "ledger.overflow: a sum has too many digits; it stays at the end");
        Decimal::MAX
    })
}
