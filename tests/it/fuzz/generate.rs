//! Bodies as clients write them: of messages, embeddings, Ridges, and chats that can be translated.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::protocol::generate::{free, text};

fn mark() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(Value::Null),
        1 => Just(json!({"type": "ephemeral"})),
        1 => Just(json!({"type": "ephemeral", "ttl": "1h"})),
    ]
}

fn said() -> impl Strategy<Value = Value> {
    (text(), mark())
        .prop_map(|(text, mark)| json!({"type": "text", "text": text, "cache_control": mark}))
}

fn image() -> impl Strategy<Value = Value> {
    "[A-Za-z0-9+/]{4,40}".prop_map(|data| {
        let source = json!({"type": "base64", "media_type": "image/png", "data": data});
        json!({"type": "image", "source": source})
    })
}

fn of_user() -> impl Strategy<Value = Value> {
    let result = (text(), text(), any::<bool>()).prop_map(|(id, text, failed)| {
        json!({"type": "tool_result", "tool_use_id": id, "is_error": failed,
            "content": [{"type": "text", "text": text}]})
    });
    prop_oneof![4 => said(), 1 => image(), 2 => result]
}

fn of_assistant() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => said(),
        2 => (text(), text(), free()).prop_map(|(id, name, input)| {
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }),
        1 => (text(), "[A-Za-z0-9]{0,20}").prop_map(|(text, signature)| {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }),
    ]
}

fn turn() -> impl Strategy<Value = Value> {
    let turn = |role: &'static str| move |content: Value| json!({"role": role, "content": content});
    let list = |blocks: Vec<Value>| Value::from(blocks);
    prop_oneof![
        2 => text().prop_map(Value::from).prop_map(turn("user")),
        2 => prop::collection::vec(of_user(), 0..4).prop_map(list).prop_map(turn("user")),
        1 => text().prop_map(Value::from).prop_map(turn("assistant")),
        2 => prop::collection::vec(of_assistant(), 0..4).prop_map(list).prop_map(turn("assistant")),
    ]
}

/// A body of Anthropic's messages.
pub(super) fn messages() -> impl Strategy<Value = Value> {
    let tool = (text(), text(), free()).prop_map(
        |(name, about, schema)| json!({"name": name, "description": about, "input_schema": schema}),
    );
    let head = (prop::collection::vec(turn(), 1..6), 1_u64..=2_147_483_647, any::<bool>());
    let system = prop_oneof![
        Just(Value::Null),
        text().prop_map(Value::from),
        prop::collection::vec(said(), 0..3).prop_map(Value::from),
    ];
    (head, system, prop::collection::vec(tool, 0..3), text()).prop_map(
        |((turns, limit, stream), system, tools, stop)| {
            json!({
                "model": "claude-haiku-4-5", "max_tokens": limit, "stream": stream,
                "messages": turns, "system": system, "tools": tools, "temperature": 0.5,
                "stop_sequences": [stop], "metadata": {"user_id": "u"},
            })
        },
    )
}

/// A body of embeddings.
pub(super) fn embeddings() -> impl Strategy<Value = Value> {
    let ids = || prop::collection::vec(0..200_000_u32, 1..9);
    let input = prop_oneof![
        text().prop_map(Value::from),
        prop::collection::vec(text(), 0..5).prop_map(Value::from),
        ids().prop_map(Value::from),
        prop::collection::vec(ids(), 1..4).prop_map(Value::from),
    ];
    (input, prop::option::of(1_u32..5_000), any::<bool>()).prop_map(|(input, size, floats)| {
        let format = if floats { "float" } else { "base64" };
        json!({"model": "text-embedding-3-small", "input": input, "dimensions": size,
            "encoding_format": format})
    })
}

/// A body of either endpoint of Ridges' gateway.
pub(super) fn ridges() -> impl Strategy<Value = Value> {
    let message = ("system|user|assistant|tool", text())
        .prop_map(|(role, content)| json!({"role": role, "content": content}));
    let parameter = ("array|boolean|integer|number|object|string", text(), text()).prop_map(
        |(kind, name, about)| {
            json!({"type": kind, "name": name, "description": about, "required": name.len() > 3})
        },
    );
    let tool = (text(), text(), prop::collection::vec(parameter, 0..3)).prop_map(
        |(name, about, parameters)| {
            json!({"name": name, "description": about, "parameters": parameters})
        },
    );
    let run = "11111111-2222-4333-8444-555555555555";
    let chat = (
        prop::collection::vec(message, 0..5),
        prop::option::of(prop::collection::vec(tool, 0..3)),
        prop::option::of("none|auto|required"),
    );
    prop_oneof![
        3 => chat.prop_map(move |(messages, tools, mode)| {
            json!({"evaluation_run_id": run, "model": "gpt-4o-mini", "temperature": 0.5,
                "messages": messages, "tools": tools, "tool_mode": mode})
        }),
        1 => text().prop_map(move |input| {
            json!({"run_id": run, "model": "text-embedding-3-small", "input": input})
        }),
    ]
}

/// A body of chat completions of what messages can say too.
pub(super) fn chat() -> impl Strategy<Value = Value> {
    let turn = |role: &'static str| move |content: Value| json!({"role": role, "content": content});
    let part = prop_oneof![
        3 => text().prop_map(|text| json!({"type": "text", "text": text})),
        1 => "[A-Za-z0-9+/]{4,40}".prop_map(|data| {
            let url = format!("data:image/png;base64,{data}");
            json!({"type": "image_url", "image_url": {"url": url}})
        }),
    ];
    let call = (text(), text(), free()).prop_map(|(id, name, arguments)| {
        let function = json!({"name": name, "arguments": arguments.to_string()});
        json!({"id": id, "type": "function", "function": function})
    });
    let message = prop_oneof![
        1 => text().prop_map(Value::from).prop_map(turn("system")),
        3 => text().prop_map(Value::from).prop_map(turn("user")),
        2 => prop::collection::vec(part, 0..4).prop_map(Value::from).prop_map(turn("user")),
        2 => (text(), prop::collection::vec(call, 0..3)).prop_map(|(text, calls)| {
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }),
        1 => (text(), text()).prop_map(|(id, text)| {
            json!({"role": "tool", "tool_call_id": id, "content": text})
        }),
    ];
    let tool = (text(), text(), free()).prop_map(|(name, about, schema)| {
        let function = json!({"name": name, "description": about, "parameters": schema});
        json!({"type": "function", "function": function})
    });
    let head = (prop::collection::vec(message, 1..6), prop::option::of(1_u64..=2_147_483_647));
    (head, prop::collection::vec(tool, 0..3), text(), any::<bool>()).prop_map(
        |((messages, limit), tools, stop, stream)| {
            json!({
                "model": "claude-haiku-4-5", "messages": messages, "tools": tools, "stop": stop,
                "max_tokens": limit, "stream": stream, "usage": {"include": stream},
            })
        },
    )
}
