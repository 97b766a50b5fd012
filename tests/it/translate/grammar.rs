//! What a client may see on a stream, read as strictly as no client reads it.

use serde_json::Value;

/// The events of a stream: the name, if any, and the data; comments are skipped.
pub(super) fn events(stream: &str) -> Vec<(Option<String>, String)> {
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "{stream}");
    let mut events = Vec::new();
    for event in stream.split("\n\n").filter(|event| !event.is_empty() && *event != ":") {
        let (mut name, mut data) = (None, None);
        for line in event.lines() {
            if let Some(value) = line.strip_prefix("event: ") {
                assert!(name.replace(value.to_owned()).is_none(), "{event}");
            } else {
                let value = line.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"));
                assert!(data.replace(value.to_owned()).is_none(), "{event}");
            }
        }
        events.push((name, data.unwrap_or_else(|| panic!("{event}"))));
    }
    events
}

/// Checks a stream of chat; tells whether it came to its end.
pub(super) fn check_chat(stream: &str) -> bool {
    let (mut begun, mut finished, mut done, mut calls) = (false, false, false, 0);
    for (name, data) in events(stream) {
        assert!(name.is_none() && !done, "{data}");
        if data == "[DONE]" {
            assert!(finished);
            done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk["id"].is_string() && chunk["model"].is_string(), "{chunk}");
        assert!(chunk["created"].is_u64(), "{chunk}");
        let choices = chunk["choices"].as_array().unwrap();
        let Some(choice) = choices.first() else {
            assert!(finished && chunk["usage"]["total_tokens"].is_u64(), "{chunk}");
            continue;
        };
        assert!(!finished, "{chunk}");
        let delta = &choice["delta"];
        assert_eq!(delta["role"] == "assistant", !begun, "{chunk}");
        begun = true;
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let is_new = call["id"].is_string();
            calls += u64::from(is_new);
            assert_eq!(call["index"], calls - 1, "{chunk}");
            assert_eq!(is_new, call["function"]["name"].is_string(), "{chunk}");
            assert!(call["function"]["arguments"].is_string(), "{chunk}");
        }
        finished = choice["finish_reason"].is_string();
    }
    done
}

/// Checks a stream of Anthropic's; tells whether it came to its end. No block may stay open.
pub(super) fn check_messages(stream: &str) -> bool {
    let (mut begun, mut ended, mut stopped) = (false, false, false);
    let (mut open, mut next): (Option<String>, u64) = (None, 0);
    for (name, data) in events(stream) {
        let event: Value = serde_json::from_str(&data).unwrap();
        let kind = event["type"].as_str().unwrap();
        assert_eq!(name.as_deref(), Some(kind));
        assert!(!stopped && begun != (kind == "message_start"), "{event}");
        match kind {
            "message_start" => {
                begun = true;
                assert_eq!(event["message"]["content"], Value::Array(Vec::new()));
                assert!(event["message"]["usage"]["input_tokens"].is_u64(), "{event}");
            }
            "content_block_start" => {
                assert!(open.is_none() && !ended && event["index"] == next, "{event}");
                open = event["content_block"]["type"].as_str().map(str::to_owned);
            }
            "content_block_delta" => {
                assert_eq!(event["index"], next, "{event}");
                let fits = match event["delta"]["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "input_json_delta" => "tool_use",
                    other => panic!("{other}"),
                };
                assert_eq!(open.as_deref(), Some(fits), "{event}");
            }
            "content_block_stop" => {
                assert!(open.take().is_some() && event["index"] == next, "{event}");
                next += 1;
            }
            "message_delta" => {
                assert!(open.is_none() && event["delta"]["stop_reason"].is_string(), "{event}");
                assert!(event["usage"]["output_tokens"].is_u64(), "{event}");
                ended = true;
            }
            "message_stop" => {
                assert!(ended, "{event}");
                stopped = true;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(open, None, "a block stays open");
    stopped
}
