//! Counts of the tokens of messages: the same that an answer to them reports as its input.

use actix_web::web::Bytes;

use super::directive::Directives;
use super::plan::Refusal;
use super::prompt::{self, Counts, Facts};
use super::request::ChatRequest;
use super::translated::refused;
use super::words;
use crate::domain::usage::Tokens;
use crate::protocol::messages::count;
use crate::protocol::request::Request;
use crate::protocol::translate::messages_to_chat;

/// An answer, and what was asked of it.
pub(super) struct Counted {
    /// The whole body.
    pub(super) body: Vec<u8>,
    /// What its last user message and its header ask for.
    pub(super) directives: Directives,
}

/// Counts the messages of `body`; `header` holds directives that win over those in the messages.
///
/// # Errors
/// When the body breaks the wire format, or a directive is not understood.
pub(super) fn make(
    body: &Bytes,
    header: Option<&str>,
    counts: &mut Counts,
) -> Result<Counted, Refusal> {
    let asked = Request::parse_count(body).map_err(refused)?;
    let chat = messages_to_chat(body).map_err(refused)?;
    let request = ChatRequest::parse(&chat)?;
    let hash = words::hash(0, request.messages()?.get().as_bytes());
    let facts = counts.facts(&request, hash, prompt::tokenizer_of(&asked.model))?;
    let Facts { prompt_tokens, mut directives, .. } = facts;
    if let Some(header) = header {
        directives.apply(header)?;
    }
    Ok(Counted { body: count::body(Tokens::new(prompt_tokens)), directives })
}
