//! Generated bodies, and a writer of JSON that uses all of its freedom.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Any text, with what is hard about JSON in it.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z ,.]{0,12}",
        1 => Just("\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}".to_owned()),
        1 => Just("\\ud800 \\u".to_owned()),
        1 => Just("😀é中\u{2028}\u{feff}".to_owned()),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|n| json!(f64::from(n) / 8.0)),
        text().prop_map(Value::from),
    ]
}

pub(crate) fn free() -> impl Strategy<Value = Value> {
    let tree = scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(text(), tree, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
        ("[A-Za-z0-9+/]{1,40}={0,2}", prop::option::of("auto|low|high")).prop_map(
            |(data, detail)| {
                let url = format!("data:image/webp;base64,{data}");
                json!({"type": "image_url", "image_url": {"url": url, "detail": detail}})
            }
        ),
    ]
}

fn call() -> impl Strategy<Value = Value> {
    (text(), text(), text(), any::<bool>()).prop_map(|(id, name, input, custom)| {
        if custom {
            json!({"id": id, "type": "custom", "custom": {"name": name, "input": input}})
        } else {
            let function = json!({"name": name, "arguments": input});
            json!({"id": id, "type": "function", "index": 0, "function": function})
        }
    })
}

fn message() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        text().prop_map(Value::from),
        prop::collection::vec(part(), 0..4).prop_map(Value::from),
        Just(Value::Null),
    ];
    let calls = prop::option::of(prop::collection::vec(call(), 0..3));
    let names = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
    ("system|developer|user|assistant|tool|function", content, calls, names).prop_map(
        |(role, content, calls, (name, id, reasoning))| {
            json!({
                "role": role, "content": content, "tool_calls": calls, "name": name,
                "tool_call_id": id, "reasoning_content": reasoning,
                "audio": null, "annotations": [],
            })
        },
    )
}

fn tool() -> impl Strategy<Value = Value> {
    (text(), text(), free(), any::<bool>()).prop_map(|(name, about, schema, custom)| {
        if custom {
            let custom = json!({"name": name, "description": about, "format": schema});
            json!({"type": "custom", "custom": custom})
        } else {
            let function =
                json!({"name": name, "description": about, "parameters": schema, "strict": true});
            json!({"type": "function", "function": function})
        }
    })
}

/// A body that is accepted.
pub(crate) fn body() -> impl Strategy<Value = Value> {
    let head = (1u32..=16, prop::option::of(1u64..=2_147_483_647), any::<Option<i64>>());
    let lists = (
        prop::collection::vec(message(), 1..5),
        prop::option::of(prop::collection::vec(tool(), 0..3)),
        prop::collection::vec(text(), 0..4),
    );
    let rest = (free(), any::<bool>(), any::<bool>(), text());
    (head, lists, rest).prop_map(|((n, limit, seed), (messages, tools, stop), rest)| {
        let (format, stream, obfuscation, name) = rest;
        json!({
            "model": "gpt-4o-mini", "messages": messages, "tools": tools, "stop": stop, "n": n,
            "max_tokens": limit, "seed": seed, "temperature": 0.5, "top_p": 1, "logprobs": true,
            "response_format": format, "stream": stream, "user": name, "run_id": name,
            "stream_options": {"include_usage": stream, "include_obfuscation": obfuscation},
            "logit_bias": {"50256": -100, "1": 0.5}, "store": false, "service_tier": "auto",
            "metadata": {"run_id": name, "other": 1}, "modalities": ["text"],
            "tool_choice": {"type": "function", "function": {"name": name}}, "audio": null,
        })
    })
}

/// Writes JSON with white space, member order and escapes chosen by `seed`.
pub(crate) fn scramble(value: &Value, seed: u64) -> String {
    let mut writer = Scramble { out: String::new(), state: seed | 1 };
    writer.value(value);
    writer.out
}

struct Scramble {
    out: String,
    state: u64,
}

impl Scramble {
    fn roll(&mut self, sides: u64) -> u64 {
        // Xorshift: any bits will do.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % sides
    }

    fn space(&mut self) {
        let space = ["", "", "", " ", "\n", "\t\r\n "][self.roll(6) as usize];
        self.out.push_str(space);
    }

    fn value(&mut self, value: &Value) {
        self.space();
        match value {
            Value::String(text) => self.string(text),
            Value::Array(values) => self.list('[', values.iter().map(|value| (None, value)), ']'),
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let turn = self.roll(members.len().max(1) as u64) as usize;
                members.rotate_left(turn);
                self.list('{', members.into_iter().map(|(key, value)| (Some(key), value)), '}');
            }
            plain => self.out.push_str(&plain.to_string()),
        }
        self.space();
    }

    fn list<'v>(
        &mut self,
        open: char,
        items: impl Iterator<Item = (Option<&'v String>, &'v Value)>,
        close: char,
    ) {
        self.out.push(open);
        self.space();
        for (index, (key, value)) in items.enumerate() {
            if index > 0 {
                self.out.push(',');
                self.space();
            }
            if let Some(key) = key {
                self.string(key);
                self.space();
                self.out.push(':');
            }
            self.value(value);
        }
        self.out.push(close);
    }

    fn string(&mut self, text: &str) {
        let mut units = [0; 2];
        self.out.push('"');
        for c in text.chars() {
            if self.roll(16) == 0 {
                for unit in c.encode_utf16(&mut units) {
                    self.out.push_str(&format!("\\u{unit:04X}"));
                }
            } else {
                let plain = Value::from(c.to_string()).to_string();
                self.out.push_str(plain.get(1..plain.len() - 1).unwrap());
            }
        }
        self.out.push('"');
    }
}

/// What of a body is meant to reach the provider: nulls are absent, save a message's content.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(without_nulls).collect(),
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, value)| !value.is_null() || *key == "content");
            let kept = kept.filter(|(key, _)| !matches!(key.as_str(), "audio" | "annotations"));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        plain => plain.clone(),
    }
}
