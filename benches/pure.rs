//! How long the parts take that do no I/O: `cargo bench --bench pure`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking; criterion's macros make the documented items"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rungate::catalog::tokenizer::Tokenizer;
use rungate::catalog::{Catalog, Target};
use rungate::domain::bound::{OutputLimits, input_bound, output_bound};
use rungate::domain::key::{Credential, NewRunToken};
use rungate::domain::limits::Limits;
use rungate::domain::normal::{Normalizing, Written, growth};
use rungate::domain::policy::Wanted;
use rungate::domain::run::OnCap;
use rungate::domain::usage::{Tokens, Usage};
use rungate::limits::Concurrency;
use rungate::limits::gate::{Scope, Whose, enter};
use rungate::limits::pace::{Held, Paced};
use rungate::protocol::answer::read_answer;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::stream::StreamMeter;
use rungate::protocol::translate::{ChatClient, ChatToMessages, Thinking, Translation};
use secrecy::ExposeSecret as _;
use serde_json::json;

#[path = "gateway/bodies.rs"]
#[allow(dead_code, reason = "the other benchmark sends the rest")]
mod bodies;

/// As the binary allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODEL: &str = "gpt-4o-mini";
const MAX_EVENT_BYTES: usize = 4 << 20;
/// What is read from a socket at once, if much is there.
const READ_BYTES: usize = 16 << 10;

criterion_group! {
    name = pure;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = requests, prices, answers, streams, translations, counting, normal, credentials, pace
}
criterion_main!(pure);

/// The bodies that are read.
fn bodies() -> [(&'static str, Bytes); 3] {
    [
        ("small", bodies::chat().into()),
        ("tools", with_tools().into()),
        ("200 KB", bodies::prompt().into()),
    ]
}

/// An agent's turn: ten tools offered, two of them called.
fn with_tools() -> String {
    let tool = |index: usize| {
        json!({"type": "function", "function": {
            "name": format!("tool_{index}"),
            "description": "Reads a range of lines of a file of the repository, or says why not.",
            "parameters": {"type": "object", "required": ["path"], "properties": {
                "path": {"type": "string", "description": "from the root"},
                "first": {"type": "integer", "minimum": 1},
                "last": {"type": "integer"}
            }}
        }})
    };
    let call = |index: usize| {
        json!({"id": format!("call_{index}"), "type": "function", "function": {
            "name": format!("tool_{index}"), "arguments": "{\"path\":\"src/lib.rs\",\"first\":1}"
        }})
    };
    let tools: Vec<_> = (0..10).map(tool).collect();
    json!({
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You repair programs."},
            {"role": "user", "content": "The tests fail. Find out why."},
            {"role": "assistant", "content": null, "tool_calls": [call(1), call(2)]},
            {"role": "tool", "tool_call_id": "call_1", "content": "pub mod a;\npub mod b;\n"},
            {"role": "tool", "tool_call_id": "call_2", "content": "there is no such file"}
        ],
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "max_tokens": 1024
    })
    .to_string()
}

fn parsed(body: &Bytes) -> Request {
    Request::parse(Format::Chat, body.clone()).unwrap_or_else(|fault| panic!("{fault:?}"))
}

fn target() -> std::sync::Arc<Target> {
    let catalog = Catalog::built_in().expect("the built-in catalogue");
    catalog.resolve(MODEL, |_| true).expect("a model of it")
}

/// A request is read, and written anew for the provider.
fn requests(criterion: &mut Criterion) {
    let target = target();
    let mut group = criterion.benchmark_group("request");
    for (name, body) in bodies() {
        group.bench_with_input(BenchmarkId::new("read", name), &body, |bencher, body| {
            bencher.iter(|| Request::parse(Format::Chat, black_box(body.clone())));
        });
        group.bench_with_input(BenchmarkId::new("rewrite", name), &body, |bencher, body| {
            let rewrite = |request: Request| {
                let dialect = &target.provider.dialect;
                request.into_upstream(&target.upstream_model, dialect, Tokens::new(256))
            };
            bencher.iter_batched(|| parsed(body), rewrite, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// A model is found, a call is bounded and priced, an answer is priced.
fn prices(criterion: &mut Criterion) {
    let catalog = Catalog::built_in().expect("the built-in catalogue");
    let mut group = criterion.benchmark_group("price");
    for name in [MODEL, "openai/gpt-4o-mini", "no-such-model"] {
        group.bench_function(BenchmarkId::new("resolve", name), |bencher| {
            bencher.iter(|| catalog.resolve(black_box(name), |_| true));
        });
    }
    let (target, request) = (target(), parsed(&bodies::chat().into()));
    group.bench_function("bounds and worst case", |bencher| {
        bencher.iter(|| {
            let request = black_box(&request);
            let limits = OutputLimits {
                model_maximum: target.max_output,
                run_maximum: None,
                default: Tokens::new(16_384),
            };
            let window = target.context_window;
            let input = input_bound(request.text_bytes, request.shape, &target.constants, window);
            let output = output_bound(request.asked_output, &limits);
            let wanted = Wanted {
                prices: target.prices.into(),
                input,
                output,
                choices: request.choices,
                least_output: Tokens::new(256),
                on_cap: OnCap::Clamp,
            };
            wanted.amounts(output)
        });
    });
    let usage = Usage {
        uncached_input: Tokens::new(1_234),
        cached_input: Tokens::new(4_096),
        output: Tokens::new(567),
        ..Usage::default()
    };
    group.bench_function("cost of a usage", |bencher| {
        bencher.iter(|| target.prices.cost(black_box(&usage)));
    });
    group.finish();
}

/// The usage of a whole answer is found.
fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    for (name, words) in [("small", 30), ("100 KB", 20_000)] {
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                         "message": {"role": "assistant", "content": "word ".repeat(words)}}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42,
                      "prompt_tokens_details": {"cached_tokens": 0}}
        });
        let body = body.to_string();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("read", name), |bencher| {
            bencher.iter(|| read_answer(Format::Chat, black_box(body.as_bytes())));
        });
    }
    group.finish();
}

/// A stream of 100 events and `[DONE]`, as OpenAI writes them.
fn events() -> Vec<Bytes> {
    let event = |delta: &str, finish: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
             \"created\":1700000000,\"model\":\"gpt-4o-mini-2024-07-18\",\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":[{{\
             \"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\
             \"usage\":{usage}}}\n\n"
        )
    };
    let mut all = vec![event("{\"role\":\"assistant\",\"content\":\"\"}", "null", "null")];
    all.extend(
        (0..bodies::EVENTS - 2)
            .map(|n| event(&format!("{{\"content\":\" word{n}\"}}"), "null", "null")),
    );
    let usage = "{\"prompt_tokens\":12,\"completion_tokens\":98,\"total_tokens\":110}";
    all.push(event("{}", "\"stop\"", usage));
    all.push("data: [DONE]\n\n".to_owned());
    all.into_iter().map(Bytes::from).collect()
}

/// A stream is metered while it passes.
fn streams(criterion: &mut Criterion) {
    let one_by_one = events();
    let joined = Bytes::from(one_by_one.concat());
    let together: Vec<Bytes> = joined.chunks(READ_BYTES).map(Bytes::copy_from_slice).collect();
    let mut group = criterion.benchmark_group("stream of 100 events");
    group.throughput(Throughput::Bytes(joined.len() as u64));
    for (name, pieces) in [("one by one", one_by_one), ("together", together)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut meter = StreamMeter::new(Format::Chat, true, MAX_EVENT_BYTES);
                let mut out = VecDeque::new();
                for piece in &pieces {
                    meter.feed(black_box(piece.clone()), &mut out).expect("a good stream");
                    out.clear();
                }
                assert!(meter.is_done() && meter.usage().is_some());
                meter
            });
        });
    }
    group.finish();
}

/// A request becomes one of the other format and is read again; the stream comes back.
fn translations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translation");
    let chat = |prompt: &str| bodies::few_of_chat(MODEL, prompt);
    let message = |prompt: &str| bodies::few_of_messages(MODEL, prompt);
    let (short, long) = (bodies::STORY, &bodies::source_code());
    let (to_messages, to_chat) =
        ((Format::Chat, Format::Messages), (Format::Messages, Format::Chat));
    let ways = [
        ("chat to messages", to_messages, chat(short)),
        ("messages to chat", to_chat, message(short)),
        ("chat to messages, 200 KB", to_messages, chat(long)),
        ("messages to chat, 200 KB", to_chat, message(long)),
    ];
    for (name, formats, body) in ways {
        group.bench_function(BenchmarkId::new("request", name), |bencher| {
            bencher.iter(|| {
                let (body, client) = (black_box(body.as_bytes()), ChatClient::default());
                let there = Translation::of(formats, body, Thinking::default(), None, client);
                let body = there.expect("both can say it").body;
                Request::parse(formats.1, body.into()).expect("it was written well")
            });
        });
    }
    let chunks = events();
    group.bench_function(BenchmarkId::new("stream of 100 events", "chat to messages"), |bencher| {
        bencher.iter(|| {
            let translate = Box::new(ChatToMessages::new());
            let mut meter = StreamMeter::translating(Format::Chat, translate, MAX_EVENT_BYTES);
            let mut out = VecDeque::new();
            for piece in &chunks {
                meter.feed(black_box(piece.clone()), &mut out).expect("a good stream");
                out.clear();
            }
            assert!(meter.is_done() && meter.usage().is_some());
            meter
        });
    });
    group.finish();
}

/// Tokens are counted.
fn counting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("count 10 KB");
    let mut text = String::new();
    while text.len() < 10_000 {
        text.push_str("The quick brown fox jumps over the lazy dog; `let x = y[3];` does not.\n");
    }
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, tokenizer) in [("o200k", Tokenizer::O200k), ("cl100k", Tokenizer::Cl100k)] {
        group.bench_function(name, |bencher| bencher.iter(|| tokenizer.count(black_box(&text))));
    }
    group.finish();
}

/// What a text gains by being normalised: of prompts, and of the dearest that somebody may send.
fn normal(criterion: &mut Criterion) {
    const BYTES: usize = 1 << 20;
    let mut group = criterion.benchmark_group("growth of 1 MB");
    for (name, text) in [
        ("English", "The quick brown fox jumps over the lazy dog.\\n"),
        ("French", "D\u{e9}j\u{e0} vu, o\u{f9} est pass\u{e9} l'\u{e9}t\u{e9} ?\\n"),
        ("Chinese", "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}\u{ff01}"),
        ("Korean", "\u{d55c}\u{ad6d}\u{c5b4}\u{b97c} \u{c77d}\u{b294}\u{b2e4}. "),
        ("marks", "\u{344}\u{323}"),
        ("escapes", "\\ufdfa"),
    ] {
        let text = text.repeat(BYTES / text.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| growth(black_box(&text), Written::Json, Normalizing::Composing));
        });
    }
    group.finish();
}

/// A credential is told apart and hashed.
fn credentials(criterion: &mut Criterion) {
    let token = NewRunToken::generate().expect("randomness").secret;
    let token = token.expose_secret();
    let mut group = criterion.benchmark_group("credential");
    for (name, text) in [("token", token), ("run id", "acc4b998-6324-4efd-9911-0c95ac0a203c")] {
        group.bench_function(name, |bencher| bencher.iter(|| Credential::parse(black_box(text))));
    }
    group.finish();
}

/// The way in: what a call pays that falls under no limit but calls at once, and under every one.
fn pace(criterion: &mut Criterion) {
    const MOST: u32 = 1_000_000_000;
    let every = Limits {
        requests_per_second: Some(MOST),
        requests_per_minute: Some(MOST),
        tokens_per_minute: Some(MOST),
        max_concurrency: Some(MOST),
    };
    let mut group = criterion.benchmark_group("pace");
    for (name, others) in [("no limit", Limits::default()), ("every limit", every)] {
        let [run, key, payer, endpoint] =
            [Limits::default(), others, others, others].map(Paced::new);
        let [of_run, of_key, of_payer, of_endpoint]: [Arc<Concurrency>; 4] = Default::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (run, key) = (run.now(), key.now());
                let (payer, endpoint) = (payer.now(), endpoint.now());
                let scopes = [
                    scope(&run, &of_run, Some(64)),
                    scope(&key, &of_key, None),
                    scope(&payer, &of_payer, None),
                    scope(&endpoint, &of_endpoint, None),
                ];
                enter(&scopes, 1)
            });
        });
    }
    group.finish();
}

fn scope<'a>(held: &'a Held, places: &'a Arc<Concurrency>, most: Option<u32>) -> Scope<'a> {
    let most = held.limits.max_concurrency.or(most);
    Scope { whose: Whose::Run, pace: held.pace.as_ref(), places: most.map(|most| (places, most)) }
}
