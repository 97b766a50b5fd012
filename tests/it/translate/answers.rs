//! Whole answers.

use rungate::protocol::answer::AnswerFault;
use rungate::protocol::translate::{ChatClient, chat_answer_to_messages, messages_answer_to_chat};
use serde_json::{Value, json};

use super::{client, parse};

fn to_chat(answer: &Value) -> Value {
    parse(&messages_answer_to_chat(answer.to_string().as_bytes(), client()).unwrap())
}

fn to_messages(answer: &Value) -> Value {
    parse(&chat_answer_to_messages(answer.to_string().as_bytes()).unwrap())
}

/// An answer of Anthropic's; the usage is that of its guide to prompt caching.
fn message(content: Value, stop_reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": content, "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 21, "cache_creation_input_tokens": 188_086,
            "cache_read_input_tokens": 100, "output_tokens": 393, "service_tier": "standard",
            "output_tokens_details": {"thinking_tokens": 300}}})
}

#[test]
fn an_answer_of_anthropics_becomes_a_chat_completion() {
    let content = json!([
        {"type": "thinking", "thinking": "hm\n", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I \"read\""},
        {"type": "text", "text": " both."},
        {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a\nb"}},
        {"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}},
    ]);
    let function = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    assert_eq!(
        to_chat(&message(content, "tool_use")),
        json!({"id": "msg_1", "object": "chat.completion", "created": 1_760_000_000,
            "model": "claude-sonnet-4-5",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": "I \"read\" both.", "refusal": null,
                    "reasoning_content": "hm\n",
                    "tool_calls": [
                        {"id": "toolu_1", "type": "function",
                            "function": function("read", "{\"path\":\"a\\nb\"}")},
                        {"id": "toolu_2", "type": "function", "function": function("list", "{}")},
                    ]}}],
            "usage": {"prompt_tokens": 188_207, "completion_tokens": 393,
                "total_tokens": 188_600,
                "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 188_086},
                "completion_tokens_details": {"reasoning_tokens": 300}}})
    );
}

#[test]
fn a_client_of_legacy_functions_gets_a_function_call() {
    let content = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]);
    let answer = message(content, "tool_use").to_string();
    let legacy = ChatClient { legacy_functions: true, ..client() };
    let choice = &parse(&messages_answer_to_chat(answer.as_bytes(), legacy).unwrap())["choices"][0];
    assert_eq!(choice["finish_reason"], "function_call");
    let call = json!({"name": "f", "arguments": "{\"a\":1}"});
    let wanted =
        json!({"role": "assistant", "content": null, "refusal": null, "function_call": call});
    assert_eq!(choice["message"], wanted);
}

/// A chat completion; the usage is that of OpenAI's guide to prompt caching.
fn completion(message: Value, finish_reason: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5",
        "choices": [{"index": 0, "message": message, "logprobs": null,
            "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920},
            "completion_tokens_details": {"reasoning_tokens": 256}}})
}

#[test]
fn a_chat_completion_becomes_an_answer_of_anthropics() {
    let call = |id: &str, arguments: Value| {
        json!({"id": id, "type": "function",
            "function": {"name": "f", "arguments": arguments}})
    };
    let said = json!({"role": "assistant", "content": "Both.", "refusal": null,
        "reasoning_content": "hm", "annotations": [],
        "tool_calls": [call("call_1", json!(" {\"a\": 1.0}")), call("call_2", json!("")),
            call("", json!({"b": 2})), call("call_4", json!("{oops"))]});
    let used =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    assert_eq!(
        to_messages(&completion(said, json!("tool_calls"))),
        json!({"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt-5",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Both."},
                used("call_1", json!({"a": 1.0})),
                used("call_2", json!({})),
                used("tool_call_2", json!({"b": 2})),
                used("call_4", json!({"invalid_arguments": "{oops"})),
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 86, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 1920, "output_tokens": 300,
                "output_tokens_details": {"thinking_tokens": 256}}})
    );
}

#[test]
fn refusals_and_odd_endings_are_told_in_anthropics_words() {
    for (members, reason, wanted) in [
        (json!({"refusal": "No."}), json!("stop"), "refusal"),
        (json!({"content": "x"}), json!("stop"), "end_turn"),
        (json!({"content": "x"}), Value::Null, "end_turn"),
        (json!({"content": "x"}), json!("length"), "max_tokens"),
        (json!({"function_call": {"name": "f", "arguments": "{}"}}), json!("stop"), "tool_use"),
    ] {
        let answer = to_messages(&completion(members, reason));
        assert_eq!(answer["stop_reason"], wanted);
        assert_eq!(answer["content"].as_array().unwrap().len(), 1, "{answer}");
    }
}

#[test]
fn no_token_is_lost_or_counted_twice_there_and_back() {
    let there = completion(json!({"content": "x"}), json!("stop"));
    let mut back = to_chat(&to_messages(&there))["usage"].take();
    assert_eq!(back["prompt_tokens_details"]["cache_write_tokens"].take(), 0);
    back["prompt_tokens_details"].as_object_mut().unwrap().remove("cache_write_tokens");
    assert_eq!(back, there["usage"]);
}

#[test]
fn usage_that_adds_up_to_nothing_is_not_made_up() {
    let mut answer = message(json!([]), "end_turn");
    for usage in [
        json!({"input_tokens": -1, "output_tokens": 2}),
        json!({"output_tokens": 2}),
        json!({"input_tokens": u64::MAX, "output_tokens": 2}),
        json!(null),
    ] {
        answer["usage"] = usage;
        assert_eq!(to_chat(&answer).get("usage"), None);
    }
}

#[test]
fn what_is_no_answer_is_a_fault() {
    let error = br#"{"type":"error","error":{"type":"api_error","message":"no"}}"#;
    let Err(AnswerFault::Provider(said)) = messages_answer_to_chat(error, client()) else {
        panic!()
    };
    assert_eq!(said.message.as_deref(), Some("no"));
    let error = br#"{"error":{"message":"no"}}"#;
    let Err(AnswerFault::Provider(said)) = chat_answer_to_messages(error) else { panic!() };
    assert_eq!(said.message.as_deref(), Some("no"));
    for garbage in [&b"[]"[..], b"", b"{}", b"{\"choices\":[]}", b"{\"content\":1}", b"\xff"] {
        assert_eq!(messages_answer_to_chat(garbage, client()), Err(AnswerFault::Garbage));
        assert_eq!(chat_answer_to_messages(garbage), Err(AnswerFault::Garbage));
    }
}
