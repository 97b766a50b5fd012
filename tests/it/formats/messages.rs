//! Anthropic's messages: requests.

use rungate::domain::price::Caching;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format::Messages;
use serde_json::{Value, json};

use super::{accept, and, parse, refusal, upstream};

fn body() -> Value {
    json!({"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
}

fn with(members: Value) -> Value {
    and(body(), members)
}

fn block(block: Value) -> Value {
    with(json!({"messages": [{"role": "user", "content": [block]}]}))
}

/// What an agent sends in the middle of its work: every kind of block.
fn conversation() -> Value {
    let png = "iVBORw0KGgo=";
    let image = json!({"type": "base64", "media_type": "image/png", "data": png});
    json!({
        "model": "m",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"}, {"type": "image", "source": image},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": [1, 2]}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": [
                    {"type": "text", "text": "a cat"}, {"type": "image", "source": image},
                ]},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"},
            ]},
        ],
        "tools": [{"name": "look", "description": "Looks.", "strict": true,
            "input_schema": {"type": "object", "properties": {"at": {"type": "array"}}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "stop_sequences": ["END"],
        "temperature": 1,
        "top_k": 5,
        "stream": true,
    })
}

#[test]
fn an_agents_conversation_passes_with_the_gateways_fields() {
    let mut expected = conversation();
    for (name, value) in [
        ("model", json!("up/m")),
        ("max_tokens", json!(100)),
        ("service_tier", json!("standard_only")),
    ] {
        expected[name] = value;
    }
    assert_eq!(upstream(Messages, &conversation(), "anthropic"), expected);

    let request = accept(Messages, &conversation());
    assert_eq!((request.shape.messages, request.shape.tools, request.shape.images), (3, 1, 2));
    assert_eq!(request.asked_output, Some(Tokens::new(4096)));
    assert_eq!(request.thinking, Some(Tokens::new(2048)));
    assert!(request.stream);
}

#[test]
fn every_text_that_a_model_reads_is_counted() {
    let request = accept(Messages, &conversation());
    let counted = std::cell::RefCell::new(String::new());
    request.count_text(|text| {
        counted.borrow_mut().push_str(text);
        0
    });
    let counted = counted.into_inner();
    for text in [
        "Be brief.",
        "What is this?",
        "Let me see.",
        "c2ln",
        "cmVk",
        "I look.",
        "toolu_1",
        "look",
        "[1,2]",
        "a cat",
        "done",
        "Looks.",
        "\"array\"",
    ] {
        assert!(counted.contains(text), "{text} is not in {counted}");
    }
    assert!(!counted.contains("iVBOR"), "an image is no text");
}

#[test]
fn marks_say_what_may_be_written_to_a_cache() {
    let caching = |body: &Value| accept(Messages, body).caching;
    let mark = |ttl: Value| json!({"type": "text", "text": "x", "cache_control": ttl});
    assert_eq!(caching(&body()), Caching::None);
    assert_eq!(caching(&conversation()), Caching::Short);
    assert_eq!(caching(&block(mark(json!({"type": "ephemeral"})))), Caching::Short);
    assert_eq!(caching(&block(mark(json!({"type": "ephemeral", "ttl": "5m"})))), Caching::Short);
    assert_eq!(caching(&block(mark(json!({"ttl": "1h", "type": "ephemeral"})))), Caching::Long);
    let both = with(json!({
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "system": [mark(json!({"type": "ephemeral"}))],
    }));
    assert_eq!(caching(&both), Caching::Long);
}

#[test]
fn what_reaches_outside_or_has_no_price_is_refused_by_name() {
    let no = |body: Value, param: &str| {
        assert_eq!(refusal(Messages, &body), ("parameter_not_allowed", param.to_owned()), "{body}");
    };
    for name in [
        "container",
        "context_management",
        "mcp_servers",
        "inference_geo",
        "speed",
        "output_format",
        "n",
        "api_key",
        "base_url",
        "whatever",
    ] {
        no(with(json!({name: {"x": 1}})), name);
    }
    for tool in [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250825",
        "computer_20250124",
        "bash_20250124",
        "text_editor_20250728",
        "memory_20250818",
        "mcp_toolset",
        "tool_search_tool_regex_20251119",
    ] {
        no(with(json!({"tools": [{"type": tool, "name": "t"}]})), "tools[0].type");
    }
    let at = "messages[0].content[0].type";
    for kind in [
        "document",
        "search_result",
        "server_tool_use",
        "web_search_tool_result",
        "mcp_tool_use",
        "container_upload",
        "code_execution_tool_result",
        "tool_reference",
    ] {
        no(block(json!({"type": kind})), at);
    }
    for source in ["url", "file", "content"] {
        let image = json!({"type": "image", "source": {"type": source, "url": "http://x/"}});
        // The unknown member may come first.
        let (code, param) = refusal(Messages, &block(image));
        assert_eq!(code, "parameter_not_allowed");
        assert!(param.starts_with("messages[0].content[0].source."), "{param}");
    }
    let nested = json!({"type": "tool_result", "tool_use_id": "t", "content": [
        {"type": "document", "source": {"type": "text", "data": "x"}},
    ]});
    assert!(refusal(Messages, &block(nested)).1.starts_with("messages[0].content[0].content[0]."));
}

#[test]
fn what_is_malformed_is_refused_by_name() {
    let no = |body: Value, param: &str| {
        assert_eq!(refusal(Messages, &body), ("invalid_request", param.to_owned()), "{body}");
    };
    for name in ["model", "messages", "max_tokens"] {
        let mut body = body();
        body.as_object_mut().unwrap().remove(name);
        no(body, name);
    }
    no(with(json!({"max_tokens": 0})), "max_tokens");
    no(with(json!({"messages": []})), "messages");
    no(with(json!({"messages": [{"role": "system", "content": "x"}]})), "messages[0].role");
    no(with(json!({"service_tier": "priority"})), "service_tier");
    no(with(json!({"thinking": {"type": "enabled"}})), "thinking.budget_tokens");
    no(block(json!({"type": "text"})), "messages[0].content[0].text");
    no(
        block(json!({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": "not base64!"}})),
        "messages[0].content[0].source.data",
    );
    let lived = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral",
        "ttl": "2h"}});
    no(block(lived), "messages[0].content[0].cache_control.ttl");
    let strange = json!({"type": "text", "text": "x", "tool_use_id": "t"});
    assert_eq!(refusal(Messages, &block(strange)).0, "parameter_not_allowed");
}

#[test]
fn what_clients_echo_is_taken_out() {
    let echoed = json!({"messages": [{"role": "assistant", "content": [
        {"type": "text", "text": "x", "citations": null},
        {"type": "tool_use", "id": "t", "name": "n", "input": {}, "caller": {"type": "direct"}},
    ]}], "metadata": {"user_id": "u", "run_id": "r"}, "service_tier": "auto"});
    assert_eq!(accept(Messages, &with(echoed.clone())).run_names, ["r"]);
    let sent = upstream(Messages, &with(echoed), "anthropic");
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            {"type": "text", "text": "x"}, {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        ])
    );
    assert!(sent.get("metadata").is_none());
    assert_eq!(sent["service_tier"], "standard_only");
    assert!(parse(Messages, &with(json!({"system": null, "tools": null}))).is_ok());
}
