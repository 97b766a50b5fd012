//! Runs and calls as people read them.

use serde_json::Value;

use super::super::table::{self, Rows};

const RUN: &[&str] = &[
    "id",
    "token",
    "status",
    "attempt",
    "cost_limit_usd",
    "spent_usd",
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
    let models = usage.get("models").and_then(Value::as_array);
    let Some(models) = models.filter(|models| !models.is_empty()) else { return String::new() };
    let mut rows = Rows::new(&["model", ">calls", ">input", ">cached", ">output", ">cost usd"]);
    for model in models {
        let members =
            ["model", "calls", "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd"];
        rows.add(model, &members);
    }
    format!("\n\n{}", rows.render())
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
        ["id", "status", ">attempt", ">limit usd", ">spent", ">reserved", ">in flight", ">calls"];
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
        ["at", "model", "provider", ">status", ">input", ">output", ">cost usd", "source", ">ms"];
    list_table(list, &columns, &MEMBERS)
}

fn list_table(list: &Value, columns: &[&str], members: &[&str]) -> String {
    let mut rows = Rows::new(columns);
    for object in list.get("data").and_then(Value::as_array).into_iter().flatten() {
        rows.add(object, members);
    }
    match list.get("next").and_then(Value::as_str) {
        Some(next) => format!("{}\n\nmore: --after {next}", rows.render()),
        None => rows.render(),
    }
}
