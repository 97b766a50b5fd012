//! Bodies that are small to send and large to read.

use std::fs;
use std::io::{Read as _, Write as _};

use futures_util::future::join_all;
use serde_json::json;

use super::sent;
use crate::data_plane::stage::{Stage, ask};
use crate::support::client::{Client, Run};
use crate::support::postgres::database;
use crate::support::process::GatewayProcess;

/// What twenty bombs at once may take, in bytes.
const MOST: u64 = 64 << 20;
const MIB: usize = 1 << 20;

/// A body, its encoding, and the status that it gets.
type Bomb = (&'static str, &'static str, Vec<u8>, u16);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn hello(more: &str) -> String {
    let message = r#"{"role":"user","content":"hi"}"#;
    format!(r#"{{"model":"gpt-4o-mini","max_tokens":5,"messages":[{message}]{more}}}"#)
}

fn packed() -> Vec<Bomb> {
    let content = |size: usize| hello(&format!(r#","user":"{}""#, "a".repeat(size)));
    let zeros = gzip(&vec![b' '; MIB]);
    let mut garbage = gzip(hello("").as_bytes());
    garbage.extend_from_slice(&[0x55; 1000]);
    let whole = gzip(hello("").as_bytes());
    let endless = zstd::encode_all(std::io::repeat(b' ').take(1 << 26), 1).unwrap();
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(hello("").as_bytes()).unwrap();
    vec![
        ("ten megabytes in ten kilobytes", "gzip", gzip(content(9 * MIB).as_bytes()), 413),
        ("many members", "gzip", zeros.repeat(64), 413),
        ("a bomb in a parcel", "gzip", gzip(&zeros.repeat(8)), 400),
        ("garbage at the end", "gzip", garbage, 400),
        ("half of it", "gzip", whole[..whole.len() / 2].to_vec(), 400),
        ("64 MiB in six kilobytes", "zstd", endless, 413),
        ("a valid request, repeated text", "zstd", zstd(content(9 * MIB).as_bytes()), 413),
        ("many frames", "zstd", zstd(&vec![b'['; MIB]).repeat(64), 413),
        ("a window of 128 MiB", "zstd", wide.finish().unwrap(), 400),
        ("a million levels", "zstd", zstd(&vec![b'['; MIB]), 413),
    ]
}

fn plain() -> Vec<Bomb> {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let keys = || (0..150_000).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",");
    let digits = "9".repeat(MIB);
    let parts = many(r#"{"type":"text","text":""}"#, 60_000);
    vec![
        ("deep", "identity", vec![b'['; 2 * MIB], 400),
        (
            "deep below a field",
            "identity",
            hello(&format!(r#","response_format":{}"#, r#"{"a":"#.repeat(300_000))).into(),
            400,
        ),
        (
            "many messages",
            "identity",
            format!(r#"{{"model":"m","messages":[{}]}}"#, many(r#"{"role":"user"}"#, 120_000))
                .into(),
            400,
        ),
        (
            "many parts",
            "identity",
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{parts}]}}]}}"#).into(),
            400,
        ),
        (
            "many tools",
            "identity",
            hello(&format!(r#","tools":[{}]"#, many(r#"{"type":"custom","custom":{}}"#, 50_000)))
                .into(),
            400,
        ),
        (
            "many keys",
            "identity",
            hello(&format!(r#","response_format":{{{}}}"#, keys())).into(),
            400,
        ),
        ("many unknown fields", "identity", format!("{{{}}}", keys()).into(), 400),
        ("a long number", "identity", hello(&format!(r#","temperature":{digits}"#)).into(), 400),
        ("a long limit", "identity", hello(&format!(r#","n":{digits}"#)).into(), 400),
        ("no UTF-8", "identity", vec![0xff; 2 * MIB], 400),
    ]
}

/// A line of what the system says of a process's memory, in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

async fn throw(client: &Client, run: &Run, bombs: &[Bomb]) {
    let url = format!("{}/v1/chat/completions", client.data);
    let answers = bombs.iter().map(|(_, encoding, body, _)| {
        let request = client.http.post(&url).bearer_auth(&run.token);
        let request = request.header("content-type", "application/json");
        sent(request.header("content-encoding", *encoding).body(body.clone()))
    });
    for ((name, .., status), answer) in bombs.iter().zip(join_all(answers).await) {
        assert_eq!(answer.status, *status, "{name}: {}", answer.text);
        let origin = answer.header("x-error-origin");
        assert!(matches!(origin, Some("client" | "policy")), "{name}: {origin:?}");
    }
}

/// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_bombs_at_once_take_little_memory_and_are_the_clients_fault() {
    let gateway = GatewayProcess::serve(&database().await, &[("WORKERS", "2")]);
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let bombs: Vec<Bomb> = packed().into_iter().chain(plain()).collect();
    assert_eq!(bombs.len(), 20);
    assert_eq!(client.ask(&run, &ask("hi")).await.status, 200);
    let before = memory(gateway.pid(), "VmRSS");
    // From here on the peak is counted anew (proc(5), `clear_refs`).
    fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
    throw(client, &run, &bombs).await;
    let peak = memory(gateway.pid(), "VmHWM").saturating_sub(before);
    assert!(peak <= MOST, "{} MiB more than before", peak >> 20);
    assert_eq!(client.ask(&run, &ask("hi")).await.status, 200);
    assert_eq!(client.settled(&run).await["calls"], 2);
}

/// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn what_compresses_as_prompts_do_is_accepted() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let line = r#"{\"path\": \"src/main.rs\", \"line\": 1, \"text\": \"fn main() {}\"}\n"#;
    let mut text = String::new();
    for number in 0..20_000 {
        text.push_str(&line.replace('1', &number.to_string()));
    }
    let body = hello("").replace("hi", &text);
    for (encoding, packed) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let ratio = body.len() / packed.len();
        assert!(ratio > 8, "{encoding} made it {ratio} times smaller");
        let request =
            stage.client().http.post(format!("{}/v1/chat/completions", stage.client().data));
        let request = request.bearer_auth(&run.token).header("content-type", "application/json");
        let answer = sent(request.header("content-encoding", encoding).body(packed)).await;
        assert_eq!(answer.status, 200, "{encoding}: {}", answer.text);
    }
    stage.end().await;
}

/// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_two_readers_might_read_differently_is_refused() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let plain = hello("");
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend_from_slice(plain.as_bytes());
    let mut broken = plain.clone().into_bytes();
    broken[30] = 0xc0;
    let wide: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, body) in [
        ("byte order mark", marked),
        ("no UTF-8", broken),
        ("UTF-16", wide),
        ("NUL between", format!("{plain}\0").into()),
        ("a second body", format!("{plain}{plain}").into()),
        ("NUL in a text", plain.replace("hi", "h\0i").into()),
        ("half a pair", plain.replace("hi", r"\ud83d").into()),
        ("twice", hello(r#","max_tokens":500"#).into()),
        ("twice, escaped", hello(r#","max\u005ftokens":500"#).into()),
        ("twice, the first is null", hello(r#","n":null,"n":2"#).into()),
        ("twice in a message", plain.replace(r#""hi""#, r#""hi","role":"system""#).into()),
        ("infinite", hello(r#","temperature":1e999"#).into()),
        ("infinite in a schema", hello(r#","response_format":{"a":-1e999}"#).into()),
        ("no number of JSON", hello(r#","temperature":NaN"#).into()),
        ("a comment", hello("/**/").into()),
        ("single quotes", plain.replace('"', "'").into()),
        ("a comma too many", hello(",").into()),
    ] {
        let request =
            stage.client().http.post(format!("{}/v1/chat/completions", stage.client().data));
        let request = request.bearer_auth(&run.token).header("content-type", "application/json");
        let answer = sent(request.body::<Vec<u8>>(body)).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "invalid_request".to_owned()), "{name}: {}", answer.text);
    }
    // What is odd and says one thing to everybody passes.
    for more in [r#","temperature":1e-999"#, r#","temperature":-0"#, r#","user":"a\u0000b""#] {
        let request =
            stage.client().http.post(format!("{}/v1/chat/completions", stage.client().data));
        let request = request.bearer_auth(&run.token).header("content-type", "application/json");
        let answer = sent(request.body(hello(more))).await;
        assert_eq!(answer.status, 200, "{more}: {}", answer.text);
    }
    assert_eq!(stage.client().settled(&run).await["calls"], 3);
    stage.end().await;
}
