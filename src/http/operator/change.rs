//! Bodies of requests that change a run.

use std::time::Duration;

use crate::domain::fault::Fault;
use crate::domain::run::{RunPatch, RunState};
use crate::ledger::Close;

use super::fields::Fields;
use super::members::{Kind, Member, Range, not_null, optional};
use super::metadata;

/// Longest wait for the calls of a closed run, in seconds.
const MAX_WAIT: u64 = 600;
/// How long a close waits that does not say.
const DRAIN_WAIT: u64 = 60;
/// How long an abort waits that does not say: nothing is waited for but our own cuts.
const ABORT_WAIT: u64 = 30;
/// Most bytes of a reason.
const MAX_REASON_BYTES: usize = 4 << 10;

/// The members of a patch.
pub(super) static PATCH_FIELDS: &[Member] = &[
    not_null("status", Kind::State(&RunState::ALL), "Where to go; never backwards."),
    not_null("cost_limit_usd", Kind::Usd, "The new cap, not below what is spent."),
    optional("expires_at", Kind::Instant, "The new expiry; `null` takes it away."),
    not_null("metadata", Kind::Notes(metadata::MAX_BYTES), "New notes instead of the old ones."),
];

/// The members of a close.
pub(super) static CLOSE_FIELDS: &[Member] = &[
    optional("status", Kind::State(&CLOSED), "Where the run ends; `finished` by default."),
    optional("mode", Kind::Word(&["drain", "abort"]), "Calls in flight end, or are cut."),
    optional(
        "wait_seconds",
        Kind::Count(Range::new(0, MAX_WAIT)),
        "How long to wait for calls in flight: 60 by default, 30 for `abort`.",
    ),
    optional("reason", Kind::Text(MAX_REASON_BYTES), "Why."),
];

/// The members of a new attempt.
pub(super) static ATTEMPT_FIELDS: &[Member] =
    &[optional("status", Kind::State(&OPEN), "Where it begins; `pending` by default.")];

const CLOSED: [RunState; 4] =
    [RunState::Scoring, RunState::Finished, RunState::Failed, RunState::Cancelled];
const OPEN: [RunState; 3] = [RunState::Pending, RunState::Initializing, RunState::Running];

/// Reads the body of `PATCH /runs/{id}`. A `null` takes the expiry away, and nothing else.
pub(super) fn read_patch(body: &str) -> Result<RunPatch, Fault> {
    let fields = Fields::read(body, PATCH_FIELDS, String::new())?;
    for member in PATCH_FIELDS.iter().filter(|member| !member.nullable) {
        fields.not_null(member.name)?;
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
    let wait = fields.count("wait_seconds")?.unwrap_or(default_wait);
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
