//! What a run has used, as both planes answer it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use rust_decimal::{Decimal, RoundingStrategy};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::{Attempt, RunId};
use crate::domain::run::RunState;
use crate::ledger::{ModelUse, RunRecord};
use crate::protocol::schema::UsdText;

/// The usage of a run.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RunUsage")]
pub struct UsageView {
    /// The run.
    pub run_id: RunId,
    /// Where it stands.
    pub status: RunState,
    /// Its current attempt, from 1.
    pub attempt: Attempt,
    /// `final` once nothing can change any more in what the run has spent.
    #[schemars(extend("enum" = ["provisional", "final"]))]
    pub settlement: &'static str,
    /// The cap.
    #[schemars(with = "UsdText")]
    pub cost_limit_usd: String,
    /// What its calls have cost.
    #[schemars(with = "UsdText")]
    pub spent_usd: String,
    /// What the calls of all its attempts have cost: the same, unless each has its own budget.
    #[schemars(with = "UsdText")]
    pub total_spent_usd: String,
    /// What its calls in flight may cost.
    #[schemars(with = "UsdText")]
    pub reserved_usd: String,
    /// What neither is spent nor reserved.
    #[schemars(with = "UsdText")]
    pub remaining_usd: String,
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Ended attempts that bought something.
    pub calls: u64,
    /// All input, the cached included.
    pub input_tokens: u64,
    /// The part of the input that came from a cache.
    pub cached_input_tokens: u64,
    /// All output, reasoning included.
    pub output_tokens: u64,
    /// How often calls were refused, by code.
    pub refusals: BTreeMap<String, u64>,
    /// The same by model.
    pub models: Vec<ModelView>,
}

/// The usage of one model by a run.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "ModelUsage")]
pub struct ModelView {
    /// The model's name in the catalogue.
    pub model: String,
    /// Ended attempts that bought something.
    pub calls: u64,
    /// All input, the cached included.
    pub input_tokens: u64,
    /// The part of the input that came from a cache.
    pub cached_input_tokens: u64,
    /// All output, reasoning included.
    pub output_tokens: u64,
    /// What the calls have cost.
    #[schemars(with = "UsdText")]
    pub cost_usd: String,
    /// How many calls have their cost from where.
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
            total_spent_usd: plain(record.total_spent),
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
pub fn plain(amount: Decimal) -> String {
    amount.normalize().to_string()
}

/// As precise as it is stored, without trailing zeros.
pub fn instant(time: DateTime<Utc>) -> String {
    time.trunc_subsecs(6).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Millionths of a cent, rounded half up: for people to read, never to reckon with.
pub fn microcents(dollars: Decimal) -> u64 {
    const DIGITS: u32 = 8;
    let rounded = dollars.round_dp_with_strategy(DIGITS, RoundingStrategy::MidpointAwayFromZero);
    let shift = 10_i128.pow(DIGITS.saturating_sub(rounded.scale()));
    u64::try_from(rounded.mantissa().saturating_mul(shift)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::microcents;

    #[test]
    fn microcents_are_rounded_half_up_and_never_wrap() {
        for (dollars, expected) in [
            ("0", 0),
            ("0.01", 1_000_000),
            ("0.5177", 51_770_000),
            ("0.000000005", 1),
            ("0.0000000049999999999999999999", 0),
            ("0.0000000149999999999999999999", 1),
            ("0.000000015", 2),
            ("1234567890.12345678", 123_456_789_012_345_678),
            ("79228162514264337593543950335", u64::MAX),
        ] {
            let dollars = Decimal::from_str_exact(dollars).unwrap_or_default();
            assert_eq!(microcents(dollars), expected, "{dollars}");
        }
    }
}
