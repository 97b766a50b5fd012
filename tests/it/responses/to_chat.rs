//! Requests as chat completions: what is said there, and what is refused since it cannot be.

use bytes::Bytes;
use proptest::prelude::*;
use rungate::domain::fault::Fault;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::request::fields::Action;
use rungate::protocol::responses::{TABLE, responses_to_chat};
use serde_json::{Value, json};

use super::generate::body;
use super::{accept, check_fixture, fixture, item, part, with};
use crate::protocol::generate::scramble;

/// What an accepted body becomes, which the table of chat must accept.
fn chat(body: &str) -> Result<Value, Fault> {
    accept(body);
    let chat = responses_to_chat(body.as_bytes())?;
    let parsed = Request::parse(Format::Chat, Bytes::from(chat.clone()));
    parsed.unwrap_or_else(|fault| panic!("{fault:?} for {body:.300}"));
    Ok(serde_json::from_slice(&chat).unwrap())
}

fn messages(items: &str) -> Value {
    chat(&format!(r#"{{"model":"m","input":[{items}]}}"#)).unwrap()["messages"].clone()
}

#[test]
fn what_clients_really_ask_becomes_chat() {
    for name in ["codex", "agents"] {
        let body = fixture(&format!("responses/{name}.json"));
        let chat = chat(&body).unwrap();
        let chat = serde_json::to_string_pretty(&chat).unwrap() + "\n";
        check_fixture(&format!("responses/translated/{name}.chat.json"), &chat);
    }
}

#[test]
fn raw_values_keep_their_order_and_their_digits() {
    let schema = r#"{ "zulu" : 1.0, "alpha":[1e2,-0,12345678901234567890] }"#;
    let body = with(&format!(
        r#""tools":[{{"type":"function","name":"f","parameters":{schema}}}],"temperature":0.50,
        "text":{{"format":{{"type":"json_schema","name":"n","schema":{schema}}}}}"#
    ));
    accept(&body);
    let chat = String::from_utf8(responses_to_chat(body.as_bytes()).unwrap()).unwrap();
    assert_eq!(chat.matches(schema).count(), 2, "{chat}");
    assert!(chat.contains(r#""temperature":0.50"#), "{chat}");
}

#[test]
fn a_turn_of_the_assistant_is_one_message_with_its_calls() {
    let call = |id: &str| {
        format!(r#"{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{}}"}}"#)
    };
    let output =
        |id: &str| format!(r#"{{"type":"function_call_output","call_id":"{id}","output":"o"}}"#);
    let says = r#"{"role":"assistant","content":"s"}"#;
    let called = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let told = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "o"});
    let turn = |content: Value, calls: Value| json!({"role": "assistant", "content": content, "tool_calls": calls});
    let (a, b) = (call("a"), call("b"));
    let (oa, ob) = (output("a"), output("b"));
    let parallel =
        json!([turn(json!("s"), json!([called("a"), called("b")])), told("a"), told("b")]);
    assert_eq!(messages(&[says, &a, &b, &oa, &ob].join(",")), parallel);
    let reasons = r#"{"type":"reasoning","summary":[]}"#;
    assert_eq!(messages(&[reasons, says, &a, reasons, &b, &oa, &ob].join(",")), parallel);
    assert_eq!(messages(&[&a, &b, says, &oa, &ob].join(",")), parallel, "a word in between");
    let serial = json!([
        turn(Value::Null, json!([called("a")])),
        told("a"),
        turn(Value::Null, json!([called("b")])),
        told("b"),
    ]);
    assert_eq!(messages(&[&*a, &oa, &b, &ob].join(",")), serial);
    let twice = json!([
        {"role": "assistant", "content": "s"}, {"role": "assistant", "content": "s"},
    ]);
    assert_eq!(messages(&[says, says].join(",")), twice);
    let joined = json!([turn(json!("s\n\ns"), json!([called("a")])), told("a")]);
    assert_eq!(messages(&[says, &a, says, &oa].join(",")), joined);
}

#[test]
fn contents_are_said_as_chat_says_them() {
    let check = |item: &str, expected: Value| assert_eq!(messages(item)[0], expected, "{item}");
    let text = r#"{"type":"input_text","text":"a\u0041"}"#;
    let image = r#"{"type":"input_image","image_url":"data:image/png;base64,AA==","detail":"low"}"#;
    let url = json!({"url": "data:image/png;base64,AA==", "detail": "low"});
    check(
        &format!(r#"{{"role":"user","content":[{text},{image}]}}"#),
        json!({"role": "user", "content": [
            {"type": "text", "text": "aA"}, {"type": "image_url", "image_url": url},
        ]}),
    );
    check(
        &format!(r#"{{"role":"developer","content":[{text}]}}"#),
        json!({"role": "system", "content": "aA"}),
    );
    check(r#"{"role":"user","content":[]}"#, json!({"role": "user", "content": ""}));
    let said = r#"{"type":"output_text","text":"x","annotations":[]}"#;
    check(
        &format!(r#"{{"role":"assistant","content":[{said},{said}]}}"#),
        json!({"role": "assistant", "content": "xx"}),
    );
    check(
        r#"{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}"#,
        json!({"role": "assistant", "content": null, "refusal": "no"}),
    );
    let plain = chat(&with(r#""instructions":"i""#)).unwrap();
    let expected = json!([{"role": "system", "content": "i"}, {"role": "user", "content": "hi"}]);
    assert_eq!(plain["messages"], expected);
}

#[test]
fn what_chat_cannot_say_is_refused_by_name() {
    let check = |body: String, path: &str| {
        let fault = chat(&body).expect_err(&body);
        assert_eq!(fault.code().as_str(), "parameter_not_allowed", "{body}");
        assert_eq!(fault.param_name(), Some(path), "{body}");
        assert!(fault.message().starts_with(&format!("`{path}` cannot be said")), "{body}");
    };
    check(with(r#""include":["message.output_text.logprobs"]"#), "include");
    check(with(r#""top_logprobs":2"#), "top_logprobs");
    check(with(r#""max_tool_calls":2"#), "max_tool_calls");
    check(with(r#""reasoning":{"summary":"detailed"}"#), "reasoning.summary");
    check(with(r#""reasoning":{"context":"all_turns"}"#), "reasoning.context");
    check(with(r#""text":{"format":{"type":"xml"}}"#), "text.format");
    check(with(r#""text":{"format":{"type":"text","x":1}}"#), "text.format.x");
    let tool = |members: &str| with(&format!(r#""tools":[{{{members}}}]"#));
    check(tool(r#""type":"namespace","name":"n","tools":[]"#), "tools[0]");
    let deferred = r#""type":"function","name":"f","defer_loading":true"#;
    check(tool(deferred), "tools[0].defer_loading");
    let output = r#""type":"function","name":"f","output_schema":{}"#;
    check(tool(output), "tools[0].output_schema");
    let format = r#""type":"custom","name":"f","format":{"type":"new"}"#;
    check(tool(format), "tools[0].format");
    let spaced =
        r#""type":"function_call","call_id":"c","name":"f","arguments":"","namespace":"n""#;
    check(item(spaced), "input[0].namespace");
    let image = r#""type":"input_image","image_url":"data:image/png;base64,AA==""#;
    let output =
        item(&format!(r#""type":"function_call_output","call_id":"c","output":[{{{image}}}]"#));
    check(output, "input[0].output[0]");
    for role in ["system", "assistant"] {
        check(part(image).replace(r#""user""#, &format!("\"{role}\"")), "input[0].content[0]");
    }
    check(part(r#""type":"refusal","refusal":"no""#), "input[0].content[0]");
    check(item(r#""type":"reasoning","summary":[]"#), "input");
    check(part(r#""type":"reasoning_text","text":"no""#), "input[0].content[0]");
}

#[test]
fn every_field_that_is_passed_is_said_or_refused_or_known_to_say_nothing() {
    // What it says is said by the absence of anything else.
    let silent = ["stream_options", "include", "truncation", "parallel_tool_calls", "tool_choice"];
    for field in TABLE.rows().filter(|row| row.at.is_empty() && row.action == Action::Passed) {
        let value = match field.name {
            "input" => continue,
            "truncation" => "\"disabled\"",
            "tools" => r#"[{"type":"function","name":"f"}]"#,
            "tool_choice" => "\"auto\"",
            "text" => r#"{"verbosity":"low"}"#,
            "reasoning" => r#"{"effort":"low"}"#,
            "include" => r#"["reasoning.encrypted_content"]"#,
            "stream_options" => r#"{"include_obfuscation":true}"#,
            "parallel_tool_calls" => "true",
            "instructions" => "\"i\"",
            _ => "1",
        };
        let plain = chat(&with(r#""store":false"#)).unwrap();
        let said = chat(&with(&format!("\"{}\":{value}", field.name)));
        let heard = said.map_or(true, |said| said != plain);
        assert_eq!(heard, !silent.contains(&field.name), "{}", field.name);
    }
}

#[test]
fn a_streamed_call_asks_for_its_usage_and_keeps_the_names_of_its_run() {
    let body = with(r#""stream":true,"run_id":"a","metadata":{"run_id":"b"},"user":"u""#);
    let chat = chat(&body).unwrap();
    assert_eq!(chat["stream_options"], json!({"include_usage": true}));
    assert_eq!((&chat["run_id"], &chat["metadata"]), (&json!("a"), &json!({"run_id": "b"})));
    assert!(chat.get("user").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_text_of_the_input_is_said_once(
        value in body(), seed in any::<u64>(),
    ) {
        let chat = match chat(&scramble(&value, seed)) {
            Ok(chat) => chat,
            // An image that only a message of the user may hold, or nothing but reasoning.
            Err(fault) => {
                let path = fault.param_name().unwrap().to_owned();
                prop_assert!(path.starts_with("input"), "{}", path);
                return Ok(());
            }
        };
        prop_assert_eq!(&chat["model"], "gpt-5-mini");
        prop_assert_eq!(&chat["max_completion_tokens"], &value["max_output_tokens"]);
        let texts = |value: &Value, names: &[&str]| {
            let mut found = String::new();
            collect(value, names, &mut found);
            found.replace("\n\n", "")
        };
        let mut client = value["input"].clone();
        if let Some(items) = client.as_array_mut() {
            items.retain(|item| item["type"] != "reasoning");
        }
        let asked = texts(&client, &["text", "content", "output", "input", "arguments"]);
        let mut said = chat["messages"].clone();
        if value["instructions"].is_string() {
            said.as_array_mut().unwrap().remove(0);
        }
        let said = texts(&said, &["text", "content", "input", "arguments"]);
        // What the assistant says after its calls goes before them, so order is not kept there.
        let sorted = |text: &str| {
            let mut letters: Vec<char> = text.chars().filter(|c| *c != '\n').collect();
            letters.sort_unstable();
            letters
        };
        prop_assert_eq!(sorted(&said), sorted(&asked));
    }
}

/// The texts under these names, and those that stand for themselves.
fn collect(value: &Value, names: &[&str], found: &mut String) {
    match value {
        Value::String(text) => found.push_str(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, names, found)),
        Value::Object(members) => {
            for (name, value) in members {
                let named = names.contains(&name.as_str());
                let nested = matches!(name.as_str(), "tool_calls" | "function" | "custom");
                if named || (nested && !value.is_string()) {
                    collect(value, names, found);
                }
            }
        }
        _ => {}
    }
}
