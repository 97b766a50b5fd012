//! Streams that are relayed: what passes, what is metered, and how they fail.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use rungate::domain::fault::{Code, Fault};
use rungate::domain::settlement::ReportedUsage;
use rungate::protocol::format::Format;
use rungate::protocol::responses::error_event;
use rungate::protocol::stream::{StreamFault, StreamMeter};
use serde_json::json;

use super::answers::counted;
use super::fixture;

#[derive(Debug, PartialEq)]
struct Seen {
    passed: String,
    result: Result<(), StreamFault>,
    usage: Option<ReportedUsage>,
    final_usage: Option<ReportedUsage>,
    model: Option<String>,
    text: String,
    done: bool,
}

fn meter<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Seen {
    let mut meter = StreamMeter::new(Format::Responses, false, 1 << 16);
    let mut out = VecDeque::new();
    let mut result = Ok(());
    for piece in pieces {
        result = meter.feed(Bytes::copy_from_slice(piece), &mut out);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| meter.finish(&mut out));
    let passed: Vec<u8> = out.iter().flatten().copied().collect();
    Seen {
        passed: String::from_utf8(passed).unwrap(),
        result,
        usage: meter.usage(),
        final_usage: meter.final_usage(),
        model: meter.served().model.map(str::to_owned),
        text: meter.output_text().0.to_owned(),
        done: meter.is_done(),
    }
}

fn whole(stream: &str) -> Seen {
    meter([stream.as_bytes()])
}

#[test]
fn a_stream_passes_whole_and_its_last_event_says_what_was_used() {
    let stream = fixture("responses/openai.sse");
    let seen = whole(&stream);
    assert_eq!((seen.result, seen.passed), (Ok(()), stream));
    assert_eq!(seen.model.as_deref(), Some("gpt-5-mini-2025-08-07"));
    let text = "**Looking**wörld 😀read_file{\"path\":\"a.rs\"}apply_patch*** Begin Patch";
    assert_eq!(seen.text, text);
    assert_eq!(seen.usage, counted([86, 1920, 0, 300, 256]));
    assert_eq!(seen.final_usage, seen.usage);
    assert!(seen.done);
    let seen = whole(&fixture("responses/incomplete.sse"));
    assert_eq!((seen.text.as_str(), seen.done), ("I cannot", true));
    assert_eq!(seen.final_usage, counted([5, 0, 0, 16, 0]));
}

#[test]
fn failures_are_returned_and_not_passed() {
    for (name, code) in [("failed", "server_error"), ("error", "rate_limit_exceeded")] {
        let stream = fixture(&format!("responses/{name}.sse"));
        let seen = whole(&stream);
        let before: Vec<&str> = stream.split_inclusive("\n\n").take(2).collect();
        assert_eq!((seen.passed, seen.text.as_str()), (before.concat(), "Half"));
        let Err(StreamFault::Provider(error)) = seen.result else { panic!("{name}") };
        assert_eq!(error.code.as_deref(), Some(code));
        assert!(!seen.done);
    }
    for (error, message) in [
        (r#"{"type":"error","message":"no"}"#, "no"),
        (r#"{"type":"error","error":{"message":"no"}}"#, "no"),
        (r#"{"error":"no"}"#, "no"),
        (r#"{"message":"no"}"#, "no"),
    ] {
        let seen = whole(&format!("data: {error}\n\n"));
        let Err(StreamFault::Provider(found)) = seen.result else { panic!("{error}") };
        assert_eq!(found.message.as_deref(), Some(message), "{error}");
        assert_eq!(seen.passed, "");
    }
}

#[test]
fn usage_in_a_failed_response_still_counts() {
    let failed = concat!(
        r#"data: {"type":"response.failed","response":{"error":{"message":"no"},"#,
        r#""usage":{"input_tokens":3,"output_tokens":1}}}"#,
        "\n\n"
    );
    assert_eq!(whole(failed).final_usage, counted([3, 0, 0, 1, 0]));
}

#[test]
fn garbage_ends_the_stream_and_unknown_events_pass() {
    for bad in [
        "data: [{}]\n\n",
        "data: nonsense\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"\\ud800\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":7}\n\n",
    ] {
        assert_eq!(whole(bad).result, Err(StreamFault::Garbage), "{bad}");
    }
    for fine in [
        "data: {\"type\":\"response.new_thing\",\"response\":null}\n\n",
        "data: {\"type\":\"keepalive\",\"sequence_number\":3}\n\n",
        "data: {\"type\":\"response.x.delta\",\"delta\":{\"a\":1}}\n\n",
    ] {
        let seen = whole(fine);
        assert_eq!((seen.result, seen.passed.as_str()), (Ok(()), fine));
    }
}

#[test]
fn a_fault_ends_a_stream_as_the_sdks_read_it() {
    let fault = Fault::new(Code::UpstreamTimeout, "It took \"too\" long.").param("x");
    let event = String::from_utf8(error_event(&fault, "req-1")).unwrap();
    let data = event.strip_prefix("event: error\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let expected = json!({
        "type": "error", "sequence_number": 0, "code": "upstream_timeout",
        "message": "It took \"too\" long.", "param": "x",
        "error": {
            "message": "It took \"too\" long.", "type": "server_error",
            "code": "upstream_timeout", "param": "x", "request_id": "req-1",
        },
    });
    assert_eq!(super::json(data), expected);
    assert!(matches!(whole(&event).result, Err(StreamFault::Provider(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_depends_on_how_the_bytes_are_split(
        name in prop::sample::select(&["openai", "incomplete", "failed", "error"][..]),
        size in 1usize..300,
    ) {
        let stream = fixture(&format!("responses/{name}.sse"));
        prop_assert_eq!(meter(stream.as_bytes().chunks(size)), whole(&stream));
    }
}
