//! What a provider's failure means: for the bill, and for the client.

use http::StatusCode;

use crate::domain::fault::{Code, Fault, UpstreamFailure, UpstreamVerdict};
use crate::domain::settlement::Ending;
use crate::protocol::provider_error::{ProviderError, read_error};
use crate::upstream::scrub::scrub;
use crate::upstream::{Access, SendError};

use super::{Gateway, draining};

/// Writes down a failure that a client hears of within a stream, where no status tells it.
pub(super) fn tell(fault: &Fault, request_id: &str) {
    metrics::counter!("rungate_refusals_total", "code" => fault.code().as_str()).increment(1);
    let (code, says) = (fault.code().as_str(), fault.message());
    if fault.code().status() < 500 {
        let says = fault.upstream_verdict().is_none().then_some(says);
        tracing::debug!(request.id = request_id, code, says, "stream.refused");
        return;
    }
    // The provider's words are not written: they repeat prompts.
    let status = fault.upstream_failure().and_then(|failure| failure.status);
    tracing::warn!(request.id = request_id, code, ?says, upstream.status = status, "stream.failed");
}

/// Longest `retry-after` of a provider that is believed, in seconds.
const MAX_RETRY_AFTER: u32 = 600;

/// As much of a failure's body as is read, in bytes.
pub(super) const MAX_FAILURE_BYTES: usize = 64 << 10;

/// What was bought from a provider that answered with this status before any body.
pub(super) fn ending_of_status(status: StatusCode) -> Ending {
    match status.as_u16() {
        400..=499 | 500 | 502 | 503 | 529 => Ending::NothingBought,
        _ => Ending::Unknown,
    }
}

/// What the client hears of an answer with a failing status.
pub(super) fn fault_of_status(
    access: &Access,
    status: StatusCode,
    retry_after: Option<u32>,
    body: &[u8],
) -> Fault {
    let read = read_error(body);
    match status.as_u16() {
        400 | 404 | 413 | 422 => verdict(access, status.as_u16(), read),
        401 | 403 => Fault::new(
            Code::UpstreamError,
            "The provider refused the gateway's credential. Tell the operator; retrying will not \
             help until it is mended.",
        )
        .not_retryable()
        .upstream(UpstreamFailure { status: Some(status.as_u16()), body: String::new() }),
        code => {
            let shown = match read.message {
                Some(message) => scrub(&message, access.secrets()),
                None => scrub(&lossy(body), access.secrets()),
            };
            let fault = Fault::new(
                Code::UpstreamError,
                format!("The provider answered with status {code}. Try again later."),
            )
            .upstream(UpstreamFailure { status: Some(code), body: shown });
            match retry_after {
                Some(seconds) => fault.retry_after(seconds.min(MAX_RETRY_AFTER)),
                None => fault,
            }
        }
    }
}

/// What the client hears of an error that a provider put into an answer or a stream.
pub(super) fn fault_of_error(access: &Access, error: &ProviderError) -> Fault {
    let shown = error.message.as_deref().map(|message| scrub(message, access.secrets()));
    Fault::new(
        Code::UpstreamError,
        "The provider reported an error within its answer. Try again later.",
    )
    .upstream(UpstreamFailure { status: None, body: shown.unwrap_or_default() })
}

/// What the client hears if no answer began.
pub(super) fn fault_of_send(error: SendError) -> (Ending, Fault) {
    match error {
        SendError::NotSent => (
            Ending::NothingBought,
            Fault::new(Code::UpstreamError, "The provider cannot be reached. Try again later."),
        ),
        SendError::ConnectTimeout => (
            Ending::NothingBought,
            Fault::new(
                Code::UpstreamTimeout,
                "The provider could not be connected to in time. Try again later.",
            ),
        ),
        SendError::NoAnswer => (
            Ending::Unknown,
            Fault::new(
                Code::UpstreamError,
                "The provider took the request and broke the connection. It is charged as it may \
                 have been served.",
            ),
        ),
    }
}

/// The provider took too long.
pub(super) fn timed_out() -> Fault {
    Fault::new(
        Code::UpstreamTimeout,
        "The provider did not answer in time. It is charged as it may have been served.",
    )
}

/// The provider's answer broke off.
pub(super) fn broken() -> Fault {
    Fault::new(Code::UpstreamError, "The provider broke its answer off. Try again later.")
}

/// The provider's answer makes no sense.
pub(super) fn garbage() -> Fault {
    Fault::new(
        Code::UpstreamError,
        "The provider answered something that is not of its format. Try again later.",
    )
}

/// The provider's answer is larger than is relayed.
pub(super) fn too_large() -> Fault {
    Fault::new(
        Code::UpstreamError,
        "The provider's answer is larger than this gateway relays. Ask for less output.",
    )
}

/// The call was cut: its run was stopped, or this gateway is going down.
pub(super) fn cut(gateway: &Gateway) -> Fault {
    if gateway.is_halted() {
        return draining();
    }
    Fault::new(
        Code::RunClosed,
        "The run was stopped while this call was under way. Retrying will not help.",
    )
}

/// A provider's own verdict on the request: it reaches the client, scrubbed.
fn verdict(access: &Access, status: u16, read: ProviderError) -> Fault {
    let safe = |text: String| scrub(&text, access.secrets());
    let message = read
        .message
        .map(safe)
        .unwrap_or_else(|| format!("The provider refused the request with status {status}."));
    let fault = Fault::new(Code::InvalidRequest, message).verdict(UpstreamVerdict {
        status,
        code: read.code.map(safe),
        kind: read.kind.map(safe),
    });
    match read.param {
        Some(param) => fault.param(safe(param)),
        None => fault,
    }
}

/// All that was read of a body, as text, which is yet to be scrubbed and cut.
fn lossy(body: &[u8]) -> String {
    // Written anew, JSON hides nothing behind escapes.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        return value.to_string();
    }
    let text = String::from_utf8_lossy(body);
    if body.len() < MAX_FAILURE_BYTES {
        return text.into_owned();
    }
    // Reading stopped here, perhaps within a secret.
    let whole_words = text.rfind(char::is_whitespace).and_then(|end| text.get(..end));
    whole_words.unwrap_or_default().to_owned()
}
