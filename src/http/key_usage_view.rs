//! What an inference key has used, for whoever calls with it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::budget::{Unit, Window};
use crate::domain::id::KeyId;
use crate::domain::organization::KeyStatus;
use crate::gateway::usage::KeyUsage;
use crate::ledger::organizations::BudgetStanding;
use crate::ledger::{Sums, UsageRow};
use crate::protocol::schema::{InstantText, UsdText};

use super::usage_view::{instant, plain};

/// The usage of a key: its limits, and this month's calls with it, those for runs too.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "KeyUsage")]
pub(super) struct KeyUsageView {
    key_id: KeyId,
    name: String,
    status: KeyStatus,
    /// When it stops being good by itself.
    #[schemars(with = "Option<InstantText>")]
    expires_at: Option<String>,
    /// Its limits, each in its current window. Those of its organization are not among them.
    budgets: Vec<BudgetView>,
    /// When the month began that the rest is of (UTC).
    #[schemars(with = "InstantText")]
    since: String,
    /// What its calls have cost.
    #[schemars(with = "UsdText")]
    spent_usd: String,
    /// Ended attempts that bought something.
    calls: u64,
    /// All input, the cached included.
    input_tokens: u64,
    /// The part of the input that came from a cache.
    cached_input_tokens: u64,
    /// All output, reasoning included.
    output_tokens: u64,
    /// The same by model.
    models: Vec<ModelView>,
}

/// A limit, and where it stands.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "KeyBudget")]
struct BudgetView {
    /// What the numbers count.
    #[schemars(extend("enum" = ["usd", "tokens"]))]
    unit: &'static str,
    #[schemars(extend("enum" = ["lifetime", "day", "month"]))]
    window: &'static str,
    limit: String,
    spent: String,
    /// What calls in flight may take.
    reserved: String,
    remaining: String,
}

/// The usage of one model at one provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "KeyModelUsage")]
struct ModelView {
    /// The model, behind its provider's prefix.
    model: String,
    calls: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    #[schemars(with = "UsdText")]
    cost_usd: String,
}

impl KeyUsageView {
    pub(super) fn of(used: KeyUsage) -> Self {
        let KeyUsage { record, since, models, total } = used;
        Self {
            key_id: record.key.id,
            name: record.key.terms.name,
            status: record.key.status,
            expires_at: record.key.terms.expires_at.map(instant),
            budgets: record.standings.iter().map(BudgetView::of).collect(),
            since: instant(since),
            spent_usd: plain(total.cost),
            calls: total.calls,
            input_tokens: total.input_tokens,
            cached_input_tokens: total.cached_input_tokens,
            output_tokens: total.output_tokens,
            models: models.into_iter().map(ModelView::of).collect(),
        }
    }
}

impl BudgetView {
    fn of(standing: &BudgetStanding) -> Self {
        let BudgetStanding { budget, balance, .. } = standing;
        Self {
            unit: Unit::as_str(budget.unit),
            window: Window::as_str(budget.window),
            limit: plain(balance.limit),
            spent: plain(balance.spent),
            reserved: plain(balance.reserved),
            remaining: plain(balance.available()),
        }
    }
}

impl ModelView {
    fn of(row: UsageRow) -> Self {
        let Sums { calls, input_tokens, cached_input_tokens, output_tokens, cost } = row.sums;
        let cost_usd = plain(cost);
        Self { model: row.group, calls, input_tokens, cached_input_tokens, output_tokens, cost_usd }
    }
}
