//! Translation between chat completions and messages: bytes in, bytes out.

mod answers;
mod forced;
mod grammar;
mod refusals;
mod requests;
mod requests_back;
mod round_trip;
mod rules;
mod streams;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use jsonschema::{Draft, Validator};
use rungate::domain::fault::Fault;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::translate::{ChatClient, Thinking, chat_to_messages, messages_to_chat};
use serde_json::{Value, json};

/// Whether a body has only what Anthropic's reference knows.
static MESSAGES: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(&fixture("messages-request.schema.json")).unwrap();
    jsonschema::options().with_draft(Draft::Draft202012).build(&schema).unwrap()
});

fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/translate").join(name)
}

fn fixture(name: &str) -> String {
    fs::read_to_string(fixture_path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

/// A chat body as a messages body, which Anthropic's reference must know.
fn to_messages(body: &Value) -> Result<Value, Fault> {
    let translated =
        parse(&chat_to_messages(body.to_string().as_bytes(), Thinking::Adaptive)?.body);
    let errors: Vec<_> = MESSAGES.iter_errors(&translated).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {translated:#}");
    Ok(translated)
}

/// A messages body as a chat body, which the chat table of fields must accept.
fn to_chat(body: &Value) -> Result<Value, Fault> {
    let translated = messages_to_chat(body.to_string().as_bytes())?;
    Request::parse(Format::Chat, Bytes::copy_from_slice(&translated))
        .unwrap_or_else(|fault| panic!("{fault:?}: {}", String::from_utf8_lossy(&translated)));
    Ok(parse(&translated))
}

/// A chat body with one user message and these members.
fn chat(members: Value) -> Value {
    with(json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}), members)
}

/// A messages body with one user message and these members.
fn messages(members: Value) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    with(json!({"model": "m", "max_tokens": 64, "messages": messages}), members)
}

fn with(mut body: Value, members: Value) -> Value {
    for (key, value) in members.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

const fn client() -> ChatClient {
    ChatClient { created: 1_760_000_000, include_usage: true, legacy_functions: false }
}
