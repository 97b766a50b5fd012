//! Faults in the shape that OpenAI's clients read.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::domain::fault::Fault;
use crate::domain::money::Usd;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Error")]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ErrorBody")]
struct Body<'a> {
    /// What is wrong, and what to do next.
    message: &'a str,
    /// OpenAI's word for this kind of error.
    r#type: &'a str,
    #[serde(flatten)]
    details: Details<'a>,
}

/// What is told beside the message, in every format.
#[derive(JsonSchema, Serialize)]
pub(in crate::protocol) struct Details<'a> {
    /// The rule that was violated; it never changes.
    code: &'a str,
    /// The field at fault, as `messages[0].content`.
    param: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// The run's cap, where money was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_usd: Option<Usd>,
    /// What the run has spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_usd: Option<Usd>,
    /// What its calls in flight may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_usd: Option<Usd>,
    /// What this call may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_case_usd: Option<Usd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Upstream<'a>>,
}

/// What the provider answered.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "UpstreamFailure")]
struct Upstream<'a> {
    /// Its status, if it came to one.
    status: Option<u16>,
    /// Its body, scrubbed and cut; empty where it must not be shown.
    body: &'a str,
}

/// The schema of an error answer.
pub fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<Envelope<'static>>()
}

/// The body of an error answer.
pub fn body(fault: &Fault, request_id: &str) -> Vec<u8> {
    let kind = fault.upstream_verdict().and_then(|verdict| verdict.kind.as_deref());
    let envelope = Envelope {
        error: Body {
            message: fault.message(),
            r#type: kind.unwrap_or_else(|| fault.code().kind()),
            details: details(fault, Some(request_id)),
        },
    };
    // Strings and decimals always serialise; the fallback keeps this total.
    serde_json::to_vec(&envelope).unwrap_or_else(|_| b"{\"error\":{}}".to_vec())
}

/// What is told of a fault beside its message.
pub(in crate::protocol) fn details<'a>(
    fault: &'a Fault,
    request_id: Option<&'a str>,
) -> Details<'a> {
    let money = fault.money_facts();
    let code = fault.upstream_verdict().and_then(|verdict| verdict.code.as_deref());
    Details {
        code: code.unwrap_or_else(|| fault.code().as_str()),
        param: fault.param_name(),
        request_id,
        limit_usd: money.map(|facts| facts.limit),
        spent_usd: money.map(|facts| facts.spent),
        reserved_usd: money.map(|facts| facts.reserved),
        worst_case_usd: money.map(|facts| facts.worst_case),
        upstream: fault
            .upstream_failure()
            .map(|failure| Upstream { status: failure.status, body: &failure.body }),
    }
}

/// The same inside a stream that has begun.
pub fn event(fault: &Fault, request_id: &str) -> Vec<u8> {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&body(fault, request_id));
    event.extend_from_slice(b"\n\n");
    event
}
