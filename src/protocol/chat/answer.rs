//! Answers that come in one piece.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage;
use crate::protocol::answer::{Answer, AnswerFault, model_name, service_tier};
use crate::protocol::json;
use crate::protocol::provider_error::read_error;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

/// A member that is there, if only as null.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl Wire<'_> {
    /// Whether it says that something failed.
    fn is_error(&self) -> bool {
        let object = self.object.and_then(|raw| json::text(raw.get()));
        let complains = self.message.or(self.detail).or(self.msg).is_some();
        let has_choices = self.choices.is_some_and(|raw| raw.get() != "null");
        self.error.is_some()
            || object.is_some_and(|object| object == "error")
            || (complains && !has_choices)
    }
}

/// Reads the body of an answer that was not streamed.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub(in crate::protocol) fn read(body: &[u8]) -> Result<Answer, AnswerFault> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let wire = serde_json::from_slice::<Wire<'_>>(body);
    let (true, Ok(wire)) = (is_object, wire) else {
        return Err(AnswerFault::Garbage);
    };
    if wire.is_error() {
        return Err(AnswerFault::Provider(read_error(body)));
    }
    if wire.choices.is_none() {
        return Err(AnswerFault::Garbage);
    }
    Ok(Answer {
        served_model: wire.model.and_then(|raw| model_name(raw.get())),
        served_tier: wire.service_tier.and_then(|raw| service_tier(raw.get())),
        usage: wire.usage.and_then(|raw| usage::read(raw.get())),
    })
}

/// Whether an answer that was not streamed has anything in it that costs output tokens.
pub(in crate::protocol) fn has_output(body: &[u8]) -> bool {
    const SAID: [&str; 6] =
        ["content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call"];
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let choices = body.get("choices").and_then(Value::as_array);
    let is_something = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    choices
        .into_iter()
        .flatten()
        .filter_map(|choice| choice.get("message"))
        .any(|message| SAID.iter().filter_map(|name| message.get(name)).any(is_something))
}
