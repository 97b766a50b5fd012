//! Bodies of requests that change a run.

use std::time::Duration;

use crate::domain::fault::Fault;
use crate::domain::run::{RunPatch, RunState};
use crate::ledger::Close;

use super::fields::{Fields, Range};
use super::metadata;

/// Longest wait for the calls of a closed run, in seconds.
const MAX_WAIT: u64 = 600;
/// How long a close waits that does not say.
const DRAIN_WAIT: u64 = 60;
/// How long an abort waits that does not say: nothing is waited for but our own cuts.
const ABORT_WAIT: u64 = 30;
/// Most bytes of a reason.
const MAX_REASON_BYTES: usize = 4 << 10;

const PATCH_FIELDS: &[&str] = &["status", "cost_limit_usd", "expires_at", "metadata"];
const CLOSE_FIELDS: &[&str] = &["status", "mode", "wait_seconds", "reason"];
const ATTEMPT_FIELDS: &[&str] = &["status"];

/// Reads the body of `PATCH /runs/{id}`. A `null` takes the expiry away, and nothing else.
pub(super) fn read_patch(body: &str) -> Result<RunPatch, Fault> {
    let fields = Fields::read(body, PATCH_FIELDS, String::new())?;
    for name in ["status", "cost_limit_usd", "metadata"] {
        fields.not_null(name)?;
    }
    let given = fields.raw("expires_at").is_some();
    Ok(RunPatch {
        status: fields.state("status")?,
        cost_limit: fields.usd("cost_limit_usd")?,
        expires_at: fields.instant("expires_at").map(|instant| given.then_some(instant))?,
        metadata: metadata::read(&fields)?,
    })
}

/// Reads the body of `POST /runs/{id}/close`, which may be missing: how to close – by draining,
/// unless it says otherwise – and how long to wait.
pub(super) fn read_close(body: &str) -> Result<(Close, Duration), Fault> {
    let fields = Fields::read(or_empty(body), CLOSE_FIELDS, String::new())?;
    let (cut, default_wait) = match fields.text("mode")?.as_deref() {
        None | Some("drain") => (false, DRAIN_WAIT),
        Some("abort") => (true, ABORT_WAIT),
        Some(_) => return Err(fields.wrong("mode", "must be \"drain\" or \"abort\"")),
    };
    let wait = fields.count("wait_seconds", Range::new(0, MAX_WAIT))?.unwrap_or(default_wait);
    let close = Close {
        status: fields.state("status")?.unwrap_or(RunState::Finished),
        cut,
        reason: fields.storable("reason", MAX_REASON_BYTES)?,
    };
    Ok((close, Duration::from_secs(wait)))
}

/// Reads the body of `POST /runs/{id}/attempts`, which may be missing.
pub(super) fn read_attempt(body: &str) -> Result<RunState, Fault> {
    let fields = Fields::read(or_empty(body), ATTEMPT_FIELDS, String::new())?;
    Ok(fields.state("status")?.unwrap_or(RunState::Pending))
}

/// Reads a body that has nothing to say.
pub(super) fn read_nothing(body: &str) -> Result<(), Fault> {
    Fields::read(or_empty(body), &[], String::new()).map(drop)
}

fn or_empty(body: &str) -> &str {
    if body.trim().is_empty() { "{}" } else { body }
}
