//! Answers that come in one piece, and the errors that providers answer with.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage;
use crate::domain::settlement::ReportedUsage;
use crate::protocol::json;

/// The longest model name that is believed, in bytes.
const MAX_MODEL_BYTES: usize = 256;
/// How much of each text of an error is kept, in bytes. Far more than is shown: it is scrubbed
/// before it is cut to what is, so that no secret is cut in two.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// The largest body that is searched for an error. A tree of JSON can take thirty times the bytes
/// that it is made of, and no honest error is as long.
const MAX_ERROR_BODY_BYTES: usize = 512 << 10;

/// What the gateway needs of an answer; the rest is passed unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The model that answered, as the provider names it.
    pub served_model: Option<String>,
    /// What it says was used.
    pub usage: Option<ReportedUsage>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// It is no JSON object, or one without choices that does not say why.
    Garbage,
    /// It is an error under a status of success.
    Provider(ProviderError),
}

/// A provider's error, as far as it could be read. Not scrubbed: it may hold a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderError {
    /// What it says.
    pub message: Option<String>,
    /// OpenAI's `type`.
    pub kind: Option<String>,
    /// Its code; numbers become their digits.
    pub code: Option<String>,
    /// The field that it blames.
    pub param: Option<String>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
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
pub fn read_answer(body: &[u8]) -> Result<Answer, AnswerFault> {
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
        usage: wire.usage.and_then(|raw| usage::read(raw.get())),
    })
}

/// Whether an answer that was not streamed has anything in it that costs output tokens.
pub fn has_output(body: &[u8]) -> bool {
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

/// Reads an error in any of the shapes that providers and the proxies before them use:
/// `{error: {message, type, param, code}}`, `{error: "…"}`, `{message}`, `{detail}`, or none. One
/// of more than 512 KiB says nothing.
pub fn read_error(body: &[u8]) -> ProviderError {
    if body.len() > MAX_ERROR_BODY_BYTES {
        return ProviderError::default();
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return ProviderError::default();
    };
    let object = match body.get("error") {
        Some(Value::Object(error)) => error,
        Some(Value::String(message)) => {
            return ProviderError { message: Some(cut(message)), ..from_members(&body) };
        }
        _ => &body,
    };
    from_members(object)
}

fn from_members(object: &serde_json::Map<String, Value>) -> ProviderError {
    let member = |name: &str| object.get(name).and_then(text_of);
    ProviderError {
        message: member("message").or_else(|| member("detail")).or_else(|| member("msg")),
        kind: member("type"),
        code: member("code"),
        param: member("param"),
    }
}

/// A text, the digits of a number, or what the first of several errors says (FastAPI's `detail`).
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(cut(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => values.first().and_then(text_of),
        Value::Object(object) => {
            let inner = object.get("message").or_else(|| object.get("msg"));
            inner.or_else(|| object.get("detail")).and_then(text_of)
        }
        Value::Null | Value::Bool(_) => None,
    }
}

/// The text, or as many whole words of it as are kept: half a word may be half a secret.
fn cut(text: &str) -> String {
    if text.len() <= MAX_ERROR_BYTES {
        return text.to_owned();
    }
    let kept = text.get(..text.floor_char_boundary(MAX_ERROR_BYTES)).unwrap_or_default();
    let end = kept.rfind(char::is_whitespace).unwrap_or(0);
    kept.get(..end).unwrap_or_default().to_owned()
}

/// A model's name, unless it is something that no model is called.
pub(super) fn model_name(raw: &str) -> Option<String> {
    let name: String = serde_json::from_str(raw).ok()?;
    let sane = (1..=MAX_MODEL_BYTES).contains(&name.len());
    (sane && !name.chars().any(char::is_control)).then_some(name)
}
