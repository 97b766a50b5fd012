//! Faults in the shape that Anthropic's clients read.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::domain::fault::Fault;
use crate::protocol::error::{Details, details};

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AnthropicError")]
struct Envelope<'a> {
    /// Always `error`.
    r#type: &'static str,
    error: Body<'a>,
    request_id: &'a str,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AnthropicErrorBody")]
struct Body<'a> {
    /// Anthropic's word for this kind of error.
    r#type: &'static str,
    /// What is wrong, and what to do next.
    message: &'a str,
    #[serde(flatten)]
    details: Details<'a>,
}

/// The schema of an error answer.
pub fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<Envelope<'static>>()
}

/// The body of an error answer; `status` is the one that it is sent with.
pub fn body(fault: &Fault, status: u16, request_id: &str) -> Vec<u8> {
    let envelope = Envelope {
        r#type: "error",
        error: Body {
            r#type: kind(status),
            message: fault.message(),
            details: details(fault, None),
        },
        request_id,
    };
    // Strings and decimals always serialise; the fallback keeps this total.
    serde_json::to_vec(&envelope).unwrap_or_else(|_| b"{\"type\":\"error\"}".to_vec())
}

/// The same inside a stream that has begun.
pub fn event(fault: &Fault, status: u16, request_id: &str) -> Vec<u8> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.extend_from_slice(&body(fault, status, request_id));
    event.extend_from_slice(b"\n\n");
    event
}

/// Anthropic's word for a status (API reference, "Errors").
const fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}
