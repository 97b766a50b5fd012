//! Runs and calls as people read them.

use serde_json::Value;

use super::super::lists::{add_all, list_table, rows};
use super::super::table::{self, Table};

const RUN: &[&str] = &[
    "id",
    "token",
    "status",
    "attempt",
    "cost_limit_usd",
    "spent_usd",
    "total_spent_usd",
    "reserved_usd",
    "remaining_usd",
    "in_flight",
    "calls",
    "settlement",
    "allowed_models",
    "token_limit",
    "call_limit",
    "max_concurrency",
    "requests_per_minute",
    "max_output_tokens_per_call",
    "on_cap",
    "require_token",
    "model_aliases",
    "forced_parameters",
    "provider",
    "fallback",
    "attempt_budget",
    "own_providers",
    "expires_at",
    "close_reason",
    "created_at",
    "closed_at",
    "metadata",
];

/// A run with everything about it.
pub(super) fn run_card(run: &Value) -> String {
    table::card(run, RUN) + &models_table(run)
}

/// What a run has used: its bill.
pub(super) fn usage_card(usage: &Value) -> String {
    const USAGE: &[&str] = &[
        "run_id",
        "status",
        "attempt",
        "settlement",
        "cost_limit_usd",
        "spent_usd",
        "total_spent_usd",
        "reserved_usd",
        "remaining_usd",
        "in_flight",
        "calls",
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
    ];
    table::card(usage, USAGE) + &models_table(usage)
}

/// What was used of each model, below an empty line; nothing if nothing was.
fn models_table(usage: &Value) -> String {
    const MEMBERS: [&str; 6] =
        ["model", "calls", "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd"];
    let Some(models) = rows(usage, "models").filter(|models| !models.is_empty()) else {
        return String::new();
    };
    let mut table = Table::new(&["MODEL", ">CALLS", ">INPUT", ">CACHED", ">OUTPUT", ">COST USD"]);
    add_all(&mut table, models, &MEMBERS, "Total");
    format!("\n\n{}", table.render())
}

/// A page of runs.
pub(super) fn runs_table(list: &Value) -> String {
    const MEMBERS: [&str; 8] = [
        "id",
        "status",
        "attempt",
        "cost_limit_usd",
        "spent_usd",
        "reserved_usd",
        "in_flight",
        "calls",
    ];
    let columns =
        ["ID", "STATUS", ">ATTEMPT", ">LIMIT USD", ">SPENT", ">RESERVED", ">IN FLIGHT", ">CALLS"];
    list_table(list, &columns, &MEMBERS)
}

/// A page of calls.
pub(super) fn calls_table(list: &Value) -> String {
    const MEMBERS: [&str; 9] = [
        "created_at",
        "model",
        "provider",
        "status",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "cost_source",
        "latency_ms",
    ];
    let columns =
        ["AT", "MODEL", "PROVIDER", ">STATUS", ">INPUT", ">OUTPUT", ">COST USD", "SOURCE", ">MS"];
    list_table(list, &columns, &MEMBERS)
}
