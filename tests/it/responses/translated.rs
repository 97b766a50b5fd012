//! Answers of chat completions as responses, in one piece and streamed.

use proptest::prelude::*;
use rungate::protocol::answer::{AnswerFault, read_answer};
use rungate::protocol::format::Format;
use rungate::protocol::responses::{ResponsesFromChat, chat_answer_to_responses};
use rungate::protocol::stream::StreamFault;
use rungate::protocol::translate::Translate;
use serde_json::{Value, json};

use super::answers::counted;
use super::grammar::{Read, read};
use super::{check_fixture, fixture};

const STREAMS: [&str; 9] = [
    "responses/chat-all",
    "openai/openai",
    "openai/openai-tools",
    "openai/azure",
    "openai/mistral",
    "openai/deepseek",
    "openai/groq",
    "openai/openrouter",
    "openai/vllm",
];

/// The data of a stream's events.
fn data(stream: &str) -> Vec<String> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

/// What becomes of these events.
fn translate<'d>(events: impl IntoIterator<Item = &'d str>) -> Result<String, StreamFault> {
    let (mut translator, mut out) = (ResponsesFromChat::default(), Vec::new());
    for event in events {
        translator.event(event.as_bytes(), &mut out)?;
    }
    translator.finish(&mut out);
    translator.finish(&mut out);
    Ok(String::from_utf8(out).unwrap())
}

fn whole(events: &[String]) -> Read {
    read(&translate(events.iter().map(String::as_str)).unwrap())
}

fn chunk(delta: Value) -> String {
    json!({"id": "chatcmpl-7", "model": "m", "choices": [{"index": 0, "delta": delta}]}).to_string()
}

fn deltas(deltas: &[Value]) -> Vec<String> {
    let mut events: Vec<String> = deltas.iter().cloned().map(chunk).collect();
    events.push("[DONE]".to_owned());
    events
}

/// What a fixture's last event says of its output, in short.
fn shown(name: &str) -> (String, Vec<String>) {
    let read = whole(&data(&fixture(&format!("{name}.sse"))));
    let output = read.response["output"].as_array().unwrap().iter().map(|item| {
        let part = item["content"].get(0).or(item["summary"].get(0)).cloned().unwrap_or_default();
        let text = [&part["text"], &part["refusal"], &item["arguments"], &item["input"]];
        let text = text.into_iter().find_map(Value::as_str).unwrap_or_default();
        let name = item["name"].as_str().unwrap_or_default();
        format!("{}:{name}{text}", item["type"].as_str().unwrap())
    });
    (read.end, output.collect())
}

#[test]
fn the_streams_of_providers_become_streams_of_responses() {
    let check = |name: &str, items: &[&str]| {
        let (end, output) = shown(name);
        assert_eq!(end, "response.completed", "{name}");
        assert_eq!(output, items, "{name}");
    };
    check("openai/openai", &["message:Hello, wörld 😀"]);
    check("openai/openai-tools", &["function_call:read_file{\"path\":\"a.rs\"}"]);
    check("openai/azure", &["message:Hi"]);
    check("openai/mistral", &["message:Bonjour!"]);
    check("openai/deepseek", &["reasoning:Think", "message:4"]);
    check("openai/groq", &["message:Yes"]);
    check("openai/openrouter", &["reasoning:Hm", "message:ok"]);
    check("openai/vllm", &["message:AB"]);
    let (end, output) = shown("responses/chat-all");
    assert_eq!(end, "response.incomplete");
    let items = [
        "reasoning:Let me see.",
        "message:Hello, wörld 😀",
        "function_call:ls{\"a\":1}",
        "custom_tool_call:apply_patch*** Begin",
        "message:No more.",
    ];
    assert_eq!(output, items);
}

#[test]
fn translated_streams_are_as_written_down() {
    for name in ["responses/chat-all", "openai/openai-tools", "openai/deepseek"] {
        let events = data(&fixture(&format!("{name}.sse")));
        let stream = translate(events.iter().map(String::as_str)).unwrap();
        let short = name.rsplit('/').next().unwrap();
        check_fixture(&format!("responses/translated/{short}.sse"), &stream);
    }
    let answer = chat_answer_to_responses(fixture("responses/chat-answer.json").as_bytes());
    let answer: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
    let answer = serde_json::to_string_pretty(&answer).unwrap() + "\n";
    check_fixture("responses/translated/answer.json", &answer);
}

#[test]
fn usage_is_the_same_before_and_after() {
    for name in STREAMS {
        let read = whole(&data(&fixture(&format!("{name}.sse"))));
        let answer = read_answer(Format::Responses, read.response.to_string().as_bytes());
        let expected = match name {
            "responses/chat-all" => counted([11, 0, 0, 30, 4]),
            "openai/openai" => counted([9, 0, 0, 4, 0]),
            "openai/openai-tools" => counted([86, 1920, 0, 300, 256]),
            "openai/azure" => counted([8, 0, 0, 1, 0]),
            "openai/mistral" => counted([5, 0, 0, 2, 0]),
            "openai/deepseek" => counted([4, 16, 0, 9, 8]),
            "openai/groq" => counted([40, 0, 0, 2, 0]),
            "openai/openrouter" => counted([7, 0, 4, 3, 1]),
            _ => counted([7, 0, 0, 2, 0]),
        };
        assert_eq!(answer.unwrap().usage, expected, "{name}");
    }
}

#[test]
fn an_answer_in_one_piece_is_what_its_stream_would_add_up_to() {
    let chat = super::json(&fixture("responses/chat-answer.json"));
    let mut delta = chat["choices"][0]["message"].clone();
    for (index, call) in delta["tool_calls"].as_array_mut().unwrap().iter_mut().enumerate() {
        call["index"] = json!(index);
    }
    let mut chunk = chat.clone();
    chunk["choices"][0]["delta"] = delta;
    chunk["choices"][0].as_object_mut().unwrap().remove("message");
    let streamed = whole(&[chunk.to_string(), "[DONE]".to_owned()]);
    let whole = chat_answer_to_responses(chat.to_string().as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole, streamed.response);
    assert_eq!(whole["status"], "completed");
}

#[test]
fn how_an_answer_ends_is_told() {
    let end = |reason: Value| {
        let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]});
        let body = chat_answer_to_responses(body.to_string().as_bytes()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let reason = body["incomplete_details"]["reason"].as_str().map(str::to_owned);
        let item = body["output"][0]["status"].as_str().unwrap().to_owned();
        (body["status"].as_str().unwrap().to_owned(), item, reason)
    };
    let is = |status: &str, reason: Option<&str>| {
        (status.to_owned(), status.to_owned(), reason.map(str::to_owned))
    };
    assert_eq!(end(json!("stop")), is("completed", None));
    assert_eq!(end(Value::Null), is("completed", None));
    assert_eq!(end(json!("length")), is("incomplete", Some("max_output_tokens")));
    assert_eq!(end(json!("content_filter")), is("incomplete", Some("content_filter")));
}

#[test]
fn what_is_no_answer_of_chat_is_no_response_either() {
    for garbage in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":null}"#, "[]"] {
        let found = chat_answer_to_responses(garbage.as_bytes());
        assert_eq!(found, Err(AnswerFault::Garbage), "{garbage}");
    }
    let error = r#"{"error":{"message":"no"}}"#;
    let found = chat_answer_to_responses(error.as_bytes());
    assert!(matches!(found, Err(AnswerFault::Provider(_))));
    let found = translate([error]);
    assert!(matches!(found, Err(StreamFault::Provider(_))));
    assert_eq!(translate(["nonsense"]), Err(StreamFault::Garbage));
}

#[test]
fn calls_are_understood_however_providers_write_them() {
    let output = |events: &[Value]| whole(&deltas(events)).response["output"].clone();
    let call = |call: Value| json!({"tool_calls": [call]});
    // Mistral and others send each whole, and some without a number.
    let unnumbered =
        |id: &str| call(json!({"id": id, "function": {"name": "f", "arguments": "{}"}}));
    let found = output(&[unnumbered("a"), unnumbered("b")]);
    assert_eq!((&found[0]["call_id"], &found[1]["call_id"]), (&json!("a"), &json!("b")));
    assert_eq!(found[1]["arguments"], "{}");
    // Without an id it gets one.
    let found = output(&[call(json!({"index": 0, "function": {"name": "f"}}))]);
    assert_eq!((&found[0]["call_id"], &found[0]["arguments"]), (&json!("call_7_0"), &json!("")));
    // Arguments before the name, or as an object.
    let found = output(&[
        call(json!({"index": 0, "id": "a", "function": {"arguments": "{\"x\""}})),
        call(json!({"index": 0, "function": {"name": "f", "arguments": ":1}"}})),
        call(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": {"y": 2}}})),
    ]);
    assert_eq!((&found[0]["name"], &found[0]["arguments"]), (&json!("f"), &json!("{\"x\":1}")));
    assert_eq!(found[1]["arguments"], "{\"y\":2}");
    // One that never gets a name is told all the same.
    let found = output(&[call(json!({"index": 0, "id": "a", "function": {"arguments": "{}"}}))]);
    assert_eq!((&found[0]["name"], &found[0]["arguments"]), (&json!(""), &json!("{}")));
    let thought = json!({"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Yes."},
    ]});
    let found = output(&[thought]);
    assert_eq!(found[0]["summary"][0]["text"], "Hm.");
    assert_eq!(found[1]["content"][0]["text"], "Yes.");
    let found =
        output(&[json!({"content": "a"}), json!({"refusal": "b"}), json!({"content": "c"})]);
    assert_eq!(found[0]["content"].as_array().unwrap().len(), 3);
}

#[test]
fn more_calls_than_anybody_makes_end_the_stream() {
    let call = |index: usize| {
        chunk(json!({"tool_calls": [{"index": index, "id": "c", "function": {"name": "f"}}]}))
    };
    let calls: Vec<String> = (0..1_025).map(call).collect();
    let events = || calls.iter().map(String::as_str);
    assert_eq!(translate(events()), Err(StreamFault::Garbage));
    assert!(translate(events().take(1_024)).is_ok());
}

#[test]
fn a_cut_stream_ends_in_its_grammar_wherever_it_is_cut() {
    for name in STREAMS {
        let events = data(&fixture(&format!("{name}.sse")));
        for kept in 0..=events.len() {
            let read = whole(&events[..kept]);
            let so_far = events[..kept].concat();
            let ended = so_far.contains("[DONE]")
                || ["stop", "tool_calls", "length"]
                    .iter()
                    .any(|reason| so_far.contains(&format!(r#""finish_reason":"{reason}""#)));
            assert_eq!(read.end == "response.failed", !ended, "{name} after {kept}");
        }
    }
    assert_eq!(whole(&[]).response["error"]["code"], "server_error");
}

#[test]
fn the_first_text_is_passed_on_as_soon_as_it_comes() {
    let (mut translator, mut out) = (ResponsesFromChat::default(), Vec::new());
    translator.event(chunk(json!({"content": "a"})).as_bytes(), &mut out).unwrap();
    let begun = String::from_utf8(std::mem::take(&mut out)).unwrap();
    assert!(begun.contains(r#""delta":"a""#), "{begun}");
    translator.event(chunk(json!({"content": "b"})).as_bytes(), &mut out).unwrap();
    let next = String::from_utf8(out).unwrap();
    assert_eq!(next.matches("event: ").count(), 1, "{next}");
}

fn delta() -> impl Strategy<Value = Value> {
    let text = "[a-zé😀\"\\\\\n]{0,6}";
    let call = (0u64..4, prop::option::of("[a-c]"), prop::option::of("[f-h]"), text, any::<bool>());
    prop_oneof![
        text.prop_map(|text| json!({"content": text})),
        text.prop_map(|text| json!({"reasoning_content": text, "content": null})),
        text.prop_map(|text| json!({"refusal": text})),
        call.prop_map(|(index, id, name, text, custom)| {
            let called = json!({"name": name, "arguments": text, "input": text});
            let kind = if custom { "custom" } else { "function" };
            json!({"tool_calls": [{"index": index, "id": id, kind: called}]})
        }),
        Just(json!({})),
        Just(Value::Null),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_deltas_become_a_whole_stream_that_loses_no_text(
        parts in prop::collection::vec(delta(), 0..20),
        reason in prop::option::of("stop|length|content_filter"), cut in any::<bool>(),
    ) {
        let mut events: Vec<String> = parts.iter().cloned().map(chunk).collect();
        if let Some(reason) = &reason {
            let last = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
            events.push(last.to_string());
        }
        if !cut {
            events.push("[DONE]".to_owned());
        }
        let read = whole(&events);
        let end = match reason.as_deref() {
            Some("stop") => "response.completed",
            Some(_) => "response.incomplete",
            None if cut => "response.failed",
            None => "response.completed",
        };
        prop_assert_eq!(read.end, end);
        let texts = |kind: &str, list: &str, name: &str| -> String {
            let items = read.response["output"].as_array().unwrap().iter();
            let parts = items.filter(|item| item["type"] == kind);
            let parts = parts.flat_map(|item| item[list].as_array().unwrap());
            parts.filter_map(|part| part[name].as_str()).collect()
        };
        let sent = |name: &str| {
            let texts = parts.iter().filter_map(|part| part[name].as_str());
            texts.collect::<String>()
        };
        prop_assert_eq!(texts("message", "content", "text"), sent("content"));
        prop_assert_eq!(texts("message", "content", "refusal"), sent("refusal"));
        prop_assert_eq!(texts("reasoning", "summary", "text"), sent("reasoning_content"));
    }

    #[test]
    fn no_data_makes_the_translator_panic(data in prop::collection::vec(any::<u8>(), 0..100)) {
        let (mut translator, mut out) = (ResponsesFromChat::default(), Vec::new());
        let _ = translator.event(&data, &mut out);
        translator.finish(&mut out);
        read(&String::from_utf8(out).unwrap());
    }
}
