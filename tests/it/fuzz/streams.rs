//! Streams of all formats, relayed and translated: however their bytes are cut, the same is seen,
//! counted and written; and no cost passes but ours.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::domain::money::Usd;
use rungate::domain::settlement::ReportedUsage;
use rungate::protocol::answer::Served;
use rungate::protocol::format::Format;
use rungate::protocol::sse;
use rungate::protocol::stream::{StreamFault, StreamMeter};
use rungate::protocol::translate::{ChatClient, Thinking, Translation};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::answer::check_usage;
use super::mutate::damaged;
use super::{cases, corpus, fuzz, stream};

/// The largest event that is accepted: small, so that it is reached.
const MAX_EVENT_BYTES: usize = 2_000;
/// So many places where a stream can be cut are tried.
const CUTS: usize = 24;
/// What every usage costs here.
const OURS: &str = "0.125";

const WORDS: &[&str] = &[
    "\n",
    "\n\n",
    "\r",
    "\r\n\r\n",
    "data: ",
    "event: error\n",
    ": note\n",
    "data: [DONE]\n\n",
    "data: {}\n\n",
    "data: {\"type\":\"ping\"}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\",\"input\":{}}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n",
    "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
    "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"m\"}}}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":9}}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"us\\u0061ge\":{\"cost\":9}}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":3,\"function\":{\"arguments\":\"\\\"\"}}]}}]}\n\n",
    "\"error\":{\"message\":\"m\"},",
    "\"type\":\"error\",",
    "\"usage\":{\"cost\":9},",
    "\"cost\":9,",
    "\"usage\":null,",
    "\"input_tokens\":-1,",
    "\"output_tokens\":18446744073709551616,",
    "\"stop_reason\":null,",
    "\"index\":7,",
    "\"delta\":null,",
    "\"model\":\"m\",",
    "\u{0}",
    "{",
    "}",
    "\"",
    "\\ud800",
    "\\",
    "é",
];

/// How a stream is read.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// As it is.
    Relayed(Format),
    /// From this format into that.
    Translated(Format, Format),
    /// For a client of chat that is told its cost, from this format.
    Priced(Format),
}

impl Reading {
    fn meter(self) -> StreamMeter {
        let tell = || {
            let ours = Usd::parse(OURS).unwrap();
            Box::new(move |_: ReportedUsage, _: Served<'_>| ours)
        };
        match self {
            Self::Relayed(format) => StreamMeter::new(format, true, MAX_EVENT_BYTES),
            Self::Priced(Format::Chat) => {
                StreamMeter::new(Format::Chat, true, MAX_EVENT_BYTES).telling_cost(tell())
            }
            Self::Priced(format) => {
                Self::Translated(format, Format::Chat).meter().telling_cost(tell())
            }
            Self::Translated(spoken, asked) => {
                let translate = translation(asked, spoken).stream().unwrap();
                StreamMeter::translating(spoken, translate, MAX_EVENT_BYTES)
            }
        }
    }
}

/// What is between two formats, as the smallest request of it makes it.
fn translation(asked: Format, spoken: Format) -> Translation {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = match asked {
        Format::Responses => json!({"model": "m", "input": "hi", "max_output_tokens": 9}),
        _ => json!({"model": "m", "messages": messages, "max_tokens": 9}),
    };
    let client = ChatClient { include_usage: true, ..ChatClient::default() };
    let body = body.to_string();
    let formats = (asked, spoken);
    let made = Translation::of(formats, body.as_bytes(), Thinking::Adaptive, None, client);
    made.unwrap_or_else(|fault| panic!("{fault:?}")).translation
}

/// All that a meter has to say.
#[derive(Debug, PartialEq)]
struct Seen {
    passed: Vec<u8>,
    result: Result<(), StreamFault>,
    usage: Option<ReportedUsage>,
    final_usage: Option<ReportedUsage>,
    model: Option<String>,
    text: (String, u64),
    done: bool,
}

fn read<'p>(reading: Reading, pieces: impl IntoIterator<Item = &'p [u8]>) -> Seen {
    let mut meter = reading.meter();
    let mut out = VecDeque::new();
    let feed = || {
        for piece in pieces {
            meter.feed(Bytes::copy_from_slice(piece), &mut out)?;
        }
        meter.finish(&mut out)
    };
    let result = feed();
    meter.close(&mut out);
    let (text, beyond) = meter.output_text();
    Seen {
        passed: out.iter().flatten().copied().collect(),
        result,
        usage: meter.usage(),
        final_usage: meter.final_usage(),
        model: meter.served().model.map(str::to_owned),
        text: (text.to_owned(), beyond),
        done: meter.is_done(),
    }
}

fn holds(kind: &'static str, readings: &[Reading]) {
    let kept: Vec<Vec<u8>> = corpus(kind).into_iter().map(|(_, bytes)| bytes).collect();
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..20);
    let source = prop_oneof![
        3 => prop::sample::select(kept),
        2 => words.prop_map(|words| words.concat().into_bytes()),
    ];
    let whole = Cell::new(0_u32);
    let cases = cases(60);
    fuzz(kind, cases, &damaged(source, WORDS), |bytes| {
        let proper = read(readings[0], [bytes]).result.is_ok();
        whole.set(whole.get() + u32::from(proper));
        readings.iter().try_for_each(|reading| check(*reading, bytes))
    });
    assert!(whole.get() > cases / 20, "hardly any stream was whole: {}", whole.get());
}

#[test]
fn no_stream_of_messages_depends_on_where_it_is_cut() {
    holds(
        "messages-stream",
        &[
            Reading::Relayed(Format::Messages),
            Reading::Translated(Format::Messages, Format::Chat),
            Reading::Translated(Format::Messages, Format::Responses),
            Reading::Priced(Format::Messages),
        ],
    );
}

#[test]
fn no_stream_of_responses_depends_on_where_it_is_cut() {
    holds("responses-stream", &[Reading::Relayed(Format::Responses)]);
}

#[test]
fn no_stream_of_chat_that_is_translated_or_priced_depends_on_where_it_is_cut() {
    holds(
        stream::KIND,
        &[
            Reading::Translated(Format::Chat, Format::Messages),
            Reading::Translated(Format::Chat, Format::Responses),
            Reading::Priced(Format::Chat),
        ],
    );
}

fn check(reading: Reading, bytes: &[u8]) -> TestCaseResult {
    let whole = read(reading, [bytes]);
    prop_assert_eq!(&read(reading, bytes.chunks(1)), &whole, "byte by byte, {:?}", reading);
    let step = bytes.len().div_ceil(CUTS).max(1);
    for cut in (0..bytes.len()).step_by(step) {
        let (first, second) = bytes.split_at(cut);
        prop_assert_eq!(&read(reading, [first, second]), &whole, "cut at {}, {:?}", cut, reading);
    }
    for usage in [whole.usage, whole.final_usage].into_iter().flatten() {
        check_usage(usage)?;
    }
    prop_assert!(whole.final_usage.is_none() || whole.final_usage == whole.usage);
    check_passed(reading, &whole.passed)
}

/// What a client is sent: whole events of data that it can read, no word beside them, and no cost
/// that is not ours.
fn check_passed(reading: Reading, passed: &[u8]) -> TestCaseResult {
    let mut scanner = sse::Scanner::default();
    let mut rest = passed.strip_prefix("\u{feff}".as_bytes()).unwrap_or(passed);
    while !rest.is_empty() {
        let end = scanner.next_end(rest).unwrap_or(rest.len());
        let event = sse::read(&rest[..end]);
        rest = &rest[end..];
        prop_assert!(!event.has_asides, "{:?}", event);
        let Some(data) = event.data else { continue };
        let text = data.trim_ascii();
        let fine = text.is_empty()
            || text == b"[DONE]"
            || (text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok());
        prop_assert!(fine, "{}", text.escape_ascii());
        if matches!(reading, Reading::Priced(_)) {
            let read = serde_json::from_slice::<Value>(text).unwrap_or_default();
            let cost = read.get("usage").and_then(|usage| usage.get("cost"));
            prop_assert!(cost.is_none_or(|cost| *cost == json!(0.125)), "{}", text.escape_ascii());
        }
    }
    Ok(())
}
