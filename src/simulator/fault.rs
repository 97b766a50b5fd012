//! The bodies of failures: those a request asked for, and the simulator's own refusals.
//!
//! It does not know which status or header goes with a body.

use super::plan::Refusal;
use super::wire::{push, push_string};

/// The body of a failure that was asked for, as OpenAI would word it.
pub(super) fn failure(status: u16, echo: Option<&str>) -> String {
    let (kind, code, message) = match status {
        400 => ("invalid_request_error", "invalid_value", "The request is invalid."),
        401 => ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        402 => ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
        403 => ("permission_error", "permission_denied", "You may not use this model."),
        404 => ("invalid_request_error", "model_not_found", "The model does not exist."),
        429 => ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        503 => ("server_error", "overloaded", "The engine is currently overloaded."),
        300..=499 => ("invalid_request_error", "simulated_error", "The request failed."),
        _ => ("server_error", "simulated_error", "The server had an error."),
    };
    match echo {
        Some(echo) => error(kind, None, code, &format!("{message} ({echo})")),
        None => error(kind, None, code, message),
    }
}

/// The same as a page for people.
pub(super) fn html(status: u16, echo: Option<&str>) -> String {
    let echo = echo.unwrap_or("simulated");
    format!("<html><head><title>{status}</title></head><body><h1>{status}</h1>{echo}</body></html>")
}

/// The body of a refusal.
pub(super) fn refusal(refusal: &Refusal) -> String {
    error("invalid_request_error", refusal.param, refusal.code, &refusal.message)
}

fn error(kind: &str, param: Option<&str>, code: &str, message: &str) -> String {
    let mut out = "{\"error\":{\"message\":".to_owned();
    push_string(&mut out, message);
    push(&mut out, format_args!(",\"type\":\"{kind}\",\"param\":"));
    match param {
        Some(param) => push_string(&mut out, param),
        None => out.push_str("null"),
    }
    push(&mut out, format_args!(",\"code\":\"{code}\"}}}}"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_json_of_openai_s_shape() {
        for status in [302, 400, 401, 402, 403, 404, 418, 429, 500, 503, 599] {
            let body = failure(status, Some("a\"b"));
            let value: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            let message = value.as_ref().and_then(|value| value.pointer("/error/message"));
            let message = message.and_then(|message| message.as_str()).unwrap_or_default();
            assert!(message.ends_with("(a\"b)"), "{body}");
        }
    }
}
