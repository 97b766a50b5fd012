//! Answers of chat completions, in one piece, as responses.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::from_chat_stream::ResponsesFromChat;
use crate::protocol::answer::AnswerFault;
use crate::protocol::{chat, json};

/// A chunk, or a whole answer.
#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    pub(super) created: Option<&'a RawValue>,
    pub(super) model: Option<&'a RawValue>,
    pub(super) object: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) choices: Option<Vec<Choice<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    pub(super) message: Option<Delta<'a>>,
    pub(super) finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) refusal: Option<&'a RawValue>,
    pub(super) reasoning_content: Option<&'a RawValue>,
    pub(super) reasoning: Option<&'a RawValue>,
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) index: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) function: Option<Called<'a>>,
    pub(super) custom: Option<Called<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Called<'a> {
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    pub(super) arguments: Option<&'a RawValue>,
    pub(super) input: Option<&'a RawValue>,
}

/// A piece of a content that is an array, as Mistral's reasoning models write it.
#[derive(Deserialize)]
pub(super) struct Piece<'a> {
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    pub(super) thinking: Option<&'a RawValue>,
}

/// What a raw string says; nothing if it is none, or empty.
pub(super) fn text(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    json::text(raw?.get()).filter(|text| !text.is_empty())
}

/// Writes the answer of chat completions, in one piece, as a response.
///
/// What was asked is not repeated: `instructions` is null, `tools` is empty and so on. The first
/// choice is taken: a response has one answer.
///
/// # Errors
/// As [`crate::protocol::answer::read_answer`].
pub fn chat_answer_to_responses(body: &[u8]) -> Result<Vec<u8>, AnswerFault> {
    chat::answer::read(body)?;
    let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|_| AnswerFault::Garbage)?;
    if chunk.choices.as_ref().is_none_or(Vec::is_empty) {
        return Err(AnswerFault::Garbage);
    }
    let mut answer = ResponsesFromChat::default();
    // Its events are of no use here; what they add up to is.
    let mut events = Vec::new();
    answer.take(&chunk, &mut events)?;
    Ok(answer.into_response(&mut events))
}
