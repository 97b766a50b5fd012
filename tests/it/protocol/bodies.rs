//! Bodies that are accepted, and what becomes of them.

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use rungate::domain::normal::Normalizing;
use rungate::domain::usage::Tokens;
use rungate::protocol::chat::TABLE;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::request::fields::Action;
use rungate::providers::REGISTRY;
use serde_json::{Value, json};

use super::generate::{body, scramble, without_nulls};
use super::{accept, dialect, message, parse, part, with};

const BOUND: Tokens = Tokens::new(100);

fn upstream(body: &str, provider: &str) -> String {
    let sent = accept(body).into_upstream("up/m", dialect(provider), BOUND);
    String::from_utf8(sent.bytes.to_vec()).unwrap()
}

#[test]
fn the_upstream_body_is_the_clients_with_the_gateways_fields_appended() {
    let head = r#"{"messages":[{"role":"user","content":"hi"}]"#;
    let check = |members: &str, provider: &str, tail: &str| {
        assert_eq!(upstream(&with(members), provider), format!("{head}{tail}}}"), "{members}");
    };
    check(
        r#""temperature":1"#,
        "openai",
        concat!(
            r#","temperature":1,"model":"up/m","max_completion_tokens":100,"#,
            r#""store":false,"service_tier":"default""#,
        ),
    );
    check(
        r#""stream":true,"n":2,"seed":-7"#,
        "mistral",
        r#","model":"up/m","max_tokens":100,"stream":true,"n":2,"random_seed":-7"#,
    );
    check(
        r#""stream":true,"stream_options":{"include_usage":false}"#,
        "groq",
        concat!(
            r#","model":"up/m","max_completion_tokens":100,"#,
            r#""stream":true,"stream_options":{"include_usage":true}"#,
        ),
    );
    check(r#""seed":7,"n":1,"stream":false"#, "deepseek", r#","model":"up/m","max_tokens":100"#);
    check(
        r#""user":"u","store":null,"metadata":{"a":1},"run_id":"r",
        "prompt_cache_key":"k","safety_identifier":"s",
        "modalities":["text"],"max_tokens":5"#,
        "chutes",
        r#","model":"up/m","max_tokens":100"#,
    );
    check(r#""t\u006fp_p" : 0.50"#, "targon", r#","top_p":0.50,"model":"up/m","max_tokens":100"#);
}

#[test]
fn the_head_is_read_from_anywhere_in_the_body() {
    let request = accept(
        r#"{"n":3,"max_output_tokens":7,"run_id":"a","messages":[{"role":"user","content":"x"}],
        "stream":true,"metadata":{"x":1,"run_id":"b"},"max_tokens":9,"evaluation_run_id":"c",
        "stream_options":{"include_usage":true},"m\u006fdel":"gpt\u002d4"}"#,
    );
    assert_eq!(request.model, "gpt-4");
    assert_eq!(request.run_names, ["a", "b", "c"]);
    assert!(request.stream && request.include_usage);
    assert_eq!((request.choices, request.asked_output), (3, Some(Tokens::new(7))));
    let plain = accept(&with(r#""n":null"#));
    assert!(!plain.stream && !plain.include_usage && plain.run_names.is_empty());
    assert_eq!((plain.choices, plain.asked_output), (1, None));
}

#[test]
fn raw_slices_reach_the_provider_byte_for_byte() {
    let leaf = r#""a\u00e9\/\ud83d\ude00 é\n\u0000""#;
    for key in ["content", r"c\u006fntent"] {
        let sent = upstream(&message(&format!("\"{key}\" :\n {leaf} ")), "chutes");
        assert!(sent.contains(&format!("\"content\":{leaf}}}]")), "{sent}");
        let body = message(&format!(r#""{key}":[ {{"text":{leaf}, "type":"text"}} ]"#));
        let sent = upstream(&body, "chutes");
        assert!(sent.contains(&format!(r#"[{{"text":{leaf},"type":"text"}}]"#)), "{sent}");
    }
    let schema = "{ \"a\" : [1.0, 1e2,\n -0 ] }";
    let sent = upstream(&with(&format!("\"response_format\":{schema}")), "chutes");
    assert!(sent.contains(schema), "{sent}");
}

#[test]
fn what_sdks_echo_back_is_accepted() {
    let body = r#"{"model":"m","messages":[{"role":"assistant","content":null,"refusal":null,
        "audio":null,"annotations":[],"function_call":null,"reasoning_content":"r","tool_calls":
        [{"id":"c","function":{"name":"f","arguments":"{}"},"type":"function","index":0}]},
        {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"ok"}]}],
        "tool_choice":"auto","functions":[{"name":"g","parameters":{}}],"function_call":"none"}"#;
    let request = accept(body);
    assert_eq!((request.shape.messages, request.shape.tools, request.shape.images), (2, 1, 0));
    let sent: Value = serde_json::from_str(&upstream(body, "chutes")).unwrap();
    let expected = json!({"role": "assistant", "content": null, "reasoning_content": "r",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"},
            "type": "function", "index": 0}]});
    assert_eq!(sent["messages"][0], expected);
}

#[test]
fn what_providers_add_to_an_answer_may_come_back_and_is_neither_sent_nor_counted() {
    let message = |echo: &str| {
        format!(r#"{{"model":"m","messages":[{{"role":"assistant","content":"hi"{echo}}}]}}"#)
    };
    let echo = r#","reasoning":"long thoughts","reasoning_details":[{"type":"reasoning.text",
        "text":"t"}],"provider_specific_fields":{"a":[1]},"thinking_blocks":[{"type":"thinking"}]"#;
    let nulls = r#","reasoning":null,"reasoning_details":null,"provider_specific_fields":null,
        "thinking_blocks":null"#;
    for echo in [echo, nulls] {
        let (plain, with) = (accept(&message("")), accept(&message(echo)));
        assert_eq!(with.text_bytes, plain.text_bytes);
        assert_eq!(upstream(&message(echo), "chutes"), upstream(&message(""), "chutes"));
    }
    for (wrong, says) in [
        (r#""reasoning":1"#, "`messages[0].reasoning` must be a string."),
        (r#""reasoning_details":{}"#, "`messages[0].reasoning_details` must be an array."),
        (
            r#""provider_specific_fields":[]"#,
            "`messages[0].provider_specific_fields` must be an object.",
        ),
        (r#""thinking_blocks":"x""#, "`messages[0].thinking_blocks` must be an array."),
        (
            r#""thinking_blocks":[{"a":1,"a":1}]"#,
            "`messages[0].thinking_blocks` has an object with the same key twice; give each key \
             once.",
        ),
    ] {
        let fault = parse(&message(&format!(",{wrong}"))).map(|_| ()).unwrap_err();
        assert_eq!(fault.message(), says);
    }
}

#[test]
fn images_are_counted_apart_from_text() {
    let image = |data: &str| {
        let url = format!("data:image/png;base64,{data}");
        part(&format!(
            r#"{{"type":"text","text":"four"}},
            {{"type":"image_url","image_url":{{"url":"{url}"}}}}"#
        ))
    };
    let (small, large) = (accept(&image("AA==")), accept(&image(&"A".repeat(1 << 20))));
    assert_eq!((small.shape.images, large.shape.images), (1, 1));
    assert_eq!(small.text_bytes, Tokens::new(6));
    assert_eq!(large.text_bytes, Tokens::new(6));
    // An escaped solidus is what PHP writes.
    accept(&image(r"AA\/\u0041"));
}

#[test]
fn texts_count_as_decoded_and_structures_twice_but_never_more_than_their_bytes() {
    let characters = |text: &str| text.chars().count() as u64;
    let request = accept(&message(r#""content":"a\u00e9b\n""#));
    assert_eq!(request.text_bytes, Tokens::new(12));
    assert_eq!(request.count_text(characters), Tokens::new(4));
    assert_eq!(request.count_text(|_| u64::MAX), Tokens::new(12));
    assert_eq!(request.count_text(|_| 0), Tokens::ZERO);
    let request = accept(&with(r#""tools":[{"type":"custom","custom":{"name":"f"}}]"#));
    let tools = r#"[{"type":"custom","custom":{"name":"f"}}]"#.len() as u64;
    assert_eq!(request.text_bytes, Tokens::new(4 + tools));
    assert_eq!(request.count_text(|text| text.len() as u64 / 4), Tokens::new(tools / 4 * 2));
    let elsewhere = std::thread::spawn({
        let counter = request.counter();
        move || counter.count(|_| 1)
    });
    assert_eq!(elsewhere.join().unwrap(), Tokens::new(3));
}

#[test]
fn everything_that_becomes_input_is_within_the_strict_bound() {
    for member in [
        r#""name":"XX""#,
        r#""refusal":"XX""#,
        r#""reasoning_content":"XX""#,
        r#""tool_call_id":"XX""#,
        r#""function_call":{"name":"XX"}"#,
        r#""tool_calls":[{"function":{"arguments":"XX"}}]"#,
        r#""content":[{"type":"text","text":"XX"}]"#,
    ] {
        assert!(accept(&message(member)).text_bytes >= Tokens::new(4), "{member}");
    }
    for member in [
        r#""response_format":{"a":"XX"}"#,
        r#""functions":[{"name":"XX"}]"#,
        r#""function_call":{"name":"XX"}"#,
        r#""reasoning_effort":"XX""#,
        r#""verbosity":"XX""#,
        r#""tool_choice":{"type":"function","function":{"name":"XX"}}"#,
    ] {
        let text = accept(&with(member)).text_bytes;
        assert!(text >= Tokens::new(8), "{member}: {text}");
    }
}

#[test]
fn text_that_is_normalised_is_within_the_strict_bound_too() {
    // 3 bytes, or 6 as an escape, that are 33 in NFKC.
    let bound = |body: &str| accept(body).text_bound(Normalizing::Composing);
    for text in ["\u{fdfa}", r"\ufdfa"] {
        let content = message(&format!(r#""content":"{text}""#));
        assert_eq!(accept(&content).text_bytes, Tokens::new(text.len() as u64 + 2));
        assert_eq!(bound(&content), Tokens::new(33), "{text}");
        let parts = part(&format!(r#"{{"type":"text","text":"{text}"}}"#));
        assert_eq!(bound(&parts), Tokens::new(33), "{text}");
        let tool = with(&format!(r#""tools":[{{"type":"custom","custom":{{"name":"{text}"}}}}]"#));
        let grown = Tokens::new(33 - text.len() as u64);
        assert_eq!(bound(&tool), accept(&tool).text_bytes.plus(grown), "{text}");
    }
    // A provider may well read the JSON within the string.
    let arguments = r#""{\"a\":\"\\ufdfa\"}""#;
    let called = format!(r#""tool_calls":[{{"function":{{"name":"f","arguments":{arguments}}}}}]"#);
    let called = message(&called);
    assert_eq!(bound(&called), accept(&called).text_bytes.plus(Tokens::new(27)));
    let plain = message(r#""content":"naïve, 한국어, がぎぐ, \u00e9 and \n""#);
    assert_eq!(bound(&plain), accept(&plain).text_bytes);
}

#[test]
fn a_request_that_nobody_else_holds_is_not_copied() {
    let place = Cell::new(0);
    let look = |text: &str| {
        place.set(text.as_ptr().addr());
        1
    };
    let body = with(&format!(r#""user":"{}""#, "u".repeat(4096)));
    let request = accept(&body);
    request.count_text(look);
    let before = place.get();
    let copied = request.clone().into_upstream("m", dialect("openai"), BOUND);
    copied.counter.count(look);
    assert_ne!(place.get(), before, "the request is still alive");
    let moved = request.into_upstream("m", dialect("openai"), BOUND);
    moved.counter.count(look);
    assert_eq!(place.get(), before);
    assert_eq!(moved.bytes, copied.bytes);
}

#[test]
fn a_model_name_is_escaped_when_it_is_written() {
    let sent = accept(&with(r#""n":1"#)).into_upstream("a\"b\\c", dialect("chutes"), BOUND);
    let sent: Value = serde_json::from_slice(&sent.bytes).unwrap();
    assert_eq!(sent["model"], "a\"b\\c");
}

fn members<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v String> {
    let object = value[name].as_object();
    object.into_iter().flat_map(|object| object.keys())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_sent_says_what_the_client_said_and_nothing_else(
        value in body(), seed in any::<u64>(), provider in 0..REGISTRY.len(),
    ) {
        let written = scramble(&value, seed);
        let client: Value = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&client, &value);
        let request = Request::parse(Format::Chat, Bytes::from(written.clone())).unwrap();
        prop_assert_eq!(request.model.as_str(), "gpt-4o-mini");
        prop_assert_eq!(u64::from(request.choices), value["n"].as_u64().unwrap());
        prop_assert_eq!(request.asked_output.map(Tokens::count), value["max_tokens"].as_u64());

        let text_bytes = request.text_bytes;
        let counted = request.count_text(|text| text.len() as u64);
        prop_assert!(counted <= text_bytes);
        prop_assert!(text_bytes.count() <= written.len() as u64);
        prop_assert!(request.count_text(|_| u64::MAX) == text_bytes);

        let dialect = &REGISTRY[provider].dialect;
        let sent = request.into_upstream("up", dialect, BOUND);
        prop_assert_eq!(sent.counter.count(|text| text.len() as u64), counted);
        let sent: Value = serde_json::from_slice(&sent.bytes).unwrap();
        prop_assert_eq!(&sent["messages"], &without_nulls(&value["messages"]));
        prop_assert_eq!(&sent["tools"], &value["tools"]);
        let same = ["stop", "temperature", "top_p", "logit_bias", "response_format", "tool_choice"];
        for same in same {
            prop_assert_eq!(&sent[same], &value[same], "{}", same);
        }
        prop_assert_eq!(&sent[dialect.limit_field.name()], &json!(100));
        for key in sent.as_object().unwrap().keys() {
            let row = TABLE.rows().find(|row| row.at.is_empty() && row.name == key);
            let ours = dialect.seed_field == Some(key.as_str());
            prop_assert!(ours || row.is_some_and(|row| row.action != Action::Refused), "{}", key);
        }
        let options: Vec<_> = members(&sent, "stream_options").collect();
        prop_assert!(options.iter().all(|name| *name == "include_usage"));
        for gone in ["user", "run_id", "metadata", "modalities", "max_output_tokens", "audio"] {
            prop_assert!(sent.get(gone).is_none(), "{}", gone);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(Format::Chat, Bytes::from(body));
    }

    #[test]
    fn no_damage_to_a_body_sends_anything_that_is_no_json(
        value in body(), seed in any::<u64>(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut written = scramble(&value, seed).into_bytes();
        let at = at.index(written.len());
        written[at] = byte;
        if let Ok(request) = Request::parse(Format::Chat, Bytes::from(written.clone())) {
            let client: Value = serde_json::from_slice(&written).unwrap();
            let sent = request.into_upstream("up", dialect("openai"), BOUND);
            let sent: Value = serde_json::from_slice(&sent.bytes).unwrap();
            prop_assert_eq!(&sent["messages"], &without_nulls(&client["messages"]));
        }
    }
}
