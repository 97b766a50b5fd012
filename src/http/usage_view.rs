//! What a run has used, as both planes answer it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::{Attempt, RunId};
use crate::domain::run::RunState;
use crate::ledger::{ModelUse, RunRecord};

/// The usage of a run.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each field is the contract's field of its name")]
pub struct UsageView {
    pub run_id: RunId,
    pub status: RunState,
    pub attempt: Attempt,
    pub settlement: &'static str,
    pub cost_limit_usd: String,
    pub spent_usd: String,
    pub reserved_usd: String,
    pub remaining_usd: String,
    pub in_flight: u64,
    pub calls: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub refusals: BTreeMap<String, u64>,
    pub models: Vec<ModelView>,
}

/// The usage of one model by a run.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "each field is the contract's field of its name")]
pub struct ModelView {
    pub model: String,
    pub calls: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: String,
    pub cost_sources: BTreeMap<&'static str, u64>,
}

impl UsageView {
    /// The view of a record.
    pub fn of(record: &RunRecord) -> Self {
        let usd = record.balance(Unit::Usd).copied().unwrap_or_default();
        let sum = |of: fn(&ModelUse) -> u64| record.models.iter().map(of).sum();
        Self {
            run_id: record.run.id,
            status: record.run.standing.state,
            attempt: record.run.standing.attempt,
            settlement: if record.is_final() { "final" } else { "provisional" },
            cost_limit_usd: usd.limit.to_string(),
            spent_usd: plain(usd.spent),
            reserved_usd: plain(usd.reserved),
            remaining_usd: plain(Balance::available(&usd)),
            in_flight: record.in_flight,
            calls: sum(|used| used.calls),
            input_tokens: sum(|used| used.input_tokens),
            cached_input_tokens: sum(|used| used.cached_input_tokens),
            output_tokens: sum(|used| used.output_tokens),
            refusals: record.refusals.iter().cloned().collect(),
            models: record.models.iter().map(ModelView::of).collect(),
        }
    }
}

impl ModelView {
    fn of(used: &ModelUse) -> Self {
        Self {
            model: used.model.clone(),
            calls: used.calls,
            input_tokens: used.input_tokens,
            cached_input_tokens: used.cached_input_tokens,
            output_tokens: used.output_tokens,
            cost_usd: plain(used.cost),
            cost_sources: used.sources.iter().map(|(from, n)| (from.as_str(), *n)).collect(),
        }
    }
}

/// Without trailing zeros, never in scientific notation.
fn plain(amount: Decimal) -> String {
    amount.normalize().to_string()
}
