//! Bodies of all formats: what is accepted is sent within the bound that it was priced by.

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::catalog::tokenizer::Tokenizer;
use rungate::domain::fault::Fault;
use rungate::domain::usage::{MAX_TOKENS, Tokens};
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::ridges::{Embedding, to_chat};
use rungate::providers::{Provider, find};
use serde_json::{Value, json};

use super::mutate::damaged;
use super::{cases, corpus, fuzz, generate};
use crate::protocol::generate::scramble;
use crate::responses;

/// What the bodies of these formats are damaged with, beside what all bodies are.
const WORDS: &[&str] = &[
    "\"max_tokens\":1,",
    "\"max_output_tokens\":2147483648,",
    "\"stream\":true,",
    "\"input\":[],",
    "\"input\":\"\",",
    "\"instructions\":null,",
    "\"system\":\"s\",",
    "\"system\":[],",
    "\"messages\":[],",
    "\"previous_response_id\":\"r\",",
    "\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"w\"}],",
    "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},",
    "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"},",
    "\"type\":\"tool_use\",",
    "\"type\":\"message\",",
    "\"content\":null,",
    "\"content\":[],",
    "\"run_id\":\"a\",",
    "\"tool_mode\":\"none\",",
    "\"usage\":{\"include\":true},",
    "[[1,2]],",
    "\\ud800",
    "\\u0000",
    "\\u0022",
    "\\",
    "\"",
    "\u{0}",
    "null",
    "true",
    "1e999",
    "-1",
    "18446744073709551616",
    "[",
    "]",
    "{",
    "}",
    "{}",
    ",",
    ":",
    " ",
    "{\"a\":{\"a\":",
    "é",
    "😀",
];

/// Bodies of a format as clients write them, kept ones and any bytes, most of them damaged.
pub(super) fn of(
    kind: &'static str,
    body: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Vec<u8>> {
    let kept: Vec<Vec<u8>> = corpus(kind).into_iter().map(|(_, bytes)| bytes).collect();
    let source = prop_oneof![
        8 => (body.boxed(), any::<u64>())
            .prop_map(|(body, seed)| scramble(&body, seed).into_bytes()),
        4 => prop::sample::select(kept),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    damaged(source, WORDS)
}

fn holds(
    kind: &'static str,
    body: impl Strategy<Value = Value> + 'static,
    read: impl Fn(&[u8]) -> Result<Request, Fault>,
) {
    let accepted = Cell::new(0_u32);
    let cases = cases(300);
    fuzz(kind, cases, &of(kind, body), |bytes| match read(bytes) {
        Err(fault) => check_refusal(&fault),
        Ok(request) => {
            accepted.set(accepted.get() + 1);
            let found: Result<Value, _> = serde_json::from_slice(bytes);
            prop_assert!(found.is_ok(), "no JSON was accepted: {found:?}");
            check_sent(&request)
        }
    });
    assert!(accepted.get() > cases / 20, "hardly any was accepted: {}", accepted.get());
}

fn read_as(format: Format) -> impl Fn(&[u8]) -> Result<Request, Fault> {
    move |bytes| Request::parse(format, Bytes::copy_from_slice(bytes))
}

#[test]
fn no_message_is_accepted_that_is_not_sent_within_its_bound() {
    holds("messages", generate::messages(), read_as(Format::Messages));
}

#[test]
fn no_response_is_accepted_that_is_not_sent_within_its_bound() {
    holds("responses", responses::generate::body(), read_as(Format::Responses));
}

#[test]
fn no_embedding_is_accepted_that_is_not_sent_within_its_bound() {
    holds("embeddings", generate::embeddings(), read_as(Format::Embeddings));
}

#[test]
fn no_body_of_ridges_is_accepted_that_is_not_sent_within_its_bound() {
    holds("ridges", generate::ridges(), |bytes| match to_chat(bytes) {
        Ok(asked) => Request::parse(Format::Chat, asked.body.into()),
        Err(_) => {
            let asked = Embedding::read(bytes)?.into_asked();
            Request::parse(Format::Embeddings, asked.body.into())
        }
    });
}

/// A refusal is the client's fault, and its message can be shown.
pub(super) fn check_refusal(fault: &Fault) -> TestCaseResult {
    prop_assert!((400..500).contains(&fault.code().status()), "{fault:?}");
    prop_assert!((1..600).contains(&fault.message().len()), "{}", fault.message());
    prop_assert!(!fault.message().chars().any(char::is_control), "{}", fault.message());
    Ok(())
}

fn provider_of(format: Format) -> &'static Provider {
    find(if format == Format::Messages { "anthropic" } else { "openai" }).unwrap()
}

/// What is sent is JSON with the gateway's own head, and all text in it counts no more tokens than
/// were reserved for.
pub(super) fn check_sent(request: &Request) -> TestCaseResult {
    prop_assert!((1..=16).contains(&request.choices));
    let asked = request.asked_output.map(Tokens::count);
    prop_assert!(asked.is_none_or(|asked| (1..=MAX_TOKENS).contains(&asked)));
    let dialect = &provider_of(request.format).dialect;
    let body = request.clone().into_upstream("a-model", dialect, Tokens::new(77));
    let read: Result<Value, _> = serde_json::from_slice(&body.bytes);
    prop_assert!(read.is_ok(), "what is sent is no JSON: {read:?}");
    let sent = read.unwrap();
    prop_assert_eq!(&sent["model"], &json!("a-model"));
    let limit = match request.format {
        Format::Chat => Some(dialect.limit_field.name()),
        Format::Messages => Some("max_tokens"),
        Format::Responses => Some("max_output_tokens"),
        Format::Embeddings => None,
    };
    if let Some(limit) = limit {
        prop_assert_eq!(&sent[limit], &json!(77));
    }
    for ours in ["run_id", "evaluation_run_id", "usage", "user", "background"] {
        prop_assert!(sent.get(ours).is_none(), "{ours} is sent");
    }
    let mut counted = 0;
    add_texts(&sent, "", &mut |text| counted += Tokenizer::O200k.count(text));
    let bound = request.text_bytes.count();
    prop_assert!(counted <= bound, "{counted} > {bound}: {sent}");
    prop_assert!(body.counter.count(|text| Tokenizer::O200k.count(text)).count() <= bound);
    Ok(())
}

/// Members whose strings surely become input, where nothing above them is counted otherwise.
const INPUT: [&str; 13] = [
    "content",
    "text",
    "input",
    "system",
    "instructions",
    "arguments",
    "output",
    "thinking",
    "refusal",
    "reasoning_content",
    "description",
    "name",
    "parameters",
];
/// Members that are counted by a constant, that only say what something is, or that are told of the
/// answer.
const ASIDE: [&str; 8] =
    ["image_url", "source", "type", "role", "id", "encrypted_content", "signature", "metadata"];

fn add_texts(value: &Value, member: &str, add: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if INPUT.contains(&member) => add(text),
        Value::Array(values) => values.iter().for_each(|value| add_texts(value, member, add)),
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| !ASIDE.contains(&name.as_str()))
            {
                add_texts(value, name, add);
            }
        }
        // A token id is one token.
        Value::Number(_) if member == "input" => add("a"),
        _ => {}
    }
}
