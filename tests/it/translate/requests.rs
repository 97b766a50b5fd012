//! Chat requests as messages requests.

use rungate::protocol::translate::{Thinking, chat_to_messages};
use serde_json::{Value, json};

use super::{chat, parse, to_messages};

fn check(given: Value, wanted: Value) {
    assert_eq!(to_messages(&given).unwrap_or_else(|fault| panic!("{fault:?}")), wanted);
}

/// What a member becomes, beside the model and the one message.
fn becomes(members: Value, wanted: Value) {
    let mut translated = to_messages(&chat(members.clone())).unwrap();
    let object = translated.as_object_mut().unwrap();
    object.remove("model").unwrap();
    object.remove("messages").unwrap();
    assert_eq!(translated, wanted, "{members}");
}

#[test]
fn a_conversation_with_everything_keeps_its_meaning() {
    let image = json!({"type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0=", "detail": "auto"}});
    let call = |id: &str, arguments: &str| {
        json!({"id": id, "type": "function",
            "function": {"name": "read", "arguments": arguments}})
    };
    check(
        json!({"model": "claude-sonnet-4-5", "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look:"}, image]},
            {"role": "assistant", "content": "I read both.", "refusal": null,
                "reasoning_content": "hm", "annotations": [],
                "tool_calls": [call("call_1", "{\"path\": \"a\"}"), call("call_2", "")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "A"},
            {"role": "developer", "content": [{"type": "text", "text": "Hurry."}]},
            {"role": "user", "content": "And?"},
            {"role": "tool", "tool_call_id": "call_2", "name": "read", "content":
                [{"type": "text", "text": "B"}, image]},
        ]}),
        json!({"model": "claude-sonnet-4-5",
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Hurry."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look:"}, picture()]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "I read both."},
                    {"type": "tool_use", "id": "call_1", "name": "read", "input": {"path": "a"}},
                    {"type": "tool_use", "id": "call_2", "name": "read", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "A"}]},
                    {"type": "tool_result", "tool_use_id": "call_2",
                        "content": [{"type": "text", "text": "B"}, picture()]},
                    {"type": "text", "text": "And?"},
                ]},
            ],
        }),
    );
}

fn picture() -> Value {
    json!({"type": "image", "source":
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}})
}

#[test]
fn neighbours_of_one_role_are_one_turn_and_blank_texts_are_left_out() {
    let parts = ["b", " \n", ""].map(|text| json!({"type": "text", "text": text}));
    check(
        json!({"model": "m", "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": null, "refusal": "No."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
            {"role": "user", "content": "c"},
        ]}),
        json!({"model": "m", "messages": [
            {"role": "user", "content":
                [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content":
                [{"type": "text", "text": "No."}, {"type": "text", "text": "Never."}]},
            {"role": "user", "content": [{"type": "text", "text": "c"}]},
        ]}),
    );
}

#[test]
fn legacy_functions_become_tools_and_their_calls_get_ids() {
    let function = json!({"name": "add", "parameters": {"type": "object", "properties": {}}});
    let body = json!({"model": "m", "functions": [function], "function_call": {"name": "add"},
    "messages": [
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": null,
            "function_call": {"name": "add", "arguments": "{\"a\":1}"}},
        {"role": "function", "name": "add", "content": "2"},
    ]});
    let result = json!([{"type": "text", "text": "2"}]);
    check(
        body.clone(),
        json!({"model": "m",
        "tools": [{"name": "add", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "1+1"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "function_call_1",
                "name": "add", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result",
                "tool_use_id": "function_call_1", "content": result}]},
        ]}),
    );
    let translated = chat_to_messages(body.to_string().as_bytes(), Thinking::Adaptive).unwrap();
    assert!(translated.legacy_functions);
}

#[test]
fn each_parameter_becomes_its_counterpart() {
    let tools = json!([{"type": "function", "function": {"name": "f", "description": "d",
        "strict": true, "parameters": {"properties": {"a": {"type": "string"}}}}}]);
    let tool = json!({"name": "f", "description": "d", "strict": true,
        "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}});
    let chosen = |choice: Value, becomes_choice: Value| {
        becomes(
            json!({"tools": tools, "tool_choice": choice}),
            json!({"tools": [tool], "tool_choice": becomes_choice}),
        );
    };
    chosen(json!("auto"), json!({"type": "auto"}));
    chosen(json!("none"), json!({"type": "none"}));
    chosen(json!("required"), json!({"type": "any"}));
    let named = json!({"type": "function", "function": {"name": "f"}});
    chosen(named, json!({"type": "tool", "name": "f"}));
    becomes(json!({"tools": tools}), json!({"tools": [tool]}));
    becomes(
        json!({"tools": tools, "parallel_tool_calls": false}),
        json!({"tools": [tool],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
    );
    becomes(json!({"tool_choice": "auto", "tools": []}), json!({}));
    let bare = json!([{"type": "function", "function": {"name": "f"}}]);
    let nothing = json!({"type": "object", "properties": {}});
    becomes(json!({"tools": bare}), json!({"tools": [{"name": "f", "input_schema": nothing}]}));

    becomes(json!({"stop": "END"}), json!({"stop_sequences": ["END"]}));
    becomes(json!({"stop": ["a", "b"]}), json!({"stop_sequences": ["a", "b"]}));
    becomes(json!({"stop": []}), json!({}));
    becomes(
        json!({"max_tokens": 9, "max_completion_tokens": 7, "max_output_tokens": 8}),
        json!({"max_tokens": 7}),
    );
    becomes(
        json!({"temperature": 1, "top_p": 0.9, "top_k": 40, "stream": true}),
        json!({"temperature": 1, "top_p": 0.9, "top_k": 40, "stream": true}),
    );
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}}});
    let format = json!({"type": "json_schema",
        "json_schema": {"name": "n", "strict": true, "schema": schema, "description": "d"}});
    let described = super::with(schema, json!({"description": "d"}));
    becomes(
        json!({"response_format": format}),
        json!({"output_config": {"format": {"type": "json_schema", "schema": described}}}),
    );
    becomes(json!({"response_format": {"type": "text"}}), json!({}));
}

#[test]
fn what_is_neutral_or_the_gateways_is_left_out() {
    becomes(
        json!({"n": 1, "logprobs": false, "top_logprobs": 0, "presence_penalty": 0.0,
            "frequency_penalty": 0, "repetition_penalty": 1.0, "min_p": 0, "logit_bias": {},
            "verbosity": "medium", "seed": null, "store": false, "service_tier": "auto",
            "modalities": ["text"], "metadata": {"run_id": "x"}, "user": "u", "run_id": "x",
            "safety_identifier": "s", "prompt_cache_key": "k", "evaluation_run_id": null,
            "stream_options": {"include_usage": true}}),
        json!({}),
    );
}

#[test]
fn reasoning_effort_is_an_effort_or_a_budget_within_the_limit() {
    for (word, effort) in
        [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "max")]
    {
        let config = json!({"effort": effort});
        becomes(
            json!({"reasoning_effort": word}),
            json!({"thinking": {"type": "adaptive"}, "output_config": config}),
        );
    }
    becomes(json!({"reasoning_effort": "none"}), json!({"thinking": {"type": "disabled"}}));

    let budget = |members: Value| {
        let body = chat(members).to_string();
        let translated = chat_to_messages(body.as_bytes(), Thinking::Budget);
        translated.map(|translated| parse(&translated.body)["thinking"]["budget_tokens"].clone())
    };
    assert_eq!(budget(json!({"reasoning_effort": "high"})).unwrap(), 16_384);
    let small = json!({"reasoning_effort": "high", "max_tokens": 4096});
    assert_eq!(budget(small).unwrap(), 2048);
    let tiny = budget(json!({"reasoning_effort": "low", "max_tokens": 2047})).unwrap_err();
    assert_eq!(tiny.param_name(), Some("reasoning_effort"));
    // In the middle of a turn thinking would have to be replayed.
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([{"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "ok"}]);
    let amid = json!({"reasoning_effort": "high", "messages": messages});
    assert_eq!(budget(amid).unwrap(), Value::Null);
}

#[test]
fn schemas_and_arguments_keep_their_bytes() {
    let body = r#"{"model":"m","tools":[{"type":"function","function":{"name":"f","parameters":
        {"type":"object","z":1.10,"a":12345678901234567890123}}}],"messages":[
        {"role":"user","content":"\u00e9\/"},
        {"role":"assistant","tool_calls":[{"id":"a.b:0","function":{"name":"f",
        "arguments":"{\"z\":1.10,\"a\":1e400000}"}}]},
        {"role":"tool","tool_call_id":"a.b:0","content":"x"}]}"#;
    // The number is out of every range, so it is no sound JSON.
    let fault = chat_to_messages(body.as_bytes(), Thinking::Adaptive).unwrap_err();
    assert_eq!(fault.param_name(), Some("messages[1].tool_calls[0].function.arguments"));
    let body = body.replace("1e400000", "1e4");
    let translated = chat_to_messages(body.as_bytes(), Thinking::Adaptive).unwrap().body;
    let translated = String::from_utf8(translated).unwrap();
    for kept in [
        r#"{"type":"object","z":1.10,"a":12345678901234567890123}"#,
        r#""text":"\u00e9\/""#,
        r#""input":{"z":1.10,"a":1e4}"#,
        r#""id":"a_b_0""#,
        r#""tool_use_id":"a_b_0""#,
    ] {
        assert!(translated.contains(kept), "{kept} in {translated}");
    }
}
