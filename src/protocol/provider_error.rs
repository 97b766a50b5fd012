//! The errors that providers answer with, in whatever format.

use serde_json::Value;

/// How much of each text of an error is kept, in bytes. Far more than is shown: it is scrubbed
/// before it is cut to what is, so that no secret is cut in two.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// The largest body that is searched for an error. A tree of JSON can take thirty times the bytes
/// that it is made of, and no honest error is as long.
const MAX_ERROR_BODY_BYTES: usize = 512 << 10;

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
