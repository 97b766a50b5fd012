//! Faults and standings become answers; nothing else decides about status and headers.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::domain::fault::{Code, Fault};
use crate::domain::key::may_hold_credential;
use crate::domain::money::Usd;
use crate::gateway::inference::Standing;
use crate::limits::rate::RateStanding;
use crate::protocol::style::Style;

use super::request_id::REQUEST_ID;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

// Of most answers; a name that is text would be read anew for each.
const X_RUN_ID: HeaderName = HeaderName::from_static("x-run-id");
const X_RUN_REMAINING: HeaderName = HeaderName::from_static("x-run-remaining-usd");
const X_RUN_COST: HeaderName = HeaderName::from_static("x-run-cost-usd");
const X_RUN_SPENT: HeaderName = HeaderName::from_static("x-run-spent-usd");
const X_MODE: HeaderName = HeaderName::from_static("x-rungate-mode");
const X_SERVED_MODEL: HeaderName = HeaderName::from_static("x-served-model");

/// What answers depend on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// The status of a spent cap.
    pub budget_status: u16,
    /// Whether answers say that this is a developer's gateway.
    pub dev: bool,
}

/// An answer under construction that carries the request's id.
pub fn answer(status: StatusCode, request_id: &str, manners: Manners) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((REQUEST_ID, request_id));
    if manners.dev {
        builder.insert_header((X_MODE, "dev"));
    }
    builder
}

/// A fault as an answer, in the shape of the format that the client speaks.
pub fn refuse(
    fault: &Fault,
    request_id: &str,
    manners: Manners,
    standing: &Standing,
) -> HttpResponse {
    log(fault, request_id, standing);
    let status = status_of(fault, manners, standing.style);
    let mut builder = answer(status, request_id, manners);
    // Who may not spend for a run does not learn about it either.
    if !matches!(fault.code(), Code::InvalidKey | Code::RunNotFound) {
        tell_standing(&mut builder, standing);
    }
    builder.insert_header(("x-error-origin", fault.origin().as_str()));
    if !fault.retryable() {
        builder.insert_header(("x-should-retry", "false"));
    }
    if let Some(seconds) = retry_after(fault, status) {
        builder.insert_header((RETRY_AFTER, seconds));
    }
    if fault.code() == Code::InvalidKey {
        builder.insert_header(("www-authenticate", "Bearer"));
    }
    builder.insert_header((CONTENT_TYPE, JSON));
    builder.body(standing.style.error_body(fault, status.as_u16(), request_id))
}

/// An answer to a request whose body was not read to its end, after which the connection is closed.
///
/// It carries the rest of the body with it: the server reads a chunked body that was dropped to its
/// end, however long that takes, but closes on one that is still held.
pub fn hang_up(response: HttpResponse, unread: web::Payload) -> HttpResponse {
    response.map_body(|_, body| BoxBody::new(LastWords { body, _unread: unread }))
}

/// An answer after which the connection is closed, if the gateway is leaving: whoever sends the
/// next request finds another gateway, and no connection that is about to be cut.
pub fn last_answer(mut answer: HttpResponse, leaving: bool) -> HttpResponse {
    if leaving {
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    answer
}

/// The body of an answer, and what the client has not finished sending.
struct LastWords {
    body: BoxBody,
    _unread: web::Payload,
}

impl MessageBody for LastWords {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// Runs a handler; a panic becomes a 500 with the request's id instead of a dropped connection.
pub async fn guarded(
    request_id: &str,
    manners: Manners,
    style: Style,
    handler: impl Future<Output = HttpResponse>,
) -> HttpResponse {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(response) => response,
        Err(_panic) => {
            let fault = Fault::internal(
                Code::InternalError,
                "Something went wrong within the gateway. It has been logged; try again.",
                "a handler panicked",
            );
            refuse(&fault, request_id, manners, &Standing { style, ..Standing::default() })
        }
    }
}

/// Says in headers what is known of the run, its rate and this call's cost.
pub fn tell_standing(builder: &mut HttpResponseBuilder, standing: &Standing) {
    if let Some(run) = standing.run {
        builder.insert_header((X_RUN_ID, run.to_string()));
    }
    if let Some(balance) = &standing.balance {
        builder.insert_header((X_RUN_REMAINING, balance.available().to_string()));
        if let Some(charge) = &standing.charge {
            let spent = Usd::from_decimal(balance.spent).unwrap_or_default().normalized();
            builder.insert_header((X_RUN_COST, charge.cost.to_string()));
            builder.insert_header((X_RUN_SPENT, spent.to_string()));
        }
    }
    if let Some(model) = &standing.served_model
        && let Ok(value) = HeaderValue::from_str(model)
    {
        builder.insert_header((X_SERVED_MODEL, value));
    }
    if let Some(output) = standing.lowered_output {
        builder.insert_header(("x-run-max-output-tokens", output.to_string()));
    }
    if let Some(rate) = &standing.rates.requests {
        tell_rate(builder, REQUESTS, rate);
    }
    if let Some(rate) = &standing.rates.tokens {
        tell_rate(builder, TOKENS, rate);
    }
}

/// The headers of limits on requests: the most, what is left, and when all of it is back.
const REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
/// The same of limits on tokens.
const TOKENS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

fn tell_rate(
    builder: &mut HttpResponseBuilder,
    [limit, remaining, reset]: [&'static str; 3],
    rate: &RateStanding,
) {
    builder.insert_header((limit, rate.limit));
    builder.insert_header((remaining, rate.remaining));
    builder.insert_header((reset, duration_text(rate.reset)));
}

/// A duration as OpenAI writes it: `250ms`, `1s`, `6m0s`. Rounded up, so that it is over by then.
fn duration_text(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let seconds = millis.div_ceil(1_000);
    match seconds {
        0..=1 if millis < 1_000 => format!("{millis}ms"),
        0..60 => format!("{seconds}s"),
        _ => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

fn status_of(fault: &Fault, manners: Manners, style: Style) -> StatusCode {
    let status = match fault.upstream_verdict() {
        Some(verdict) => verdict.status,
        None => status_of_code(fault.code(), manners, style),
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The status of a code on this gateway.
pub(super) fn status_of_code(code: Code, manners: Manners, style: Style) -> u16 {
    match (style.status(code), code) {
        (Some(fixed), _) => fixed,
        (None, Code::CostLimitExceeded) => manners.budget_status,
        (None, code) => code.status(),
    }
}

/// Every 429, 503 and retryable 409 says when to come back.
fn retry_after(fault: &Fault, status: StatusCode) -> Option<u32> {
    const LIMIT_IS_SPENT: u32 = 60;
    let wanted = match status.as_u16() {
        429 if fault.code() == Code::CostLimitExceeded => None,
        429 if !fault.retryable() => Some(LIMIT_IS_SPENT),
        429 | 503 => Some(1),
        409 if fault.retryable() => Some(1),
        _ => None,
    };
    fault.retry_after_seconds().or(wanted)
}

/// One line for each failure, at the level of whoever has to act on it. What clients wrote stands
/// in it escaped, so that none of it can look like another line. What providers wrote does not:
/// they repeat prompts, which belong in no log. Nor does a message that repeats a credential.
fn log(fault: &Fault, request_id: &str, standing: &Standing) {
    let code = fault.code();
    let status = code.status();
    let run = standing.run.map(tracing::field::display);
    let repeats = fault.upstream_verdict().is_some() || may_hold_credential(fault.message());
    let says = (!repeats).then(|| fault.message());
    let says = says.map(tracing::field::debug);
    metrics::counter!("rungate_refusals_total", "code" => code.as_str()).increment(1);
    match status {
        500.. => tracing::warn!(
            request.id = request_id,
            run.id = run,
            code = code.as_str(),
            status,
            says,
            reason = fault.internal_reason(),
            upstream.status = fault.upstream_failure().and_then(|failure| failure.status),
            "request.failed"
        ),
        _ => tracing::debug!(
            request.id = request_id,
            run.id = run,
            code = code.as_str(),
            status,
            says,
            "request.refused"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_fault_of_a_retryable_code_can_say_that_a_retry_will_not_help() {
        let manners = Manners { budget_status: 402, dev: false };
        let fault = || Fault::new(Code::UpstreamError, "The provider refused the gateway.");
        let told = |fault: &Fault| {
            let answer = refuse(fault, "req_1", manners, &Standing::default());
            answer.headers().get("x-should-retry").map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(told(&fault()), None);
        assert_eq!(told(&fault().not_retryable()), Some(b"false".to_vec()));
    }

    #[test]
    fn a_message_cannot_forge_a_line_of_the_log() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for code in [Code::InvalidRequest, Code::UpstreamError] {
                let fault = Fault::new(code, "a\n2026-01-01 ERROR forged\u{1b}[2J");
                log(&fault, "req_1", &Standing::default());
            }
        });
        let written = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 2, "{written}");
        assert_eq!(written.matches(r#"says="a\n2026-01-01 ERROR forged\u{1b}[2J""#).count(), 2);
        assert!(!written.contains('\u{1b}'), "{written}");
    }
}
