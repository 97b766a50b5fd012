//! Generated bodies.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::protocol::generate::{free, text};

/// Members that are checked and never sent.
const LEFT_OUT: [&str; 4] = ["id", "caller", "annotations", "logprobs"];

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({"type": "input_text", "text": text})),
        text().prop_map(|text| json!({
            "type": "output_text", "text": text, "annotations": [{"a": 1}], "logprobs": [],
        })),
        ("[A-Za-z0-9+/]{1,40}={0,2}", prop::option::of("auto|low|high")).prop_map(
            |(data, detail)| {
                let url = format!("data:image/webp;base64,{data}");
                json!({"type": "input_image", "image_url": url, "detail": detail})
            }
        ),
    ]
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        prop::collection::vec(part(), 0..4).prop_map(Value::from),
    ]
}

fn words() -> impl Strategy<Value = Value> {
    let said = prop_oneof![
        text().prop_map(|text| json!({"type": "output_text", "text": text})),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
    ];
    prop::collection::vec(said, 0..3).prop_map(Value::from)
}

fn item() -> impl Strategy<Value = Value> {
    let id = || prop::option::of("rs_[a-z]{4}");
    prop_oneof![
        3 => ("user", content()).prop_map(|(role, content)| json!({"role": role, "content": content})),
        1 => ("system|developer", text(), id()).prop_map(|(role, text, id)| json!({
            "type": "message", "role": role, "id": id,
            "content": [{"type": "input_text", "text": text}],
        })),
        2 => (words(), id()).prop_map(|(content, id)| json!({
            "type": "message", "role": "assistant", "id": id, "content": content,
            "status": "completed",
        })),
        2 => (text(), text(), text(), id()).prop_map(|(call, name, arguments, id)| json!({
            "type": "function_call", "call_id": call, "name": name, "arguments": arguments,
            "id": id, "caller": {"type": "direct"}, "status": "completed",
        })),
        1 => (text(), text(), text()).prop_map(|(call, name, input)| json!({
            "type": "custom_tool_call", "call_id": call, "name": name, "input": input,
        })),
        2 => (text(), text()).prop_map(|(call, output)| json!({
            "type": "function_call_output", "call_id": call, "output": output,
        })),
        1 => (text(), text()).prop_map(|(call, text)| json!({
            "type": "custom_tool_call_output", "call_id": call,
            "output": [{"type": "input_text", "text": text}],
        })),
        1 => (text(), prop::option::of("[A-Za-z0-9]{0,40}"), id()).prop_map(|(text, secret, id)| {
            json!({
                "type": "reasoning", "id": id, "encrypted_content": secret,
                "summary": [{"type": "summary_text", "text": text}],
            })
        }),
    ]
}

fn tool() -> impl Strategy<Value = Value> {
    (text(), text(), free(), any::<bool>()).prop_map(|(name, about, schema, custom)| {
        if custom {
            let format = json!({"type": "grammar", "syntax": "lark", "definition": about});
            json!({"type": "custom", "name": name, "description": about, "format": format})
        } else {
            json!({
                "type": "function", "name": name, "description": about, "parameters": schema,
                "strict": true,
            })
        }
    })
}

/// A body that is accepted, and that chat completions can say too.
pub(crate) fn body() -> impl Strategy<Value = Value> {
    let input = prop_oneof![
        1 => text().prop_map(Value::from),
        4 => prop::collection::vec(item(), 1..8).prop_map(Value::from),
    ];
    let head = (input, prop::option::of(text()), prop::option::of(1u64..=2_147_483_647));
    let lists = prop::option::of(prop::collection::vec(tool(), 0..3));
    let rest = (free(), any::<bool>(), text());
    (head, lists, rest).prop_map(|((input, instructions, limit), tools, (schema, stream, name))| {
        json!({
            "model": "gpt-5-mini", "input": input, "instructions": instructions, "tools": tools,
            "max_output_tokens": limit, "stream": stream, "temperature": 0.5, "top_p": 1,
            "text": {"format": {"type": "json_schema", "name": name, "schema": schema}},
            "reasoning": {"effort": "low", "summary": "auto"}, "parallel_tool_calls": true,
            "tool_choice": "auto", "store": false, "background": false, "user": name,
            "metadata": {"run_id": "r", "other": 1}, "prompt_cache_key": name,
            "include": ["reasoning.encrypted_content"], "truncation": "disabled", "prompt": null,
        })
    })
}

/// What of a body is meant to reach the provider.
pub(super) fn sent_of(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(sent_of).collect(),
        Value::Object(members) => {
            let free = |key: &str| matches!(key, "schema" | "parameters" | "format");
            let contents = |key: &str| matches!(key, "content" | "output" | "input");
            let kept = members.iter().filter(|(key, value)| {
                (!value.is_null() || contents(key)) && !LEFT_OUT.contains(&key.as_str())
            });
            let sent = kept.map(|(key, value)| {
                let sent = if free(key) { value.clone() } else { sent_of(value) };
                (key.clone(), sent)
            });
            Value::Object(sent.collect())
        }
        plain => plain.clone(),
    }
}
