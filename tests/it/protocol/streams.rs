//! Streamed answers: what passes, what is metered, and that neither depends on how bytes come.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::format::Format;
use rungate::protocol::provider_error::ProviderError;
use rungate::protocol::stream::{StreamFault, StreamMeter};

const LIMIT: usize = 1 << 16;
pub(super) const HI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
pub(super) const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// All that a meter has to say.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) passed: String,
    pub(super) result: Result<(), StreamFault>,
    pub(super) usage: Option<ReportedUsage>,
    pub(super) final_usage: Option<ReportedUsage>,
    pub(super) model: Option<String>,
    pub(super) text: String,
    pub(super) beyond: u64,
    pub(super) done: bool,
    pub(super) saw_output: bool,
}

fn meter<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, show: bool, limit: usize) -> Seen {
    let mut meter = StreamMeter::new(Format::Chat, show, limit);
    let mut out = VecDeque::new();
    let mut result = Ok(());
    for piece in pieces {
        result = meter.feed(Bytes::copy_from_slice(piece), &mut out);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = meter.finish(&mut out);
    }
    let passed: Vec<u8> = out.iter().flatten().copied().collect();
    let (text, beyond) = meter.output_text();
    Seen {
        passed: String::from_utf8_lossy(&passed).into_owned(),
        result,
        usage: meter.usage(),
        final_usage: meter.final_usage(),
        model: meter.served().model.map(str::to_owned),
        text: text.to_owned(),
        beyond,
        done: meter.is_done(),
        saw_output: meter.saw_output(),
    }
}

pub(super) fn whole(stream: &str, show: bool) -> Seen {
    meter([stream.as_bytes()], show, LIMIT)
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openai");
    std::fs::read_to_string(folder.join(format!("{name}.sse"))).unwrap()
}

const FIXTURES: [&str; 9] = [
    "openai",
    "openai-tools",
    "azure",
    "mistral",
    "deepseek",
    "groq",
    "openrouter",
    "error",
    "vllm",
];

/// Uncached, cached, cache write, output, reasoning.
pub(super) fn counted(classes: [u64; 5]) -> Option<ReportedUsage> {
    let [uncached_input, cached_input, cache_write, output, reasoning] = classes.map(Tokens::new);
    let usage =
        Usage { uncached_input, cached_input, cache_write, output, reasoning, ..Usage::default() };
    Some(ReportedUsage::Counted(usage))
}

#[test]
fn the_streams_of_providers_are_metered() {
    let check = |name: &str, model: &str, text: &str, classes| {
        let seen = whole(&fixture(name), true);
        assert_eq!(seen.result, Ok(()), "{name}");
        let all = fixture(name)
            .replace(": OPENROUTER PROCESSING\r\n\r\n", ":\n\n")
            .replace(": keep-alive\n\n", ":\n\n");
        assert_eq!(seen.passed, all, "{name}: everything passes if usage is shown");
        assert_eq!(seen.model.as_deref(), Some(model), "{name}");
        assert_eq!(seen.text, text, "{name}");
        assert_eq!((seen.usage, seen.final_usage), (counted(classes), seen.usage), "{name}");
        assert!(seen.done && seen.saw_output, "{name}");
    };
    check("openai", "gpt-4o-mini-2024-07-18", "Hello, wörld 😀", [9, 0, 0, 4, 0]);
    let text = "read_file{\"path\":\"a.rs\"}";
    check("openai-tools", "gpt-5-mini-2025-08-07", text, [86, 1920, 0, 300, 256]);
    check("azure", "gpt-4.1-mini-2025-04-14", "Hi", [8, 0, 0, 1, 0]);
    check("mistral", "mistral-small-latest", "Bonjour!", [5, 0, 0, 2, 0]);
    check("deepseek", "deepseek-reasoner", "Think4", [4, 16, 0, 9, 8]);
    check("groq", "llama-3.3-70b-versatile", "Yes", [40, 0, 0, 2, 0]);
    check("openrouter", "deepseek/deepseek-chat", "Hmok", [7, 0, 4, 3, 1]);
    check("vllm", "Qwen/Qwen3-32B", "AB", [7, 0, 0, 2, 0]);
}

#[test]
fn only_the_terminal_usage_chunk_is_hidden() {
    for name in FIXTURES.into_iter().filter(|name| *name != "error") {
        let (all, seen) = (fixture(name), whole(&fixture(name), false));
        let hidden = whole(&all, true).passed.len() - seen.passed.len();
        let rides = matches!(name, "mistral" | "openrouter");
        assert_eq!(hidden == 0, rides, "{name}");
        assert_eq!(seen.usage, whole(&all, true).usage, "{name}");
        assert!(
            seen.passed.ends_with(if rides && name == "openrouter" {
                "data: [DONE]\r\n\r\n"
            } else {
                "data: [DONE]\n\n"
            }) || name == "azure"
        );
    }
    let seen = whole(&format!("{HI}{USAGE}{DONE}"), false);
    assert_eq!(seen.passed, format!("{HI}{DONE}"));
    // An empty chunk without usage is Azure's first one, and stays.
    let empty = "data: {\"choices\":[],\"usage\":null}\n\n";
    assert_eq!(whole(empty, false).passed, empty);
}

#[test]
fn explicit_zeros_are_usage_and_null_is_none() {
    let usage =
        |raw: &str| whole(&format!("data: {{\"choices\":[],\"usage\":{raw}}}\n\n"), false).usage;
    assert_eq!(usage(r#"{"prompt_tokens":0,"completion_tokens":0}"#), counted([0; 5]));
    assert_eq!(usage("null"), None);
    assert_eq!(usage("{}"), None);
    assert_eq!(usage("7"), Some(ReportedUsage::Nonsense));
    let again = whole(&format!("{USAGE}{}", USAGE.replace('3', "5")), false);
    assert_eq!(again.usage, counted([5, 0, 0, 1, 0]), "the last one counts");
    let null_after = whole(&format!("{USAGE}data: {{\"usage\":null}}\n\n"), false);
    assert_eq!(null_after.usage, counted([3, 0, 0, 1, 0]));
}

#[test]
fn an_error_event_is_returned_and_not_passed() {
    let seen = whole(&fixture("error"), true);
    let first = fixture("error").split_inclusive("\n\n").next().unwrap().to_owned();
    assert_eq!(seen.passed, first);
    let error = ProviderError {
        message: Some("Provider disconnected".to_owned()),
        code: Some("502".to_owned()),
        ..ProviderError::default()
    };
    assert_eq!(seen.result, Err(StreamFault::Provider(error)));
    assert_eq!(seen.text, "Half an ans");
    let fine = whole("data: {\"error\":null,\"choices\":[]}\n\n", true);
    assert_eq!(fine.result, Ok(()));
}

#[test]
fn garbage_ends_the_stream_after_what_came_before() {
    for bad in [
        "data: {\n\n",
        "data: <html>\n\n",
        "data: {} x\n\n",
        "data: \"sentinel\"\n\n",
        "data: [{}]\n\n",
        "event: error\ndata: sentinel\n\n",
        "event: error\ndata: [DONE]\n\n",
        "event:error\n\n",
        "data: {\"choices\":[\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n",
        "data: [DONE] x\n\n",
        "data: {\"a\":1}\ndata: {\"b\":2}\n\n",
        "data: {\"choi",
    ] {
        let seen = whole(&format!("{HI}{bad}{HI}"), true);
        assert_eq!((seen.passed.as_str(), seen.result), (HI, Err(StreamFault::Garbage)), "{bad}");
    }
    let bytes = [HI.as_bytes(), b"data: \"\xff\"\n\n"].concat();
    assert_eq!(meter([&bytes[..]], true, LIMIT).result, Err(StreamFault::Garbage));
}

#[test]
fn every_framing_of_the_standard_is_understood() {
    let body = r#"{"choices":[{"delta":{"content":"hi"}}]}"#;
    let (head, tail) = body.split_at(12);
    for stream in [
        format!("data: {body}\n\n"),
        format!("data:{body}\n\n"),
        format!("data: {body}\r\n\r\n"),
        format!("data: {body}\r\r"),
        format!("data: {body}\n\r\n"),
        format!("data: {body}\r\n\r"),
        format!("\u{feff}data: {body}\n\n"),
        format!("event: message\nid: 1\nretry: 5\ndata: {body}\n\n"),
        format!(":\ndata: {body}\n\n"),
        format!("data: {head}\ndata: {tail}\n\n"),
        format!("\n\n\n:\n\ndata: {body}\n\n\n\n"),
        format!("data\ndata: {body}\n\n"),
        format!("data: {body}"),
        format!("data: {body}\n"),
        format!("data: {body}\r"),
    ] {
        let seen = whole(&stream, false);
        assert_eq!(seen.result, Ok(()), "{stream:?}");
        assert_eq!((seen.passed, seen.text.as_str()), (stream.clone(), "hi"), "{stream:?}");
    }
    assert_eq!(whole("", false).passed, "");
    assert_eq!(whole("data: [DONE]", false).passed, "data: [DONE]");
    assert!(whole("data: [DONE]", false).done && !whole(HI, false).done);
}

#[test]
fn events_may_be_as_large_as_the_limit_and_no_larger() {
    let event = HI.len();
    assert_eq!(meter([HI.as_bytes()], true, event).result, Ok(()));
    let seen = meter([HI.as_bytes()], true, event - 1);
    assert_eq!((seen.passed.as_str(), seen.result), ("", Err(StreamFault::EventTooLarge)));
    let endless = vec![b'x'; 1000];
    let pieces = std::iter::repeat_n(&endless[..], 1000);
    assert_eq!(meter(pieces, true, LIMIT).result, Err(StreamFault::EventTooLarge));
}

#[test]
fn text_beyond_a_mebibyte_is_only_measured() {
    let piece = "x".repeat(60_000);
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
    let seen = whole(&event.repeat(20), true);
    assert_eq!((seen.text.len(), seen.beyond), (1_020_000, 180_000));
}

#[test]
fn events_that_lie_whole_in_a_chunk_are_passed_as_slices_of_it() {
    let chunk = Bytes::from(format!("{HI}{HI}{USAGE}{HI}{DONE}data: {{"));
    let (start, mut out) = (chunk.as_ptr().addr(), VecDeque::new());
    StreamMeter::new(Format::Chat, false, LIMIT).feed(chunk, &mut out).unwrap();
    let found: Vec<_> = out.iter().map(|b| (b.as_ptr().addr() - start, b.len())).collect();
    let second = 2 * HI.len() + USAGE.len();
    assert_eq!(found, [(0, 2 * HI.len()), (second, HI.len() + DONE.len())]);
}

#[test]
fn all_kinds_of_output_are_counted_and_labels_are_not() {
    let delta =
        |delta: &str| whole(&format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"), true);
    for (members, text) in [
        (r#"{"content":"a"}"#, "a"),
        (r#"{"refusal":"a"}"#, "a"),
        (r#"{"reasoning_content":"a"}"#, "a"),
        (r#"{"reasoning":"a"}"#, "a"),
        (r#"{"function_call":{"name":"f","arguments":"{}"}}"#, "f{}"),
        (r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]}"#, "a"),
        (r#"{"tool_calls":[{"id":"c","type":"function","index":1,"function":{"name":"f"}}]}"#, "f"),
        (r#"{"role":"assistant","content":null,"tool_calls":null}"#, ""),
        ("null", ""),
        ("[1,{\"content\":\"a\"}]", ""),
    ] {
        let seen = delta(members);
        assert_eq!((seen.text.as_str(), seen.saw_output), (text, !text.is_empty()), "{members}");
        assert_eq!(seen.result, Ok(()), "{members}");
    }
    let two = r#"data: {"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#;
    assert_eq!(whole(two, true).text, "ab");
}

fn event() -> impl Strategy<Value = String> {
    let json = prop_oneof![
        6 => Just(HI.trim().to_owned()),
        2 => Just(USAGE.trim().to_owned()),
        1 => Just("data: {\"model\":\"m\",\"choices\":[],\"usage\":null}".to_owned()),
        1 => Just(": ping".to_owned()),
        1 => Just(": ping\nid: 1".to_owned()),
        1 => Just(format!("{}\n: ping", HI.trim())),
        1 => Just("data: {\"message\":\"no\"}\nevent: error".to_owned()),
        1 => Just("data: {\"choices\":\ndata: []}".to_owned()),
        1 => Just("data: {\"choices\":[{\"delta\":{\"content\":\"é😀\\n\"}}]}".to_owned()),
        1 => Just(String::new()),
        1 => Just("data: [DONE]".to_owned()),
        1 => Just("data: {\"error\":{\"message\":\"no\"}}".to_owned()),
        1 => Just("data: nonsense".to_owned()),
    ];
    (json, "\n|\r\n|\r", "\n|\r\n|\r")
        .prop_map(|(json, end, blank)| format!("{}{end}{blank}", json.replace('\n', &end)))
}

/// `stream`, cut after each of these.
fn split<'s>(stream: &'s [u8], cuts: &[usize]) -> Vec<&'s [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn nothing_depends_on_how_the_bytes_are_split(
        events in prop::collection::vec(event(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        show in any::<bool>(), bom in any::<bool>(), torn in 0usize..4, limit in 20usize..120,
    ) {
        let mut stream = if bom { "\u{feff}".to_owned() } else { String::new() };
        stream.push_str(&events.concat());
        let bytes = &stream.as_bytes()[..stream.len().saturating_sub(torn)];
        for limit in [LIMIT, limit] {
            let whole = meter([bytes], show, limit);
            prop_assert_eq!(&meter(split(bytes, &cuts), show, limit), &whole);
            prop_assert_eq!(&meter(bytes.chunks(1), show, limit), &whole);
        }
    }

    #[test]
    fn fixtures_are_the_same_in_any_pieces(
        name in prop::sample::select(&FIXTURES[..]), size in 1usize..300, show in any::<bool>(),
    ) {
        let stream = fixture(name);
        prop_assert_eq!(meter(stream.as_bytes().chunks(size), show, LIMIT), whole(&stream, show));
    }
}
