//! A chat request as a messages request.
//!
//! Sources: Anthropic's API reference (create a message), its guides to tool use, structured
//! outputs (generally available: `output_config.format` needs no beta header) and effort (the
//! same); OpenAI's API reference (create a chat completion).

mod turns;
mod tools;
mod output;

use super::chat_rules::TOP;
use super::effort::Thinking;
use super::read::{Members, Reader};
use super::write::Writer;
use crate::domain::fault::Fault;
use crate::domain::usage::MAX_TOKENS;

/// The hottest that Anthropic samples.
const MAX_TEMPERATURE: f64 = 1.0;

/// A request translated for Anthropic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagesBody {
    /// The body.
    pub body: Vec<u8>,
    /// Whether the client sent `functions`, and expects `function_call` in the answer.
    pub legacy_functions: bool,
}

/// Translates a chat request that the chat table of fields accepts.
///
/// `max_tokens` is left out if the client gave no limit. A budget of [`Thinking::Budget`] is at
/// most half of the limit that stands in `body`: a caller that lowers the limit afterwards must
/// leave more than half of it, so translate what has been bounded.
///
/// # Errors
/// `parameter_not_allowed` for what has no counterpart and `invalid_request` for what is malformed;
/// both name the field.
pub fn chat_to_messages(body: &[u8], thinking: Thinking) -> Result<MessagesBody, Fault> {
    let mut reader = Reader::new("Anthropic's messages");
    let text = std::str::from_utf8(body).map_err(|_| reader.wrong("must be UTF-8"))?;
    let (top, messages) = reader.body(text, &[TOP])?;
    let limit = limit(&mut reader, &top)?;
    let messages = reader.messages(messages)?;
    let room = text.len();
    let turns = reader.within("messages", |reader| turns::read(reader, messages, room))?;
    let legacy_functions = top.get("functions").is_some();

    let mut out = Writer::with_capacity(text.len() + 256);
    out.raw("{").member("model", reader.required_string(&top, "model")?);
    if let Some(limit) = limit {
        out.member("max_tokens", &limit.to_string());
    }
    turns.write(&mut out);
    tools::write(&mut reader, &top, &mut out)?;
    if let Some(raw) = top.get("temperature") {
        if raw.parse::<f64>().is_ok_and(|number| number > MAX_TEMPERATURE) {
            return Err(reader.refuse_at("temperature", "its highest is 1"));
        }
        out.member("temperature", raw);
    }
    out.optional("top_p", top.get("top_p")).optional("top_k", top.get("top_k"));
    stop(&mut reader, &top, &mut out)?;
    output::write(&mut reader, &top, output::Limits { thinking, limit, turns: &turns }, &mut out)?;
    out.optional("stream", top.get("stream")).raw("}");
    Ok(MessagesBody { body: out.into_bytes(), legacy_functions })
}

/// The smallest output limit that was given, in tokens.
fn limit(reader: &mut Reader, top: &Members<'_>) -> Result<Option<u64>, Fault> {
    let mut smallest = None;
    for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        let Some(raw) = top.get(name) else { continue };
        let limit = reader.within(name, |reader| match raw.parse() {
            Ok(limit @ 1..=MAX_TOKENS) => Ok(limit),
            _ => Err(reader.wrong("must be an integer from 1 to 2147483647")),
        })?;
        smallest = Some(smallest.map_or(limit, |least: u64| least.min(limit)));
    }
    Ok(smallest)
}

fn stop(reader: &mut Reader, top: &Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let Some(raw) = top.get("stop") else { return Ok(()) };
    if raw.starts_with('"') {
        out.key("stop_sequences").raw("[").raw(raw).raw("]");
    } else if reader.within("stop", |reader| Ok(!reader.list(raw)?.is_empty()))? {
        out.member("stop_sequences", raw);
    }
    Ok(())
}
