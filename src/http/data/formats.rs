//! How requests and answers of the formats besides chat look, for the document.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::http::openapi::{CALL_HEADERS, COUNT_HEADERS, EVENT_STREAM, MESSAGE_HEADERS, SCHEMAS};
use crate::http::route::{Answer, Content};
use crate::protocol::format::Format;
use crate::protocol::messages::count;
use crate::protocol::request::schema;
use crate::protocol::ridges;

/// A request, as its table of fields says it.
fn request(schemas: &mut SchemaGenerator, format: Format) -> Value {
    let table = format.table();
    schemas.definitions_mut().extend(schema::schemas(table, SCHEMAS));
    json!({"$ref": format!("{SCHEMAS}{}", table.name)})
}

pub(super) fn embedding_request(schemas: &mut SchemaGenerator) -> Value {
    request(schemas, Format::Embeddings)
}

pub(super) fn messages_request(schemas: &mut SchemaGenerator) -> Value {
    request(schemas, Format::Messages)
}

/// As the table of what is counted says it.
pub(super) fn count_request(schemas: &mut SchemaGenerator) -> Value {
    let table = &count::TABLE;
    schemas.definitions_mut().extend(schema::schemas(table, SCHEMAS));
    json!({"$ref": format!("{SCHEMAS}{}", table.name)})
}

pub(super) fn responses_request(schemas: &mut SchemaGenerator) -> Value {
    request(schemas, Format::Responses)
}

/// What every provider's answer has; the rest is each one's own.
fn embedding_list(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object", "required": ["data"], "properties": {
        "object": {"type": "string"},
        "data": {"type": "array", "items": {"type": "object"}},
        "model": {"type": "string"},
        "usage": {"type": ["object", "null"]},
    }})
}

fn vectors(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object", "required": ["embeddings", "model", "usage"], "properties": {
        "embeddings": {"type": "array", "items": {"type": ["array", "string"]}},
        "model": {"type": ["string", "null"]},
        "usage": {"type": "object", "properties": {"total_tokens": {"type": ["integer", "null"]}}},
    }})
}

pub(super) const MESSAGE: Answer = Answer {
    headers: MESSAGE_HEADERS,
    ..answer("Anthropic's message; with `stream: true` as events.", message)
};
pub(super) const TOKEN_COUNT: Answer = Answer {
    headers: COUNT_HEADERS,
    ..whole("The count.", |schemas| count::schema(schemas).to_value())
};
pub(super) const RESPONSE: Answer =
    answer("OpenAI's response; with `stream: true` as events.", response);

pub(super) const EMBEDDINGS: Answer = whole("The provider's answer.", embedding_list);
pub(super) const VECTORS: Answer = whole("The vectors, in the order of the inputs.", vectors);

const fn whole(about: &'static str, schema: fn(&mut SchemaGenerator) -> Value) -> Answer {
    let json = Content { kind: "application/json", schema, example: None };
    Answer { status: 200, about, headers: CALL_HEADERS, content: [Some(json), None] }
}

const fn answer(about: &'static str, schema: fn(&mut SchemaGenerator) -> Value) -> Answer {
    Answer {
        status: 200,
        about,
        headers: CALL_HEADERS,
        content: [
            Some(Content { kind: "application/json", schema, example: None }),
            Some(Content {
                kind: EVENT_STREAM,
                schema: |_| json!({"type": "string"}),
                example: None,
            }),
        ],
    }
}

fn message(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object", "required": ["content"], "properties": {
        "id": {"type": "string"},
        "model": {"type": "string"},
        "content": {"type": "array", "items": {"type": "object"}},
        "stop_reason": {"type": ["string", "null"]},
        "usage": {"type": ["object", "null"]},
    }})
}

fn response(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object", "required": ["output"], "properties": {
        "id": {"type": "string"},
        "model": {"type": "string"},
        "status": {"type": "string"},
        "output": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": ["object", "null"]},
    }})
}

/// The tool calls of an answer are in the shape of its tools: a flat list.
fn ridges_answer(_: &mut SchemaGenerator) -> Value {
    let argument = json!({
        "type": "object",
        "required": ["name", "value"],
        "properties": {"name": {"type": "string"}, "value": {}},
    });
    let call = json!({"type": "object", "required": ["name", "arguments"], "properties": {
        "name": {"type": "string"},
        "arguments": {"type": "array", "items": argument},
    }});
    json!({"oneOf": [
        {"type": "object", "required": ["content", "tool_calls"], "properties": {
            "content": {"type": "string"},
            "tool_calls": {"type": "array", "items": call},
        }},
        {"type": "string"},
    ]})
}

fn ridges_vector(_: &mut SchemaGenerator) -> Value {
    let vector = json!({"type": "array", "items": {"type": "number"}});
    json!({"oneOf": [
        {"type": "object", "required": ["embedding"], "properties": {"embedding": vector}},
        vector,
    ]})
}

pub(super) const RIDGES_ANSWER: Answer =
    whole("An object or, to a body with `run_id` alone, its content.", ridges_answer);
pub(super) const RIDGES_VECTOR: Answer =
    whole("An object or, to a body with `run_id` alone, its vector.", ridges_vector);

pub(super) fn ridges_inference(_: &mut SchemaGenerator) -> Value {
    ridges::inference_schema()
}

pub(super) fn ridges_embedding(_: &mut SchemaGenerator) -> Value {
    ridges::embedding_schema()
}

const EXAMPLE_RUN: &str = "11111111-2222-4333-8444-555555555555";

pub(super) fn ridges_inference_example() -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"evaluation_run_id": EXAMPLE_RUN, "model": "gpt-4o-mini", "messages": messages})
}

pub(super) fn ridges_embedding_example() -> Value {
    json!({"evaluation_run_id": EXAMPLE_RUN, "input": "Hello"})
}

pub(super) fn embedding_example() -> Value {
    json!({"model": "text-embedding-3-small", "input": ["Hello"], "dimensions": 8})
}

pub(super) fn messages_example() -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": "claude-sonnet-4-5", "messages": messages, "max_tokens": 100})
}

pub(super) fn count_example() -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": "claude-sonnet-4-5", "messages": messages})
}

pub(super) fn responses_example() -> Value {
    json!({"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 100})
}
