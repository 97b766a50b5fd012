//! Faults inside a stream that has begun.

use serde::Serialize;
use serde_json::value::RawValue;

use super::wire;
use crate::domain::fault::Fault;
use crate::protocol::error;

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    sequence_number: u64,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    /// The same as the body of an error answer has. The event is OpenAI's without it; but its SDKs
    /// for Python and Node raise an error only for an event with this member, and otherwise end
    /// without one.
    error: Option<&'a RawValue>,
}

/// The event that ends a stream of responses with a fault: `event: error`.
///
/// Its sequence number is 0: nobody counts the events of a stream that is only relayed.
pub fn error_event(fault: &Fault, request_id: &str) -> Vec<u8> {
    let verdict = fault.upstream_verdict();
    let code = verdict.and_then(|verdict| verdict.code.as_deref());
    let body = error::body(fault, request_id);
    let body: Option<Body<'_>> = serde_json::from_slice(&body).ok();
    let event = Event {
        r#type: "error",
        sequence_number: 0,
        code: code.unwrap_or_else(|| fault.code().as_str()),
        message: fault.message(),
        param: fault.param_name(),
        error: body.map(|body| body.error),
    };
    let mut out = Vec::new();
    wire::write(&mut out, event.r#type, &event);
    out
}

#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}
