//! A chat completion as an answer of Anthropic's.
//!
//! Sources: OpenAI's API reference (the chat completion object), Anthropic's (the message object).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::each::{Piece, pieces, spoken, string};
use super::reason::{FinishReason, Said};
use super::usage;
use super::write::{Writer, quote};
use crate::protocol::answer::AnswerFault;
use crate::protocol::{chat, json};

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    finish_reason: Option<FinishReason>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Translates a whole answer: its first choice, for a translated request has no other. The id stays
/// the provider's. Arguments that are no JSON object become the member `invalid_arguments` of one,
/// so that the client's own check of the input fails and the model reads what it wrote.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub fn chat_answer_to_messages(body: &[u8]) -> Result<Vec<u8>, AnswerFault> {
    chat::answer::read(body)?;
    let wire: Wire<'_> = serde_json::from_slice(body).map_err(|_| AnswerFault::Garbage)?;
    let choice = wire.choices.into_iter().flatten().next().ok_or(AnswerFault::Garbage)?;
    let message = choice.message.ok_or(AnswerFault::Garbage)?;

    let mut out = Writer::with_capacity(body.len() + 256);
    out.raw("{").member("id", string(wire.id));
    out.raw(r#","type":"message","role":"assistant""#);
    out.member("model", string(wire.model)).key("content").raw("[");
    let said = content(&message, &mut out);
    let reason = choice.finish_reason.unwrap_or(FinishReason::Unknown);
    out.raw("]").key("stop_reason").text(reason.to_messages(said));
    let mut counts = Vec::new();
    usage::write_messages(wire.usage.and_then(|raw| usage::of_chat(raw.get())), &mut counts);
    out.member("stop_sequence", "null").member("usage", &String::from_utf8_lossy(&counts));
    out.raw("}");
    Ok(out.into_bytes())
}

/// Writes the blocks: thinking, then what is said, then calls.
fn content(message: &Message<'_>, out: &mut Writer) -> Said {
    let mut said = Said::default();
    if let Some(thinking) = spoken(message.reasoning_content.or(message.reasoning)) {
        thought(thinking, out);
    }
    if let Some(content) = message.content {
        pieces(content, |piece| match piece {
            Piece::Text(text) => spoken_text(text, out),
            Piece::Thinking(thinking) => thought(thinking, out),
        });
    }
    if let Some(refusal) = spoken(message.refusal) {
        said.refusal = true;
        spoken_text(refusal, out);
    }
    let calls = message.tool_calls.iter().flatten();
    let calls = calls.filter_map(|call| Some((call.id, call.function.as_ref()?)));
    let legacy = message.function_call.iter().map(|function| (None, function));
    for (index, (id, function)) in calls.chain(legacy).enumerate() {
        said.calls = true;
        out.item().raw(r#"{"type":"tool_use""#).key("id");
        match spoken(id) {
            Some(id) => out.raw(id),
            None => out.text(&format!("tool_call_{index}")),
        };
        out.member("name", string(function.name));
        out.member("input", &input(function.arguments)).raw("}");
    }
    said
}

fn spoken_text(raw: &str, out: &mut Writer) {
    out.item().raw(r#"{"type":"text","text":"#).raw(raw).raw("}");
}

/// Thinking of other models has no signature.
fn thought(raw: &str, out: &mut Writer) {
    out.item().raw(r#"{"type":"thinking","thinking":"#).raw(raw).raw(r#","signature":""}"#);
}

/// The object that the text of a call's arguments is.
fn input(arguments: Option<&RawValue>) -> Cow<'_, str> {
    let raw = arguments.map_or("\"\"", RawValue::get);
    let text = match json::text(raw) {
        Some(text) => text,
        // Some providers give the object itself.
        None => Cow::Borrowed(raw),
    };
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Cow::Borrowed("{}");
    }
    if trimmed.starts_with('{') && json::check(trimmed, &mut json::MAX_NODES.clone()).is_ok() {
        return match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(_) => Cow::Owned(trimmed.to_owned()),
        };
    }
    let mut invalid = b"{\"invalid_arguments\":".to_vec();
    quote(trimmed, &mut invalid);
    invalid.push(b'}');
    Cow::Owned(String::from_utf8_lossy(&invalid).into_owned())
}
