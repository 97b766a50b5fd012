//! Streams of providers: however their bytes are cut, the same is seen and counted.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::domain::settlement::ReportedUsage;
use rungate::protocol::format::Format;
use rungate::protocol::sse;
use rungate::protocol::stream::{StreamFault, StreamMeter};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::answer::check_usage;
use super::mutate::damaged;
use super::{cases, corpus, fuzz};

pub(super) const KIND: &str = "stream";
/// The largest event that is accepted: small, so that it is reached.
const MAX_EVENT_BYTES: usize = 600;
/// Up to here every place where a stream can be cut is tried.
const MAX_CUTS: usize = 400;

const WORDS: &[&str] = &[
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    "data:",
    "data: ",
    "data",
    ":",
    ": note\n",
    "event: error\n",
    "id: 1\n",
    "retry: 1\n",
    "[DONE]",
    "data: [DONE]\n\n",
    "data: {}\n\n",
    "data: null\n\n",
    "data: {\"choices\":[]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1e99}}\n\n",
    "data: {\"error\":{\"message\":\"m\"}}\n\n",
    "\"usage\":null,",
    "\"usage\":{},",
    "\"error\":1,",
    "\"prompt_tokens\":18446744073709551616,",
    "\"completion_tokens\":0,",
    "\"model\":\"m\",",
    "\"choices\":[],",
    "\"choices\":null,",
    "\"finish_reason\":\"stop\",",
    "\"message\":\"m\",",
    "\u{feff}",
    "\u{0}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\ud800",
    "\\",
    "é",
];

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let kept: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, bytes)| bytes).collect();
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..20);
    let source = prop_oneof![
        2 => prop::sample::select(kept),
        2 => words.prop_map(|words| words.concat().into_bytes()),
    ];
    damaged(source, WORDS)
}

#[test]
fn no_stream_depends_on_where_it_is_cut() {
    let whole = Cell::new(0_u32);
    let cases = cases(400);
    fuzz(KIND, cases, &streams(), |bytes| {
        let proper = meter([bytes], true).result.is_ok();
        whole.set(whole.get() + u32::from(proper));
        check(bytes)
    });
    assert!(whole.get() > cases / 20, "hardly any stream was whole: {}", whole.get());
}

/// All that a meter has to say.
#[derive(Debug, PartialEq)]
struct Seen {
    passed: Vec<u8>,
    result: Result<(), StreamFault>,
    usage: Option<ReportedUsage>,
    final_usage: Option<ReportedUsage>,
    model: Option<String>,
    text: String,
    beyond: u64,
    done: bool,
}

fn meter<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, show: bool) -> Seen {
    let mut meter = StreamMeter::new(Format::Chat, show, MAX_EVENT_BYTES);
    let mut out = VecDeque::new();
    let feed = || {
        for piece in pieces {
            meter.feed(Bytes::copy_from_slice(piece), &mut out)?;
        }
        meter.finish(&mut out)
    };
    let result = feed();
    let (text, beyond) = meter.output_text();
    Seen {
        passed: out.iter().flatten().copied().collect(),
        result,
        usage: meter.usage(),
        final_usage: meter.final_usage(),
        model: meter.served().model.map(str::to_owned),
        text: text.to_owned(),
        beyond,
        done: meter.is_done(),
    }
}

fn check(bytes: &[u8]) -> TestCaseResult {
    for show in [false, true] {
        let whole = meter([bytes], show);
        prop_assert_eq!(&meter(bytes.chunks(1), show), &whole, "byte by byte");
        let step = bytes.len().div_ceil(MAX_CUTS).max(1);
        for cut in (0..bytes.len()).step_by(step) {
            let (first, second) = bytes.split_at(cut);
            prop_assert_eq!(&meter([first, second], show), &whole, "cut at {}", cut);
        }
        for usage in [whole.usage, whole.final_usage].into_iter().flatten() {
            check_usage(usage)?;
        }
        prop_assert!(whole.final_usage.is_none() || whole.final_usage == whole.usage);
        check_passed(&whole, bytes)?;
    }
    Ok(())
}

/// What a client is sent: whole events of data that it can read, and no word beside them.
fn check_passed(seen: &Seen, bytes: &[u8]) -> TestCaseResult {
    // A comment that is taken out of an event leaves at most two bytes where one was.
    prop_assert!(seen.passed.len() <= bytes.len() * 2 + 2);
    prop_assert!(seen.text.len() <= bytes.len());
    let mut scanner = sse::Scanner::default();
    let mut rest = seen.passed.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&seen.passed);
    while !rest.is_empty() {
        let end = scanner.next_end(rest).unwrap_or(rest.len());
        let event = sse::read(&rest[..end]);
        prop_assert!(!event.has_asides && !event.names_error, "{:?}", event);
        if let Some(data) = event.data {
            let text = data.trim_ascii();
            // Not every reader minds half a surrogate pair, and what it says is the provider's.
            let is_object = || {
                let whole = serde_json::from_slice::<IgnoredAny>(text).is_ok();
                let read = serde_json::from_slice::<Value>(text).unwrap_or_default();
                whole && text.starts_with(b"{") && read.get("error").is_none_or(Value::is_null)
            };
            let fine = text.is_empty() || text == b"[DONE]" || is_object();
            prop_assert!(fine, "{}", text.escape_ascii());
        }
        rest = &rest[end..];
    }
    Ok(())
}
