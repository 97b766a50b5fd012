//! Messages requests as chat requests.

use serde_json::{Value, json};

use super::{messages, to_chat};

fn check(given: Value, wanted: Value) {
    assert_eq!(to_chat(&given).unwrap_or_else(|fault| panic!("{fault:?}")), wanted);
}

/// What a member becomes, beside the model, the limit and the one message.
fn becomes(members: Value, wanted: Value) {
    let mut translated = to_chat(&messages(members.clone())).unwrap();
    let object = translated.as_object_mut().unwrap();
    for name in ["model", "messages", "max_tokens"] {
        object.remove(name).unwrap();
    }
    assert_eq!(translated, wanted, "{members}");
}

#[test]
fn a_conversation_with_everything_keeps_its_meaning() {
    let cached = json!({"type": "ephemeral"});
    let image = json!({"type": "image", "cache_control": cached, "source":
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}});
    let shown = json!({"type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0="}});
    let text = |text: &str| json!({"type": "text", "text": text});
    check(
        json!({"model": "gpt-5", "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
        "messages": [
            {"role": "user", "content": [text("Look:"), image]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "I read.", "citations": null},
                {"type": "tool_use", "id": "toolu_1", "name": "read",
                    "input": {"path": "a"}, "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true,
                    "content": "gone"},
                {"type": "tool_result", "tool_use_id": "toolu_2",
                    "content": [text("one"), image, text("two")]},
                text("And?"),
            ]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm",
                "signature": "s"}]},
            {"role": "system", "content": "Hurry."},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_3"}]},
        ]}),
        json!({"model": "gpt-5", "max_tokens": 100, "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [text("Look:"), shown]},
            {"role": "assistant", "content": "I read.", "tool_calls": [
                {"id": "toolu_1", "type": "function",
                    "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}},
                {"id": "toolu_2", "type": "function",
                    "function": {"name": "list", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: gone"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": [text("one"), text("two")]},
            {"role": "user", "content":
                [text("Image in the result of tool call toolu_2:"), shown, text("And?")]},
            {"role": "system", "content": "Hurry."},
            {"role": "tool", "tool_call_id": "toolu_3", "content": ""},
        ]}),
    );
}

#[test]
fn each_parameter_becomes_its_counterpart() {
    let tools = json!([{"type": "custom", "name": "f", "description": "d", "strict": true,
        "cache_control": {"type": "ephemeral"}, "eager_input_streaming": true,
        "input_schema": {"type": "object"}}]);
    let function = json!({"name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object"}});
    let tool = json!({"type": "function", "function": function});
    for (choice, wanted) in [
        (json!({"type": "auto"}), json!("auto")),
        (json!({"type": "none"}), json!("none")),
        (json!({"type": "any"}), json!("required")),
        (
            json!({"type": "tool", "name": "f"}),
            json!({"type": "function", "function": {"name": "f"}}),
        ),
    ] {
        becomes(
            json!({"tools": tools, "tool_choice": choice}),
            json!({"tools": [tool], "tool_choice": wanted}),
        );
    }
    becomes(
        json!({"tools": tools,
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        json!({"tools": [tool], "tool_choice": "auto", "parallel_tool_calls": false}),
    );
    becomes(json!({"tool_choice": {"type": "auto"}}), json!({}));
    becomes(json!({"stop_sequences": ["a", "b"]}), json!({"stop": ["a", "b"]}));
    becomes(json!({"stop_sequences": []}), json!({}));
    becomes(
        json!({"temperature": 0.5, "top_p": 0.9, "top_k": 40}),
        json!({"temperature": 0.5, "top_p": 0.9, "top_k": 40}),
    );
    let schema = json!({"type": "object"});
    becomes(
        json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        json!({"response_format": {"type": "json_schema",
            "json_schema": {"name": "answer", "strict": true, "schema": schema}}}),
    );
}

#[test]
fn thinking_becomes_an_effort_by_its_budget() {
    for (budget, word) in
        [(1024, "low"), (4095, "low"), (4096, "medium"), (16_383, "medium"), (16_384, "high")]
    {
        becomes(
            json!({"thinking": {"type": "enabled", "budget_tokens": budget}}),
            json!({"reasoning_effort": word}),
        );
    }
    becomes(json!({"thinking": {"type": "disabled"}}), json!({}));
    becomes(json!({"thinking": {"type": "adaptive", "display": "omitted"}}), json!({}));
    for word in ["low", "medium", "high", "xhigh", "max"] {
        becomes(
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024},
                "output_config": {"effort": word}}),
            json!({"reasoning_effort": word}),
        );
    }
}

#[test]
fn what_is_neutral_or_the_gateways_is_left_out() {
    becomes(
        json!({"metadata": {"user_id": "u"}, "service_tier": "standard_only", "speed": "standard",
            "cache_control": {"type": "ephemeral"}, "mcp_servers": [], "container": null,
            "run_id": "x", "evaluation_run_id": "x"}),
        json!({}),
    );
}
