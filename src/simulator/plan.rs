//! From a request to a plan of its answer, or to a refusal.
//!
//! It does not know how an answer is written, nor how time passes.

use std::time::Duration;

use super::SimulatorOptions;
use super::directive::Directives;
use super::prompt::{self, Counts};
use super::reply::{self, Reply};
use super::request::ChatRequest;
use super::words;

/// A request that cannot be served: the simulator's own failure, not one that was asked for.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) param: Option<&'static str>,
    pub(super) message: String,
}

/// Everything there is to do for one request.
pub(super) struct Plan {
    pub(super) reply: Reply,
    pub(super) directives: Directives,
    pub(super) stream: bool,
    /// Whether a stream ends with an event for usage.
    pub(super) include_usage: bool,
    pub(super) first_byte_delay: Duration,
    pub(super) chunk_delay: Duration,
}

impl Refusal {
    /// A body that breaks the wire format; `param` names the field at fault.
    pub(super) fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: 400, code: "invalid_value", param, message: message.into() }
    }

    /// A directive that is not understood.
    pub(super) fn bad_directive(message: String) -> Self {
        Self { status: 400, code: "bad_directive", param: None, message }
    }
}

/// Plans the answer to `body`; `header` holds directives that win over those in the messages.
///
/// # Errors
/// When the body breaks the wire format, or a directive is not understood.
pub(super) fn make(
    body: &[u8],
    header: Option<&str>,
    options: &SimulatorOptions,
    counts: &mut Counts,
) -> Result<Plan, Refusal> {
    let request = ChatRequest::parse(body)?;
    let model = request.model()?;
    let tokenizer = prompt::tokenizer_of(model);
    let messages_hash = words::hash(0, request.messages()?.get().as_bytes());
    let mut facts = counts.facts(&request, messages_hash, tokenizer)?;
    if let Some(header) = header {
        facts.directives.apply(header)?;
        facts.asks_tool |= facts.directives.tool;
    }
    // A seed is any 64 bits; its sign carries nothing.
    let seed = request.seed.map_or(options.seed, i64::cast_unsigned);
    let identity = words::hash(words::hash(seed, model.as_bytes()), &messages_hash.to_le_bytes());
    let reply = reply::make(&request, &facts, tokenizer, identity)?;
    let directives = facts.directives;
    let delay = |asked: Option<u64>, usual| asked.map_or(usual, Duration::from_millis);
    Ok(Plan {
        reply,
        stream: request.streams(),
        include_usage: request.includes_usage(),
        first_byte_delay: delay(directives.delay_ms, options.first_byte_delay),
        chunk_delay: delay(directives.chunk_delay_ms, options.chunk_delay),
        directives,
    })
}
