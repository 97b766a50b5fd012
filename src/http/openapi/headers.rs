//! Headers of answers.

use serde_json::{Map, Value, json};

use crate::domain::fault::Origin;
use crate::http::respond::Manners;

/// What the answer to a model call tells of its run and, where it is not streamed, of its cost.
pub(in crate::http) const CALL_HEADERS: &[&str] = &[
    "x-run-id",
    "x-run-remaining-usd",
    "x-run-cost-usd",
    "x-run-spent-usd",
    "x-served-model",
    "x-run-max-output-tokens",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// The same on messages, whose clients look for the request's id under another name.
pub(in crate::http) const MESSAGE_HEADERS: &[&str] = &[
    "request-id",
    "x-run-id",
    "x-run-remaining-usd",
    "x-run-cost-usd",
    "x-run-spent-usd",
    "x-served-model",
    "x-run-max-output-tokens",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// What a count of messages tells.
pub(in crate::http) const COUNT_HEADERS: &[&str] = &[
    "request-id",
    "x-token-count",
    "x-run-id",
    "x-run-remaining-usd",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// What keeps others from holding a stream back.
pub(super) const STREAM: &[&str] = &["cache-control", "x-accel-buffering"];

/// What a refusal tells.
pub(super) const REFUSAL: &[&str] = &["x-error-origin", "x-should-retry"];

/// Every header that a document names.
pub(super) fn schemas() -> Map<String, Value> {
    let text = || json!({"type": "string"});
    let count = || json!({"type": "integer", "minimum": 0});
    let usd = || json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"});
    let origins = [Origin::Client, Origin::Policy, Origin::Gateway, Origin::Upstream];
    let origin = json!({"type": "string", "enum": origins.map(Origin::as_str)});
    let all = [
        ("x-request-id", text(), "The request's id: the caller's own, if it is sane."),
        ("request-id", text(), "As `x-request-id`."),
        ("x-rungate-mode", json!({"const": "dev"}), "This is a developer's gateway."),
        ("cache-control", text(), "What is told is true only now."),
        ("x-accel-buffering", json!({"const": "no"}), "On streams: nobody shall hold them back."),
        ("x-run-id", json!({"type": "string", "format": "uuid"}), "The run."),
        ("x-run-remaining-usd", usd(), "What its cap has left, as this gateway knows it."),
        (
            "x-run-cost-usd",
            usd(),
            "What this call cost. Not on streams: they begin before it is known.",
        ),
        ("x-run-spent-usd", usd(), "What the run has spent. Not on streams."),
        ("x-served-model", text(), "The model that answered, as the provider names it."),
        ("x-run-max-output-tokens", count(), "What the output was lowered to, if it was."),
        (
            "x-ratelimit-limit-requests",
            count(),
            "Of the limits on requests a second or a minute that the call falls under, the one \
             with the fewest left: the most that it allows on this gateway.",
        ),
        ("x-ratelimit-remaining-requests", count(), "How many of them are left."),
        ("x-ratelimit-reset-requests", text(), "When all of them are back: `250ms`, `1s`, `6m0s`."),
        (
            "x-token-count",
            json!({"enum": ["provider", "bound"]}),
            "Who counted: the provider, or this gateway, whose count the input will not exceed.",
        ),
        (
            "x-ratelimit-limit-tokens",
            count(),
            "Of the limits on tokens a minute that the call falls under, the one with the fewest \
             left. A call takes its worst case, and gives back at its end what it did not use.",
        ),
        ("x-ratelimit-remaining-tokens", count(), "How many of them are left."),
        ("x-ratelimit-reset-tokens", text(), "When all of them are back."),
        ("x-error-origin", origin, "Whose fault it is."),
        ("x-should-retry", json!({"const": "false"}), "The same request will fail again."),
        ("retry-after", count(), "When to come back, in seconds."),
        ("www-authenticate", text(), "How to show a credential."),
    ];
    all.into_iter()
        .map(|(name, schema, about)| {
            (name.to_owned(), json!({"description": about, "schema": schema}))
        })
        .collect()
}

/// Headers of one answer, beside those that every answer has.
pub(super) fn references<'a>(names: impl Iterator<Item = &'a str>, manners: Manners) -> Value {
    let always = ["x-request-id"].into_iter().chain(manners.dev.then_some("x-rungate-mode"));
    let reference = |name| json!({"$ref": format!("#/components/headers/{name}")});
    let named = always.chain(names).map(|name| (name.to_owned(), reference(name)));
    Value::Object(named.collect())
}
