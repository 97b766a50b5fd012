//! Anthropic's messages: what answers and streams tell of their cost.

use std::collections::VecDeque;

use bytes::Bytes;
use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::answer::{AnswerFault, read_answer};
use rungate::protocol::format::Format::Messages;
use rungate::protocol::stream::{StreamFault, StreamMeter};
use serde_json::{Value, json};

/// Uncached input, read from a cache, written to it, of these for an hour, output.
fn counted(input: u64, cached: u64, written: u64, hour: u64, output: u64) -> ReportedUsage {
    ReportedUsage::Counted(Usage {
        uncached_input: Tokens::new(input),
        cached_input: Tokens::new(cached),
        cache_write: Tokens::new(written),
        long_cache_write: Tokens::new(hour),
        output: Tokens::new(output),
        reasoning: Tokens::ZERO,
    })
}

fn usage_of(usage: Value) -> Option<ReportedUsage> {
    let body = json!({"type": "message", "model": "served", "content": [], "usage": usage});
    read_answer(Messages, body.to_string().as_bytes()).unwrap().usage
}

#[test]
fn the_classes_of_input_do_not_overlap() {
    // Guide "Prompt caching": total input is the sum of the three.
    let told = usage_of(json!({
        "input_tokens": 50, "cache_read_input_tokens": 100_000,
        "cache_creation_input_tokens": 248, "output_tokens": 503,
    }));
    assert_eq!(told, Some(counted(50, 100_000, 248, 0, 503)));
    // The same guide, "1-hour cache duration".
    let told = usage_of(json!({
        "input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
        "output_tokens": 503, "cache_creation": {
            "ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100,
        },
    }));
    assert_eq!(told, Some(counted(2048, 1800, 248, 100, 503)));
    let nothing = json!({"input_tokens": 3, "output_tokens": 0, "cache_creation": null,
        "cache_read_input_tokens": null, "cache_creation_input_tokens": null});
    assert_eq!(usage_of(nothing), Some(counted(3, 0, 0, 0, 0)));
}

#[test]
fn what_cannot_be_is_nonsense_and_what_is_not_told_is_none() {
    assert_eq!(usage_of(json!(null)), None);
    assert_eq!(usage_of(json!({})), None);
    for usage in [
        json!({"input_tokens": 1}),
        json!({"output_tokens": 1}),
        json!({"input_tokens": -1, "output_tokens": 1}),
        json!({"input_tokens": 1.5, "output_tokens": 1}),
        json!({"input_tokens": "1", "output_tokens": 1}),
        json!([]),
        json!({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 1,
            "cache_creation": {"ephemeral_1h_input_tokens": 2}}),
    ] {
        assert_eq!(usage_of(usage.clone()), Some(ReportedUsage::Nonsense), "{usage}");
    }
}

#[test]
fn an_error_is_no_answer_whatever_its_status() {
    let overloaded = json!({"type": "error", "request_id": "r",
        "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let read = read_answer(Messages, overloaded.to_string().as_bytes());
    let Err(AnswerFault::Provider(error)) = read else { panic!("{read:?}") };
    assert_eq!(error.message.as_deref(), Some("Overloaded"));
    assert_eq!(error.kind.as_deref(), Some("overloaded_error"));
    for body in ["", "{}", r#"{"content":"x"}"#, r#"{"type":"message"}"#] {
        assert_eq!(read_answer(Messages, body.as_bytes()), Err(AnswerFault::Garbage), "{body}");
    }
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

/// Guide "Streaming Messages", shortened: thinking, text and a tool.
fn stream() -> Vec<String> {
    let delta = |index: u32, delta: Value| {
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    };
    vec![
        event(&json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "content": [], "model": "claude-served", "stop_reason": null,
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 7,
                "cache_creation_input_tokens": 0, "output_tokens": 1}}})),
        event(&json!({"type": "ping"})),
        event(&json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "thinking", "thinking": ""}})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        event(&json!({"type": "content_block_stop", "index": 0})),
        delta(1, json!({"type": "text_delta", "text": "Hello"})),
        event(&json!({"type": "content_block_start", "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "look", "input": {}}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
        event(&json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 15}})),
        event(&json!({"type": "message_stop"})),
    ]
}

fn feed(events: &[String]) -> (StreamMeter, Result<(), StreamFault>, Vec<u8>) {
    let mut meter = StreamMeter::new(Messages, true, 1 << 20);
    let mut out = VecDeque::new();
    let mut fed = Ok(());
    for event in events {
        fed = fed.and_then(|()| meter.feed(Bytes::from(event.clone()), &mut out));
    }
    (meter, fed, out.into_iter().flatten().collect())
}

#[test]
fn a_stream_passes_as_it_came_and_its_last_delta_tells_the_usage() {
    let (meter, fed, out) = feed(&stream());
    assert_eq!(fed, Ok(()));
    assert_eq!(out, stream().concat().as_bytes());
    assert!(meter.is_done());
    assert_eq!(meter.final_usage(), Some(counted(25, 7, 0, 0, 15)));
    assert_eq!(meter.served().model, Some("claude-served"));
    assert_eq!(meter.output_text(), ("HmHellolook{\"a\":1}", 0));
}

#[test]
fn the_placeholder_of_the_start_is_never_a_usage() {
    let events = stream();
    for cut in 0..events.len() - 2 {
        let (meter, fed, _) = feed(&events[..cut]);
        assert_eq!(fed, Ok(()));
        assert_eq!((meter.usage(), meter.final_usage(), meter.is_done()), (None, None, false));
    }
    let (cut_at_stop, ..) = feed(&events[..events.len() - 1]);
    assert_eq!(cut_at_stop.final_usage(), Some(counted(25, 7, 0, 0, 15)));
    // Without the delta there is nothing to go by, even if the stream says that it is complete.
    let mut without = events.clone();
    without.remove(events.len() - 2);
    let (meter, ..) = feed(&without);
    assert_eq!((meter.is_done(), meter.usage()), (true, None));
}

#[test]
fn how_a_stream_is_cut_into_pieces_changes_nothing() {
    let all = stream().concat();
    for cut in 1..all.len() {
        let (one, other) = all.split_at(cut);
        let (meter, fed, out) = feed(&[one.to_owned(), other.to_owned()]);
        assert_eq!(fed, Ok(()), "{cut}");
        assert_eq!(out, all.as_bytes(), "{cut}");
        assert_eq!(meter.final_usage(), Some(counted(25, 7, 0, 0, 15)), "{cut}");
    }
}

#[test]
fn an_error_within_a_stream_is_the_providers_and_does_not_pass() {
    let error = event(&json!({"type": "error",
        "error": {"type": "overloaded_error", "message": "sk-secret"}}));
    let (_, fed, out) = feed(&[stream().remove(0), error]);
    let Err(StreamFault::Provider(error)) = fed else { panic!("{fed:?}") };
    assert_eq!(error.message.as_deref(), Some("sk-secret"));
    assert!(!String::from_utf8(out).unwrap().contains("secret"));
    for garbage in ["data: {\n\n", "data: []\n\n", "data: {\"a\":1}\n\n", "data: [DONE]\n\n"] {
        assert_eq!(feed(&[garbage.to_owned()]).1, Err(StreamFault::Garbage), "{garbage}");
    }
}
