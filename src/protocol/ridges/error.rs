//! Faults in the shape and under the statuses that Ridges' agents know.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::domain::fault::{Code, Fault};

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "RidgesError")]
struct Envelope<'a> {
    /// What is wrong, and what to do next.
    detail: &'a str,
}

/// The schema of an error answer.
pub fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<Envelope<'static>>()
}

/// The body of an error answer.
pub(in crate::protocol) fn body(fault: &Fault) -> Vec<u8> {
    // A string always serialises; the fallback keeps this total.
    serde_json::to_vec(&Envelope { detail: fault.message() })
        .unwrap_or_else(|_| b"{\"detail\":\"\"}".to_vec())
}

/// The status that a code has there, if it is another one than elsewhere.
pub(in crate::protocol) const fn status(code: Code) -> Option<u16> {
    match code {
        Code::RunNotFound | Code::RunClosed | Code::RunExpired | Code::RunNotActive => Some(400),
        Code::InvalidModel => Some(404),
        Code::InvalidRequest
        | Code::InvalidRunId
        | Code::RunIdRequired
        | Code::ParameterNotAllowed => Some(422),
        Code::CostLimitExceeded
        | Code::KeyBudgetExceeded
        | Code::CostCircuitOpen
        | Code::InsufficientCredits => Some(429),
        Code::RunIdMismatch
        | Code::InvalidKey
        | Code::ModelNotAllowed
        | Code::EndpointNotAllowed
        | Code::EuResidencyUnavailable
        | Code::Forbidden
        | Code::NotFound
        | Code::RunConflict
        | Code::LimitBelowSpent
        | Code::Conflict
        | Code::InvalidTransition
        | Code::ProviderNotConfigured
        | Code::RequestTooLarge
        | Code::UnsupportedMediaType
        | Code::UpgradeNotSupported
        | Code::RateLimited
        | Code::ConcurrencyLimited
        | Code::TokenCeilingExceeded
        | Code::CallLimitExceeded
        | Code::BudgetReserved
        | Code::InternalError
        | Code::UpstreamError
        | Code::Unavailable
        | Code::UpstreamTimeout => None,
    }
}
