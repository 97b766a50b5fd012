//! The bound of a prompt against the vocabularies that are published.

use bytes::Bytes;
use rungate::catalog::tokenizer::Tokenizer;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use serde_json::{Value, json};

/// Texts of which every byte may be a token.
fn dense() -> Vec<String> {
    let all: String = ('\u{1}'..='\u{10ffff}').step_by(997).collect();
    vec![
        "\u{1}\u{2}\u{3}\u{7f}".repeat(50),
        "😀🏴󠁧󠁢󠁥󠁮󠁧󠁿👨‍👩‍👧‍👦".repeat(20),
        "ﷺ𒐫꧅⸻".repeat(20),
        "e\u{301}\u{302}\u{303}".repeat(40),
        "\u{202e}\u{200b}\u{feff}\u{fffd}".repeat(20),
        "中文日本語한국어ไทยעברית".repeat(10),
        "<|endoftext|><|im_start|>system<|im_sep|>".repeat(10),
        "a b\tc\nd\r\ne".repeat(30),
        "{\"a\":[[[[{}]]]]}".repeat(20),
        "zqxjkvbpzqxjkvbp9187364502".repeat(10),
        all,
    ]
}

/// Every text of a value, keys and numbers included, as a template might write them.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.push(key.clone());
            texts(value, found);
        }),
        plain => found.push(plain.to_string()),
    }
}

/// Threat 5.
#[test]
fn no_text_is_more_tokens_than_it_was_bounded_by() {
    for text in dense() {
        let parts = json!([{"type": "text", "text": text}, {"type": "text", "text": text}]);
        let schema = json!({"type": "object", "description": text, "required": [text, "a"],
            "properties": {&text: {"enum": [text, 1, -2.5, null, true]}, "a": {"const": text}}});
        let function = json!({"name": "f", "description": text, "parameters": schema});
        let called = json!({"id": text, "type": "function",
            "function": {"name": "f", "arguments": text}});
        let tools = json!([{"type": "function", "function": function}]);
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        for (counted, body) in [
            (json!([text]), json!({"messages": [{"role": "user", "content": text}]})),
            (json!([text, text]), json!({"messages": [{"role": "user", "content": parts}]})),
            (
                json!([text, text, called["function"]]),
                json!({"messages": [{"role": "assistant", "tool_calls": [called], "name": text}]}),
            ),
            (tools.clone(), json!({"messages": [{"role": "user"}], "tools": tools})),
            (schema.clone(), json!({"messages": [{"role": "user"}], "response_format": format})),
        ] {
            check(&counted, body);
        }
    }
}

/// That what is counted of a body, by any vocabulary, is within the bound of the whole, and that
/// the finer count is neither above the bound nor below what its texts surely are.
fn check(counted: &Value, mut body: Value) {
    body["model"] = json!("m");
    let written = body.to_string();
    // As few bytes as JSON can be written in: nothing is escaped that need not be.
    let request = Request::parse(Format::Chat, Bytes::from(written.clone())).unwrap();
    let mut all = Vec::new();
    texts(counted, &mut all);
    for tokenizer in [Tokenizer::O200k, Tokenizer::Cl100k] {
        let tokens: u64 = all.iter().map(|text| tokenizer.count(text)).sum();
        let bound = request.text_bytes;
        assert!(Tokens::new(tokens) <= bound, "{tokenizer:?}: {tokens} > {bound} for {written}");
        let fine = request.count_text(|text| tokenizer.count(text));
        assert!(fine <= bound, "{tokenizer:?}: {fine} > {bound}");
        assert!(fine >= Tokens::new(tokens), "{tokenizer:?}: {fine} < {tokens} for {written}");
    }
}
