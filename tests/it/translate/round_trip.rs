//! From chat to messages and back: who said what, and which tools were called with what.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{to_chat, to_messages};

/// Texts are never blank: those are left out.
fn text() -> impl Strategy<Value = String> {
    ("[a-z]{1,4}", any::<String>()).prop_map(|(begin, rest)| begin + &rest)
}

fn arguments() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<Option<bool>>().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
    ];
    prop::collection::btree_map(text(), value, 0..4).prop_map(|map| json!(map).to_string())
}

fn content() -> impl Strategy<Value = Value> {
    let part = prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        "[A-Za-z0-9+/]{4,8}".prop_map(|data| {
            let url = format!("data:image/webp;base64,{data}");
            json!({"type": "image_url", "image_url": {"url": url}})
        }),
    ];
    prop_oneof![text().prop_map(Value::from), prop::collection::vec(part, 1..4).prop_map(json_list)]
}

fn json_list(parts: Vec<Value>) -> Value {
    Value::from(parts)
}

/// What the system says, then turns of a user, an assistant that may call, and results.
fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let call = ("[a-z]{1,8}", arguments(), text());
    let calls = prop::collection::vec(call, 0..3);
    let turn = (content(), prop::option::of(text()), calls);
    let turns = prop::collection::vec(turn, 1..4);
    (prop::collection::vec(text(), 0..3), turns, content()).prop_map(|(system, turns, last)| {
        let mut messages: Vec<Value> =
            system.iter().map(|text| json!({"role": "system", "content": text})).collect();
        let mut number = 0;
        for (asked, said, calls) in turns {
            messages.push(json!({"role": "user", "content": asked}));
            let said = if calls.is_empty() { said.or(Some("ok".to_owned())) } else { said };
            let mut answer = json!({"role": "assistant", "content": said});
            let mut results = Vec::new();
            for (name, arguments, result) in calls {
                number += 1;
                let id = format!("call_{number}");
                let function = json!({"name": name, "arguments": arguments});
                let call = json!({"id": id, "type": "function", "function": function});
                match answer["tool_calls"].as_array_mut() {
                    Some(calls) => calls.push(call),
                    None => answer["tool_calls"] = json!([call]),
                }
                results.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            }
            messages.push(answer);
            messages.extend(results);
        }
        messages.push(json!({"role": "user", "content": last}));
        messages
    })
}

/// Everything that was said or called, in its order, with who did it.
fn flat(body: &Value) -> Vec<Value> {
    let mut said = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        let (who, id) = (&message["role"], &message["tool_call_id"]);
        match &message["content"] {
            Value::Array(parts) => said.extend(parts.iter().map(|part| json!([who, id, part]))),
            Value::Null => {}
            text => said.push(json!([who, id, {"type": "text", "text": text}])),
        }
        let calls = message["tool_calls"].as_array();
        said.extend(calls.into_iter().flatten().map(|call| json!([who, id, call])));
    }
    said
}

proptest! {
    #[test]
    fn a_conversation_comes_back_as_it_was(messages in conversation()) {
        let there = json!({"model": "m", "messages": messages, "max_tokens": 5});
        let back = to_chat(&to_messages(&there).unwrap()).unwrap();
        prop_assert_eq!(flat(&back), flat(&there));
    }

    #[test]
    fn whatever_chat_accepts_becomes_a_body_that_is_known_or_is_refused_by_name(
        body in crate::protocol::generate::body(),
    ) {
        if let Err(fault) = to_messages(&body) {
            prop_assert!(fault.param_name().is_some(), "{:?}", fault);
        }
    }
}
