//! Bodies of chat completions: what is accepted is sent as it was read and priced as it is sent.

use std::cell::Cell;
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::catalog::{Catalog, Kind, Target};
use rungate::domain::bound::input_bound;
use rungate::domain::id::RunId;
use rungate::domain::policy::Wanted;
use rungate::domain::run::OnCap;
use rungate::domain::usage::{MAX_TOKENS, Tokens, Usage};
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::request::fields::Action;
use serde_json::{Value, json};

use super::mutate::damaged;
use super::{cases, corpus, fuzz};
use crate::protocol::generate::{body, scramble};

const KIND: &str = "chat";

/// What bodies are damaged with: fields, numbers, escapes and beginnings that are hard to read.
pub(super) const WORDS: &[&str] = &[
    "\"max_tokens\":1,",
    "\"max_tokens\":1e999,",
    "\"n\":16,",
    "\"n\":-0,",
    "\"n\":null,",
    "\"max_completion_tokens\":9223372036854775808,",
    "\"max_output_tokens\":2147483647,",
    "\"model\":\"gpt-4o\",",
    "\"mod\\u0065l\":\"o1\",",
    "\"messages\":[],",
    "\"user\":\"u\",",
    "\"prompt_cache_key\":\"k\",",
    "\"store\":true,",
    "\"service_tier\":\"priority\",",
    "\"tools\":[{\"type\":\"web_search\"}],",
    "\"tools\":[{\"type\":\"custom\",\"custom\":{}}],",
    "\"base_url\":\"http://x\",",
    "\"stream\":true,",
    "\"run_id\":[1],",
    "\"run_id\":\"a\",",
    "\"evaluation_run_id\":\"{00000000-0000-0000-0000-000000000000}\",",
    "\"metadata\":{},",
    "\"metadata\":{\"run_id\":\"b\"},",
    "\"previous_response_id\":\"r\",",
    "\"a\":1,",
    "\"content\":null,",
    "\"text\":\"t\",",
    "\"image_url\":{\"url\":\"data:image/png;base64,AA\"},",
    "\\ud800",
    "\\udc00",
    "\\u0000",
    "\\u0022",
    "\\",
    "\"",
    "\u{0}",
    "\u{feff}",
    "null",
    "true",
    "1e999",
    "1e-999",
    "-0",
    "-1",
    "0.1",
    "18446744073709551616",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "[]",
    ",",
    ":",
    " ",
    "\n",
    "\"\":{},",
    "[[[[[[[[",
    "{\"a\":{\"a\":",
    "é",
    "😀",
];

static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let catalog = Catalog::built_in().unwrap();
    let all = catalog.models().flat_map(|model| model.targets.iter());
    let chat = all.filter(|target| target.kind == Kind::Chat);
    chat.map(|target| target.as_ref().clone()).collect()
});

/// Members of messages that are accepted and never sent.
const ECHOES: [&str; 6] = [
    "audio",
    "annotations",
    "reasoning",
    "reasoning_details",
    "provider_specific_fields",
    "thinking_blocks",
];

/// Bodies as clients write them, kept ones and any bytes, most of them damaged.
pub(super) fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let kept: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, bytes)| bytes).collect();
    let source = prop_oneof![
        8 => (body(), any::<u64>()).prop_map(|(body, seed)| scramble(&body, seed).into_bytes()),
        4 => prop::sample::select(kept),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    damaged(source, WORDS)
}

#[test]
fn no_body_is_accepted_that_is_not_sent_as_it_was_priced() {
    let accepted = Cell::new(0_u32);
    let cases = cases(1_000);
    fuzz(KIND, cases, &bodies(), |bytes| {
        let fine = Request::parse(Format::Chat, Bytes::copy_from_slice(bytes)).is_ok();
        accepted.set(accepted.get() + u32::from(fine));
        check(bytes)
    });
    assert!(accepted.get() > cases / 20, "hardly any was accepted: {}", accepted.get());
}

pub(super) fn check(bytes: &[u8]) -> TestCaseResult {
    match Request::parse(Format::Chat, Bytes::copy_from_slice(bytes)) {
        Err(fault) => {
            prop_assert!((400..500).contains(&fault.code().status()), "{fault:?}");
            prop_assert!((1..600).contains(&fault.message().len()), "{}", fault.message());
            prop_assert!(!fault.message().chars().any(char::is_control), "{}", fault.message());
            Ok(())
        }
        Ok(request) => {
            // Another reader finds the same in it, with nothing before it and nothing after.
            let read: Result<Value, _> = serde_json::from_slice(bytes);
            prop_assert!(read.is_ok(), "no JSON was accepted: {read:?}");
            check_accepted(&request, &read.unwrap(), bytes)
        }
    }
}

fn check_accepted(request: &Request, client: &Value, bytes: &[u8]) -> TestCaseResult {
    let member = |name: &str| client.get(name).filter(|value| !value.is_null());
    prop_assert_eq!(Some(&json!(request.model)), member("model"));
    prop_assert_eq!(json!(request.choices), member("n").cloned().unwrap_or(json!(1)));
    prop_assert_eq!(json!(request.stream), member("stream").cloned().unwrap_or(json!(false)));
    prop_assert!((1..=16).contains(&request.choices));
    let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let asked = limits.iter().filter_map(|name| member(name)?.as_u64()).min();
    prop_assert_eq!(request.asked_output.map(Tokens::count), asked);
    prop_assert!(asked.is_none_or(|asked| (1..=MAX_TOKENS).contains(&asked)));
    prop_assert!(request.text_bytes.count() <= bytes.len() as u64);
    let mut names: Vec<&Value> =
        ["run_id", "evaluation_run_id"].iter().filter_map(|name| member(name)).collect();
    let in_metadata = member("metadata").and_then(|metadata| metadata.get("run_id"));
    names.extend(in_metadata.filter(|name| !name.is_null()));
    prop_assert_eq!(names.len(), request.run_names.len());
    for name in &request.run_names {
        prop_assert!(names.contains(&&json!(name)));
        let _run_or_none = RunId::parse(name);
    }
    // Which target does not matter to the reader, so one that the body chooses will do.
    let pick = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    let target = &TARGETS[pick % TARGETS.len()];
    check_sent(request, client, target)?;
    check_price(request, client, target, pick as u64)
}

/// What is sent is what the client said, what the gateway says, and nothing else.
fn check_sent(request: &Request, client: &Value, target: &Target) -> TestCaseResult {
    let (dialect, bound) = (&target.provider.dialect, Tokens::new(77));
    let mut request = request.clone();
    request.set_run(RunId::from_uuid(uuid::Uuid::nil()));
    let sent = request.clone().into_upstream(&target.upstream_model, dialect, bound);
    let read: Result<Value, _> = serde_json::from_slice(&sent.bytes);
    prop_assert!(read.is_ok(), "what is sent is no JSON: {read:?}");
    let mut sent = read.unwrap();
    let members = sent.as_object_mut().unwrap();
    let mut take = |name: &str| members.remove(name).unwrap_or_default();
    prop_assert_eq!(take("model"), json!(target.upstream_model));
    prop_assert_eq!(take(dialect.limit_field.name()), json!(77));
    prop_assert_eq!(take("messages"), messages(&client["messages"]));
    prop_assert_eq!(take("stream"), if request.stream { json!(true) } else { Value::Null });
    let asks = request.stream && dialect.stream_options;
    let options = if asks { json!({"include_usage": true}) } else { Value::Null };
    prop_assert_eq!(take("stream_options"), options);
    let several = request.choices > 1;
    prop_assert_eq!(take("n"), if several { json!(request.choices) } else { Value::Null });
    prop_assert_eq!(take("store"), if dialect.store { json!(false) } else { Value::Null });
    let tier = if dialect.service_tier { json!("default") } else { Value::Null };
    prop_assert_eq!(take("service_tier"), tier);
    let (key, name) = (take("prompt_cache_key"), take("safety_identifier"));
    prop_assert!(key == name && key.is_string() == dialect.run_tag);
    if let Some(seed) = dialect.seed_field {
        prop_assert_eq!(take(seed), client.get("seed").cloned().unwrap_or_default());
    }
    for (name, value) in members.iter() {
        let row = Format::Chat.table().rows().find(|row| row.at.is_empty() && row.name == name);
        prop_assert!(row.is_some_and(|row| row.action == Action::Passed), "{name} is sent");
        // What is inside of these is compared without what was left out of it.
        if !matches!(name.as_str(), "tools" | "tool_choice" | "functions" | "function_call") {
            prop_assert_eq!(Some(value), client.get(name), "{}", name);
        }
        prop_assert!(!value.is_null() && client.get(name).is_some(), "{name} is made up");
    }
    Ok(())
}

/// A client's messages as a provider should see them.
fn messages(value: &Value) -> Value {
    fn present(value: &Value, in_message: bool) -> Value {
        match value {
            Value::Array(values) => values.iter().map(|value| present(value, false)).collect(),
            Value::Object(members) => {
                let kept = members.iter().filter(|(key, value)| {
                    let echoed = in_message && ECHOES.contains(&key.as_str());
                    let null = value.is_null() && !(in_message && *key == "content");
                    !echoed && !null
                });
                Value::Object(kept.map(|(k, v)| (k.clone(), present(v, false))).collect())
            }
            plain => plain.clone(),
        }
    }
    value.as_array().unwrap().iter().map(|message| present(message, true)).collect()
}

/// Nothing that can be charged for it within its bounds is more than was reserved, and its bound is
/// no less than what the model's own vocabulary counts.
fn check_price(request: &Request, client: &Value, target: &Target, seed: u64) -> TestCaseResult {
    let counted = texts(client).map(|text| target.tokenizer.count(text)).sum::<u64>();
    prop_assert!(counted <= request.text_bytes.count(), "{counted} > {}", request.text_bytes);
    let bound = |text| input_bound(text, request.shape, &target.constants, target.context_window);
    let input = bound(request.text_bytes);
    prop_assert!(bound(Tokens::new(counted)) <= input);
    let output = request.asked_output.unwrap_or(target.max_output).min(target.max_output);
    let wanted = Wanted {
        prices: target.prices.into(),
        input,
        output,
        choices: request.choices,
        least_output: Tokens::new(1),
        on_cap: OnCap::Clamp,
    };
    let Ok(reserved) = wanted.amounts(output) else { return Ok(()) };
    let all = output.times(u64::from(request.choices));
    let (cached, fresh) = (seed % (input.count() + 1), seed % 3);
    let written = (input.count() - cached) * fresh / 3;
    let usage = Usage {
        uncached_input: Tokens::new(input.count() - cached - written),
        cached_input: Tokens::new(cached),
        cache_write: Tokens::new(written),
        output: all,
        ..Usage::default()
    };
    prop_assert!(target.prices.cost(&usage).unwrap() <= reserved.usd);
    prop_assert!(usage.total() <= reserved.tokens);
    Ok(())
}

/// The texts of a body that surely become input: contents, names, and all that tools say.
fn texts(client: &Value) -> impl Iterator<Item = &str> {
    let mut found = Vec::new();
    let mut left: Vec<&Value> = ["tools", "functions", "response_format"]
        .iter()
        .filter_map(|name| client.get(name))
        .collect();
    for message in client["messages"].as_array().into_iter().flatten() {
        for name in ["content", "refusal", "reasoning_content", "name", "tool_calls"] {
            left.extend(message.get(name));
        }
    }
    while let Some(value) = left.pop() {
        match value {
            // The data of an image is counted by the image.
            Value::String(text) if !text.starts_with("data:image/") => found.push(text.as_str()),
            Value::Array(values) => left.extend(values),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    found.into_iter()
}
