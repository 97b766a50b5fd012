//! What passes through: streams byte by byte, bodies in any encoding, under any of the paths.

use std::io::Write as _;

use futures_util::StreamExt as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::endings_streams::{content, events};
use super::stage::{MODEL, Stage, ask, ask_streamed, cost, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const FIRST: &str =
    "data: {\"model\":\"gpt-4o-mini\", \"choices\":[ {\"delta\":{\"content\":\"\\u00e9 é\"}}]}\n\n";
const REST: &str = ":\n\nevent: message\nid: 7\ndata: {\"choices\":[{\"delta\":{}}]}\n\n";
const WITH_USAGE: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":\
                          {\"prompt_tokens\":8,\"completion_tokens\":1}}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

async fn post(stage: &Stage, run: &Run, path: &str, body: &Value) -> Answer {
    let request = stage.client().http.post(format!("{}{path}", stage.client().data));
    Answer::of(request.bearer_auth(&run.token).json(body).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_byte_for_byte_and_the_usage_chunk_only_where_it_is_wanted() {
    let whole = [FIRST, REST, WITH_USAGE, USAGE, DONE].concat();
    let hidden = [FIRST, REST, WITH_USAGE, DONE].concat();
    // OpenRouter's clients see the cost wherever they see usage, and every other byte as it came.
    let cost = cost(MODEL, 8, 0, 1);
    let priced = hidden.replace("_tokens\":1}", &format!("_tokens\":1,\"cost\":{cost}}}"));
    let provider = ScriptedProvider::answering(format!("{HEAD}{whole}"), Then::Close).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let asked = |wanted: bool| json!({"stream_options": {"include_usage": wanted}});
    for (path, options, expected) in [
        ("/v1/chat/completions", json!({}), &hidden),
        ("/v1/chat/completions", asked(false), &hidden),
        ("/v1/chat/completions", asked(true), &whole),
        ("/api/v1/chat/completions", json!({}), &priced),
        ("/agents/inference", json!({}), &hidden),
        ("/agents/inference", asked(true), &whole),
        ("/inference/v1/chat/completions", json!({}), &whole),
        ("/inference/v1/chat/completions", asked(false), &whole),
    ] {
        let answer = post(&stage, &run, path, &with(ask_streamed("hi"), options.clone())).await;
        assert_eq!(&answer.text, expected, "{path} {options}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-run-cost-usd"), None, "not known at the head");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_is_passed_on_before_the_rest_comes() {
    let bytes = format!("{HEAD}{FIRST}{REST}");
    let provider = ScriptedProvider::answering(bytes, Then::Stall).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let response = stage.client().chat(&run, &ask_streamed("hi")).send().await.unwrap();
    let mut pieces = response.bytes_stream();
    let mut seen = String::new();
    while seen.len() < FIRST.len() + REST.len() {
        seen.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(seen, format!("{FIRST}{REST}"));
    stage.in_flight(&run, 1).await;
    stage.abort(&run).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_says_what_the_whole_one_says() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let whole = stage.client().ask(&run, &ask("tell me")).await;
    let options = json!({"stream_options": {"include_usage": true}});
    let streamed = stage.client().ask(&run, &with(ask_streamed("tell me"), options)).await;
    let (whole, parts) = (whole.json(), events(&streamed.text));
    assert_eq!(whole["choices"][0]["message"]["content"], content(&streamed.text));
    assert_eq!(parts.last().unwrap()["usage"], whole["usage"]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_come_as_gzip_and_zstd_and_of_no_announced_length() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let plain = ask(&"word ".repeat(20_000)).to_string().into_bytes();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).unwrap();
    let url = format!("{}/v1/chat/completions", stage.client().data);
    let request = || -> RequestBuilder {
        let request = stage.client().http.post(&url).bearer_auth(&run.token);
        request.header("content-type", "application/json; charset=utf-8")
    };
    let pieces = plain.chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces = futures_util::stream::iter(pieces.collect::<Vec<_>>());
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let requests = [
        request().header("content-encoding", "gzip").body(encoder.finish().unwrap()),
        request().header("content-encoding", "ZSTD").body(zstd),
        request().header("content-encoding", "identity").body(plain.clone()),
        request().body(reqwest::Body::wrap_stream(pieces)),
        stage.client().http.post(&url).bearer_auth(&run.token).body(plain),
    ];
    let mut answers = std::collections::HashSet::new();
    for request in requests {
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answers.insert(answer.json()["choices"].to_string());
    }
    assert_eq!(answers.len(), 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_base_path_serves_the_same_also_under_the_token() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let (http, data) = (&stage.client().http, &stage.client().data);
    let get = async |url: String| {
        Answer::of(http.get(url).header("x-run-id", &run.id).send().await.unwrap()).await
    };
    for base in ["/v1", "/inference/v1", "/api/v1"] {
        let path = format!("{base}/chat/completions");
        assert_eq!(post(&stage, &run, &path, &ask("hi")).await.status, 200, "{path}");
        for path in ["usage", "models", "models/gpt-4o-mini"] {
            let with_header = get(format!("{data}{base}/{path}")).await;
            let url = format!("{data}/r/{}{base}/{path}", run.token);
            let by_path = Answer::of(http.get(url).send().await.unwrap()).await;
            assert_eq!((with_header.status, by_path.status), (200, 200), "{base}/{path}");
            assert_eq!(with_header.text, by_path.text);
        }
        let url = format!("{data}/r/{}{path}", run.token);
        let by_path = Answer::of(http.post(url).json(&ask("hi")).send().await.unwrap()).await;
        assert_eq!(by_path.status, 200, "{}", by_path.text);
        assert_eq!(by_path.header("x-run-id"), Some(run.id.as_str()));
    }
    let url = format!("{data}/r/{}/agents/inference", run.token);
    let by_path = Answer::of(http.post(&url).json(&ask("hi")).send().await.unwrap()).await;
    assert_eq!(by_path.status, 200, "{}", by_path.text);
    let unknown = format!("{data}/r/rg-run-nobody/v1/chat/completions");
    let refused = Answer::of(http.post(unknown).json(&ask("hi")).send().await.unwrap()).await;
    assert_eq!(refused.code(), "invalid_key");
    let rows = stage.client().settled(&run).await;
    assert_eq!(rows["calls"], 7);
    let endpoints: Vec<Value> =
        stage.client().calls(&run).await.iter().map(|row| row["endpoint"].clone()).collect();
    let (chat, shows) = ("/v1/chat/completions", "/inference/v1/chat/completions");
    assert_eq!(
        endpoints,
        [chat, chat, shows, shows, chat, chat, "/agents/inference"],
        "constants, never the path as it came"
    );
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sane_request_id_is_echoed_and_any_other_replaced() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let longest = "a".repeat(128);
    for (given, echoed) in [
        ("req-1.2:3_X", true),
        (longest.as_str(), true),
        ("", false),
        ("has space", false),
        ("semi;colon", false),
        ("<script>", false),
        (&"a".repeat(129), false),
    ] {
        for body in [ask("hi"), json!({})] {
            let request = stage.client().chat(&run, &body).header("x-request-id", given);
            let answer = Answer::of(request.send().await.unwrap()).await;
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == given, echoed, "{given}: {id}");
            let fresh = id.strip_prefix("req_").is_some_and(|rest| {
                rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            assert!(echoed || fresh, "{id}");
        }
    }
    let rows = stage.client().calls(&run).await;
    assert!(rows.iter().any(|row| row["request_id"] == longest.as_str()));
    assert!(rows.iter().all(|row| row["model"] == MODEL));
    stage.end().await;
}
