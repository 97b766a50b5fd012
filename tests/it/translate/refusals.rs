//! What cannot be translated is refused by its name.

use rungate::domain::fault::{Code, Fault};
use serde_json::{Value, json};

use super::{chat, messages, to_chat, to_messages};

fn check(code: Code, param: &str, translated: Result<Value, Fault>) {
    let Err(fault) = translated else { panic!("{param} was translated") };
    assert_eq!((fault.code(), fault.param_name()), (code, Some(param)), "{fault:?}");
    assert!(fault.message().contains(&format!("`{param}`")), "{fault:?}");
}

/// A body whose only message of this role has these members.
fn said(role: &str, members: Value) -> Value {
    let first = json!({"role": "user", "content": "hi"});
    let message = super::with(json!({"role": role}), members);
    json!({"model": "m", "max_tokens": 9, "messages": [first, message, first]})
}

#[test]
fn a_chat_request_is_refused_by_the_name_of_what_has_no_counterpart() {
    let custom = json!({"type": "custom", "custom": {"name": "c"}});
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n"}});
    for (param, members) in [
        ("n", json!({"n": 2})),
        ("seed", json!({"seed": 0})),
        ("logprobs", json!({"logprobs": true})),
        ("top_logprobs", json!({"top_logprobs": 2})),
        ("logit_bias", json!({"logit_bias": {"1": 1}})),
        ("presence_penalty", json!({"presence_penalty": 0.1})),
        ("frequency_penalty", json!({"frequency_penalty": -1})),
        ("repetition_penalty", json!({"repetition_penalty": 1.1})),
        ("min_p", json!({"min_p": 0.1})),
        ("temperature", json!({"temperature": 1.5})),
        ("verbosity", json!({"verbosity": "low"})),
        ("reasoning_effort", json!({"reasoning_effort": "huge"})),
        ("response_format", json!({"response_format": {"type": "json_object"}})),
        ("response_format.type", json!({"response_format": {"type": "grammar"}})),
        ("tools[0].custom", json!({"tools": [custom]})),
        ("tool_choice.custom", json!({"tools": tools, "tool_choice": custom})),
        ("tool_choice.allowed_tools", json!({"tools": tools, "tool_choice": allowed})),
        ("tool_choice", json!({"tools": tools, "tool_choice": "perhaps"})),
        ("function_call", json!({"tools": tools, "tool_choice": "auto", "function_call": "auto"})),
        ("audio", json!({"audio": {"voice": "a"}})),
        ("made_up", json!({"made_up": 1})),
    ] {
        check(Code::ParameterNotAllowed, param, to_messages(&chat(members)));
    }
    let none = json!({"messages": [{"role": "system", "content": "x"}]});
    check(Code::ParameterNotAllowed, "messages", to_messages(&chat(none)));
    let lacking = "response_format.json_schema.schema";
    check(Code::InvalidRequest, lacking, to_messages(&chat(json!({"response_format": schema}))));
    check(Code::InvalidRequest, "max_tokens", to_messages(&chat(json!({"max_tokens": 0}))));
}

#[test]
fn a_chat_message_is_refused_by_the_name_of_what_has_no_counterpart() {
    let image = |detail: &str| {
        json!({"content": [{"type": "image_url",
            "image_url": {"url": "data:image/png;base64,AA", "detail": detail}}]})
    };
    let call = |members: Value| json!({"tool_calls": [members]});
    let given = |text: &str| call(json!({"id": "c", "function": {"name": "f", "arguments": text}}));
    let no = Code::ParameterNotAllowed;
    let arguments = "messages[1].tool_calls[0].function.arguments";
    for (code, param, role, members) in [
        (no, "messages[1].name", "user", json!({"name": "Ann", "content": "hi"})),
        (no, "messages[1].content[0].image_url.detail", "user", image("low")),
        (no, "messages[1].content[0]", "system", image("auto")),
        (no, "messages[1].content[0]", "assistant", image("auto")),
        (no, "messages[1].tool_calls[0].custom", "assistant", call(json!({"custom": {}}))),
        (no, arguments, "assistant", given("[1]")),
        (no, arguments, "assistant", given("{\"a\":1")),
        (no, arguments, "assistant", given("{\"a\":1,\"a\":2}")),
        (no, "messages[1]", "function", json!({"name": "f", "content": "x"})),
        (Code::InvalidRequest, "messages[1].tool_call_id", "tool", json!({"content": "x"})),
    ] {
        check(code, param, to_messages(&said(role, members)));
    }
}

#[test]
fn a_messages_request_is_refused_by_the_name_of_what_has_no_counterpart() {
    let tool = |members: Value| {
        let tool = json!({"name": "f", "input_schema": {"type": "object"}});
        json!({"tools": [super::with(tool, members)]})
    };
    for (param, members) in [
        ("max_tokens", json!({"max_tokens": 0})),
        ("thinking.type", json!({"thinking": {"type": "between_tools"}})),
        ("output_config.effort", json!({"output_config": {"effort": "huge"}})),
        ("output_config.task_budget", json!({"output_config": {"task_budget": {}}})),
        ("service_tier", json!({"service_tier": "priority"})),
        ("speed", json!({"speed": "fast"})),
        ("mcp_servers", json!({"mcp_servers": [{}]})),
        ("container", json!({"container": "c"})),
        ("context_management", json!({"context_management": {}})),
        ("inference_geo", json!({"inference_geo": "us"})),
        (
            "system[0].citations",
            json!({"system": [{"type": "text", "text": "x",
            "citations": [{}]}]}),
        ),
        ("tools[0].type", tool(json!({"type": "web_search_20250305"}))),
        ("tools[0].input_examples", tool(json!({"input_examples": [{}]}))),
        ("tools[0].defer_loading", tool(json!({"defer_loading": true}))),
        ("made_up", json!({"made_up": 1})),
    ] {
        check(Code::ParameterNotAllowed, param, to_chat(&messages(members)));
    }
}

#[test]
fn a_messages_block_is_refused_by_the_name_of_what_has_no_counterpart() {
    let kind = "messages[1].content[0].type";
    let url = json!({"type": "image", "source": {"type": "url", "url": "https://x"}});
    let document = json!({"type": "document", "source": {}});
    let inside = json!({"type": "tool_result", "tool_use_id": "t", "content": [document]});
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    for (param, role, block) in [
        (kind, "user", document),
        (kind, "user", call),
        (kind, "assistant", json!({"type": "server_tool_use", "id": "s"})),
        ("messages[1].content[0].source.url", "user", url),
        ("messages[1].content[0].content[0].type", "user", inside),
        (
            "messages[1].content[0].made_up",
            "user",
            json!({"type": "text", "text": "x",
            "made_up": 1}),
        ),
    ] {
        let body = said(role, json!({"content": [block]}));
        check(Code::ParameterNotAllowed, param, to_chat(&body));
    }
    // A chat cannot go on where an answer was begun for the model.
    let begun = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "{"}]);
    let translated = to_chat(&messages(json!({"messages": begun})));
    check(Code::ParameterNotAllowed, "messages[1].role", translated);
}
