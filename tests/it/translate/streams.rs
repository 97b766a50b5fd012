//! Streams, event by event.

use std::fs;

use proptest::prelude::*;
use rungate::protocol::stream::StreamFault;
use rungate::protocol::translate::{ChatClient, ChatToMessages, MessagesToChat, Translate};
use serde_json::{Value, json};

use super::grammar::{check_chat, check_messages, events};
use super::{client, fixture, fixture_path};

const FROM_MESSAGES: [&str; 4] = ["basic", "tool", "thinking", "cached"];
const FROM_CHAT: [&str; 2] = ["reasoning", "calls"];

/// The data of a fixture's events.
fn data_of(name: &str) -> Vec<String> {
    events(&fixture(name)).into_iter().map(|(_, data)| data).collect()
}

fn feed(mut translator: impl Translate, data: &[String]) -> String {
    let mut out = Vec::new();
    for event in data {
        translator.event(event.as_bytes(), &mut out).unwrap_or_else(|f| panic!("{f:?}: {event}"));
    }
    translator.finish(&mut out);
    String::from_utf8(out).unwrap()
}

/// Holds a translation against its fixture, or writes it.
fn check(name: &str, is: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some_and(|wish| wish == "1") {
        fs::write(fixture_path(name), is).unwrap();
    }
    assert_eq!(is, fixture(name), "{name}; UPDATE_DOCS=1 writes it");
}

#[test]
fn streams_of_anthropic_become_chunks() {
    for name in FROM_MESSAGES {
        let is = feed(MessagesToChat::new(client()), &data_of(&format!("{name}.messages.sse")));
        assert!(check_chat(&is));
        check(&format!("{name}.chat.sse"), &is);
    }
}

#[test]
fn streams_of_chunks_become_anthropics() {
    for name in FROM_CHAT {
        let is = feed(ChatToMessages::new(), &data_of(&format!("{name}.chat-in.sse")));
        assert!(check_messages(&is));
        check(&format!("{name}.messages-out.sse"), &is);
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_keeps_the_grammar_and_gets_no_end_of_ours() {
    for name in FROM_MESSAGES {
        let data = data_of(&format!("{name}.messages.sse"));
        for cut in 0..=data.len() {
            let ended = check_chat(&feed(MessagesToChat::new(client()), &data[..cut]));
            // The reason to stop is the last word but one.
            assert_eq!(ended, cut + 1 >= data.len(), "{name} cut after {cut}");
        }
    }
    for name in FROM_CHAT {
        let data = data_of(&format!("{name}.chat-in.sse"));
        for cut in 0..=data.len() {
            let ended = check_messages(&feed(ChatToMessages::new(), &data[..cut]));
            let reason = data[..cut].iter().any(|event| event.contains(r#""finish_reason":""#));
            assert_eq!(ended, reason, "{name} cut after {cut}");
        }
    }
}

#[test]
fn an_error_ends_a_stream_with_what_the_provider_said() {
    let mut out = Vec::new();
    let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let fault = MessagesToChat::new(client()).event(error, &mut out).unwrap_err();
    let StreamFault::Provider(said) = fault else { panic!("{fault:?}") };
    assert_eq!(said.message.as_deref(), Some("Overloaded"));
    assert_eq!(said.kind.as_deref(), Some("overloaded_error"));
    for error in [
        r#"{"error":{"message":"Overloaded","code":502},"choices":[]}"#,
        r#"{"object":"error","message":"Overloaded"}"#,
        r#"{"message":"Overloaded"}"#,
    ] {
        let fault = ChatToMessages::new().event(error.as_bytes(), &mut out).unwrap_err();
        let StreamFault::Provider(said) = fault else { panic!("{fault:?}") };
        assert_eq!(said.message.as_deref(), Some("Overloaded"), "{error}");
    }
    for garbage in ["[]", "x", "{\"type\":1}", "{\"choices\":{}}"] {
        let to_chat = MessagesToChat::new(client()).event(garbage.as_bytes(), &mut out);
        assert_eq!(to_chat, Err(StreamFault::Garbage), "{garbage}");
    }
    assert_eq!(
        ChatToMessages::new().event(b"{\"choices\":{}}", &mut out),
        Err(StreamFault::Garbage)
    );
    assert!(out.is_empty());
}

#[test]
fn what_is_no_string_where_one_belongs_cannot_break_the_framing() {
    let odd = "{\n\n\"a\":1}";
    let data = [
        format!(r#"{{"type":"message_start","message":{{"id":{odd},"model":{odd}}}}}"#),
        format!(r#"{{"type":"content_block_delta","delta":{{"text":{odd},"thinking":{odd}}}}}"#),
        format!(
            r#"{{"type":"content_block_start","content_block":{{"id":{odd},"name":{odd},"input":{odd}}}}}"#
        ),
        format!(r#"{{"type":"content_block_delta","delta":{{"partial_json":{odd}}}}}"#),
        r#"{"type":"message_stop"}"#.to_owned(),
    ];
    assert!(check_chat(&feed(MessagesToChat::new(client()), &data)));
    let delta = format!(
        r#"{{"content":{odd},"refusal":{odd},"reasoning":{odd},"tool_calls":[
        {{"id":{odd},"function":{{"name":"f","arguments":{odd}}}}}]}}"#
    );
    let data =
        [format!(r#"{{"id":{odd},"model":{odd},"choices":[{{"delta":{delta}}}]}}"#), end("stop")];
    assert!(check_messages(&feed(ChatToMessages::new(), &data)));
}

#[test]
fn the_usage_chunk_comes_only_to_whoever_asked() {
    let data = data_of("cached.messages.sse");
    let quiet = feed(MessagesToChat::new(ChatClient { include_usage: false, ..client() }), &data);
    assert!(check_chat(&quiet) && !quiet.contains("usage"));
}

#[test]
fn a_client_of_legacy_functions_gets_a_function_call() {
    let legacy = ChatClient { legacy_functions: true, ..client() };
    let out = feed(MessagesToChat::new(legacy), &data_of("tool.messages.sse"));
    assert!(check_chat(&out) && !out.contains("tool_calls"), "{out}");
    let (mut name, mut arguments) = (String::new(), String::new());
    for (_, data) in events(&out).iter().filter(|(_, data)| data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let call = &chunk["choices"][0]["delta"]["function_call"];
        name.push_str(call["name"].as_str().unwrap_or_default());
        arguments.push_str(call["arguments"].as_str().unwrap_or_default());
    }
    assert_eq!(name, "get_weather");
    assert_eq!(arguments, r#"{"location": "San Francisco, CA", "unit": "fahrenheit"}"#);
    assert!(out.contains(r#""finish_reason":"function_call""#));
}

fn chunk(delta: Value) -> String {
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}).to_string()
}

fn end(reason: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
}

/// The blocks of a stream: type, id, name and what its deltas make.
fn blocks(stream: &str) -> Vec<[String; 4]> {
    let mut blocks: Vec<[String; 4]> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (_, data) in events(stream) {
        let event: Value = serde_json::from_str(&data).unwrap();
        let (block, delta) = (&event["content_block"], &event["delta"]);
        if event["type"] == "content_block_start" {
            let fields = ["type", "id", "name"].map(|name| text(&block[name]));
            let [kind, id, name] = fields;
            blocks.push([kind, id, name, String::new()]);
        } else if event["type"] == "content_block_delta" {
            let more = ["text", "thinking", "partial_json"].map(|name| text(&delta[name])).concat();
            blocks.last_mut().unwrap()[3].push_str(&more);
        }
    }
    blocks
}

#[test]
fn what_providers_do_differently_becomes_the_same_blocks() {
    let call = |members: Value| chunk(json!({"tool_calls": [members]}));
    let begin = |index: Value, id: Value, name: &str, arguments: Value| {
        call(json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}}))
    };
    let wanted = |blocks: &[[&str; 4]]| blocks.iter().map(|b| b.map(str::to_owned)).collect();
    let cases: [(Vec<String>, Vec<[String; 4]>); 5] = [
        // All calls have the number 0, each in one piece.
        (
            vec![
                begin(json!(0), json!("a"), "f", json!("{}")),
                begin(json!(0), json!("b"), "g", json!("{\"x\":1}")),
            ],
            wanted(&[["tool_use", "a", "f", "{}"], ["tool_use", "b", "g", "{\"x\":1}"]]),
        ),
        // No numbers and no ids; the arguments as an object; text before, thinking in between.
        (
            vec![
                chunk(json!({"content": "hi"})),
                chunk(json!({"reasoning": "hm"})),
                begin(Value::Null, Value::Null, "f", json!({"x": 1})),
            ],
            wanted(&[
                ["text", "", "", "hi"],
                ["thinking", "", "", "hm"],
                ["tool_use", "tool_call_2", "f", "{\"x\":1}"],
            ]),
        ),
        // The id is repeated with every piece.
        (
            vec![
                begin(json!(0), json!("a"), "f", json!("{")),
                begin(json!(0), json!("a"), "f", json!("}")),
            ],
            wanted(&[["tool_use", "a", "f", "{}"]]),
        ),
        // Thoughts and texts in an array.
        (
            vec![chunk(json!({"content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "hi"},
            ]}))],
            wanted(&[["thinking", "", "", "hm"], ["text", "", "", "hi"]]),
        ),
        // A refusal, and the old form of a call.
        (
            vec![
                chunk(json!({"refusal": "No."})),
                chunk(json!({"function_call": {"name": "f", "arguments": ""}})),
                chunk(json!({"function_call": {"arguments": "{}"}})),
            ],
            wanted(&[["text", "", "", "No."], ["tool_use", "tool_call_1", "f", "{}"]]),
        ),
    ];
    for (mut data, wanted) in cases {
        data.extend([end("stop"), "[DONE]".to_owned()]);
        let out = feed(ChatToMessages::new(), &data);
        assert!(check_messages(&out));
        assert_eq!(blocks(&out), wanted);
    }
}

#[test]
fn reasons_to_stop_are_told_in_the_words_of_the_client() {
    for (reason, wanted) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("something_new", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        let start = json!({"type": "message_start", "message": {"id": "i", "model": "m"}});
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
        let data = [start.to_string(), delta.to_string()];
        let out = feed(MessagesToChat::new(client()), &data);
        assert!(out.contains(&format!(r#""finish_reason":"{wanted}""#)), "{reason}: {out}");
    }
    for (reason, wanted) in [
        ("stop", "end_turn"),
        ("something_new", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ] {
        let out = feed(ChatToMessages::new(), &[chunk(json!({"content": "x"})), end(reason)]);
        assert!(check_messages(&out));
        assert!(out.contains(&format!(r#""stop_reason":"{wanted}""#)), "{reason}: {out}");
    }
}

/// Chunks as any provider might send them, in any order.
fn chunks() -> impl Strategy<Value = Vec<String>> {
    let word = || prop::option::of("[a-z\\\\\"\n]{0,3}");
    let call = (0u64..3, word(), word()).prop_map(|(index, id, arguments)| {
        let function = json!({"name": "f", "arguments": arguments});
        json!({"tool_calls": [{"index": index, "id": id, "function": function}]})
    });
    let delta = prop_oneof![
        (word(), word(), word()).prop_map(|(content, thought, refusal)| {
            json!({"content": content, "reasoning_content": thought, "refusal": refusal})
        }),
        call,
    ];
    let event = prop_oneof![
        8 => delta.prop_map(chunk),
        1 => "stop|length|".prop_map(|reason| end(&reason)),
        1 => Just("[DONE]".to_owned()),
        1 => Just(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#.to_owned()),
    ];
    prop::collection::vec(event, 0..12)
}

proptest! {
    #[test]
    fn whatever_chunks_come_the_grammar_holds(data in chunks()) {
        check_messages(&feed(ChatToMessages::new(), &data));
    }

    #[test]
    fn a_stream_there_and_back_says_the_same(
        words in prop::collection::vec("[a-z \\\\\"\n]{1,4}", 1..6),
    ) {
        let mut data: Vec<String> =
            words.iter().map(|word| chunk(json!({"content": word}))).collect();
        data.push(end("stop"));
        let there = feed(ChatToMessages::new(), &data);
        let there: Vec<String> = events(&there).into_iter().map(|(_, data)| data).collect();
        let back = feed(MessagesToChat::new(client()), &there);
        prop_assert!(check_chat(&back));
        let said: String = events(&back).iter().filter_map(|(_, data)| {
            let chunk: Value = serde_json::from_str(data).ok()?;
            chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
        }).collect();
        prop_assert_eq!(said, words.concat());
    }
}
