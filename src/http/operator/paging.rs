//! Parameters of lists and waits.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::domain::fault::Fault;
use crate::http::route::Param;
use crate::ledger::Page;

use super::exchange::Query;
use super::fields::invalid;

pub(super) const DEFAULT_LIMIT: u32 = 100;
pub(super) const MAX_LIMIT: u32 = 1_000;
/// Longest wait for a run's usage to be final.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The most rows of a page.
pub(super) const LIMIT: Param = Param {
    name: "limit",
    about: "The most rows to answer.",
    schema: || json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
};

/// Where a page begins.
pub(super) const AFTER: Param = Param {
    name: "after",
    about: "What `next` of the page before says.",
    schema: || json!({"type": "string"}),
};

/// How long to wait for a final bill.
pub(super) const WAIT_FINAL: Param = Param {
    name: "wait_final",
    about: "How long to wait for it to be final: `30s`, `30` or `500ms`, at most 120s.",
    schema: || json!({"type": "string", "pattern": "^[0-9]+(s|ms)?$"}),
};

/// The parameters of a list.
pub(super) static PAGE: &[Param] = &[LIMIT, AFTER];

/// Reads `limit` and `after`.
pub(super) fn read(query: &Query) -> Result<Page, Fault> {
    let limit = limit(query, DEFAULT_LIMIT)?;
    let after = query.get("after").map(|text| Uuid::try_parse(text).map_err(|_| no_cursor()));
    Ok(Page { after: after.transpose()?, limit })
}

/// Reads `limit`.
pub(super) fn limit(query: &Query, default: u32) -> Result<u32, Fault> {
    let Some(text) = query.get("limit") else { return Ok(default) };
    digits(text)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (1..=MAX_LIMIT).contains(n))
        .ok_or_else(|| {
            let says = format!("must be a whole number from 1 to {MAX_LIMIT}");
            invalid("limit".to_owned(), says)
        })
}

/// What `after` holds begins no page.
pub(super) fn no_cursor() -> Fault {
    invalid("after".to_owned(), "must be what `next` of the page before says")
}

/// Reads `wait_final`: `30s`, `30` or `500ms`.
pub(super) fn wait(query: &Query) -> Result<Duration, Fault> {
    let Some(text) = query.get("wait_final") else { return Ok(Duration::ZERO) };
    let wait = match text.strip_suffix("ms") {
        Some(millis) => digits(millis).map(Duration::from_millis),
        None => digits(text.strip_suffix('s').unwrap_or(text)).map(Duration::from_secs),
    };
    wait.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
        let most = MAX_WAIT.as_secs();
        let says = format!("must be a time such as 30s, 30 or 500ms, of at most {most}s");
        invalid("wait_final".to_owned(), says)
    })
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
