//! Parameters of lists and waits.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::fault::Fault;
use crate::ledger::Page;

use super::exchange::Query;
use super::fields::invalid;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;
/// Longest wait for a run's usage to be final.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Reads `limit` and `after`.
pub(super) fn read(query: &Query) -> Result<Page, Fault> {
    let limit = match query.get("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => digits(text)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (1..=MAX_LIMIT).contains(n))
            .ok_or_else(|| {
                let says = format!("must be a whole number from 1 to {MAX_LIMIT}");
                invalid("limit".to_owned(), says)
            })?,
    };
    let after = query.get("after").map(|text| {
        Uuid::try_parse(text)
            .map_err(|_| invalid("after".to_owned(), "must be what `next` of the page before says"))
    });
    Ok(Page { after: after.transpose()?, limit })
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
