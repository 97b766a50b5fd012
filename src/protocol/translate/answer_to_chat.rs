//! An answer of Anthropic's as a chat completion.
//!
//! Sources: Anthropic's API reference (the message object), OpenAI's (the chat completion object).
//! `reasoning_content` is not OpenAI's: it is where DeepSeek and others show thinking.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ChatClient;
use super::each::string;
use super::reason::StopReason;
use super::usage::MessagesUsage;
use super::write::{Writer, inner};
use crate::protocol::answer::AnswerFault;
use crate::protocol::provider_error::read_error;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    stop_reason: Option<StopReason>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Translates a whole answer. Texts become one text, thinking `reasoning_content`; redacted
/// thinking is left out. The id stays Anthropic's.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub fn messages_answer_to_chat(body: &[u8], client: ChatClient) -> Result<Vec<u8>, AnswerFault> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let (true, Ok(wire)) = (is_object, serde_json::from_slice::<Wire<'_>>(body)) else {
        return Err(AnswerFault::Garbage);
    };
    if wire.error.is_some() {
        return Err(AnswerFault::Provider(read_error(body)));
    }
    let Some(blocks) = wire.content else {
        return Err(AnswerFault::Garbage);
    };
    let mut out = Writer::with_capacity(body.len() + 256);
    out.raw("{").member("id", string(wire.id)).member("object", "\"chat.completion\"");
    out.member("created", &client.created.to_string()).member("model", string(wire.model));
    out.key("choices").raw(r#"[{"index":0"#).key("message").raw(r#"{"role":"assistant""#);
    out.key("content");
    joined(blocks.iter().map(|block| block.text), &mut out);
    out.member("refusal", "null");
    if blocks.iter().any(|block| block.thinking.is_some()) {
        out.key("reasoning_content");
        joined(blocks.iter().map(|block| block.thinking), &mut out);
    }
    calls(&blocks, client.legacy_functions, &mut out);
    let reason = wire.stop_reason.unwrap_or(StopReason::Unknown);
    out.raw("}").member("logprobs", "null").key("finish_reason");
    out.text(reason.to_chat(client.legacy_functions)).raw("}]");
    let usage = wire.usage.and_then(|raw| serde_json::from_str::<MessagesUsage>(raw.get()).ok());
    let mut counts = Vec::new();
    if usage.is_some_and(|usage| usage.write_chat(&mut counts)) {
        out.member("usage", &String::from_utf8_lossy(&counts));
    }
    out.raw("}");
    Ok(out.into_bytes())
}

/// Writes raw strings as one, or null if there is none.
fn joined<'a>(texts: impl Iterator<Item = Option<&'a RawValue>>, out: &mut Writer) {
    let mut texts = texts.flatten().peekable();
    if texts.peek().is_none() {
        out.raw("null");
        return;
    }
    out.raw("\"");
    for text in texts {
        out.raw(inner(text.get()));
    }
    out.raw("\"");
}

/// Writes the calls, in the form that the client knows; the old one holds one.
fn calls(blocks: &[Block<'_>], legacy: bool, out: &mut Writer) {
    let calls = blocks.iter().filter_map(|block| Some((block.name?, block.input?, block.id)));
    let mut calls = calls.peekable();
    if calls.peek().is_none() {
        return;
    }
    if legacy {
        if let Some((name, input, _)) = calls.next() {
            out.key("function_call").raw("{").member("name", string(Some(name)));
            out.key("arguments").text(input.get()).raw("}");
        }
        return;
    }
    out.key("tool_calls").raw("[");
    for (name, input, id) in calls {
        out.item().raw("{").member("id", string(id)).member("type", "\"function\"");
        out.key("function").raw("{").member("name", string(Some(name)));
        out.key("arguments").text(input.get()).raw("}}");
    }
    out.raw("]");
}
