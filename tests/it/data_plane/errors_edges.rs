//! The edges of a request: what stands before its body, bodies that do not end, other doors.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::refused::{Checked, check, refused};
use super::stage::{Stage, ask};
use crate::support::client::{Answer, prompt};
use crate::support::gateway::TestGateway;

const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(10);

async fn answer(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

/// Everything that is answered to these bytes until the gateway closes the connection.
async fn until_closed(gateway: &TestGateway, bytes: &str) -> String {
    let mut stream = TcpStream::connect(gateway.running.data_addr).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    let reading = stream.read_to_end(&mut answered);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.expect("the connection stays open").unwrap();
    String::from_utf8(answered).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_asks_for_a_websocket_is_refused_before_its_body() {
    let gateway = TestGateway::dev(&[]).await;
    for (path, upgrade) in [
        (CHAT, "websocket"),
        ("/agents/inference", "WebSocket"),
        ("/v1/responses", "h2c, websocket"),
        ("/healthz", "websocket/13"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n");
        let head = format!("{head}connection: upgrade\r\nupgrade: {upgrade}\r\n\r\n");
        let answered = until_closed(&gateway, &head).await;
        assert!(answered.starts_with("HTTP/1.1 426 "), "{path} {upgrade}: {answered}");
        assert!(answered.contains(r#""code":"upgrade_not_supported""#), "{answered}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_another_protocol_is_ignored() {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let offer = |request: RequestBuilder| {
        request
            .header("connection", "upgrade, http2-settings")
            .header("upgrade", "h2c")
            .header("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")
    };
    let post = |path: &str| client.http.post(format!("{}{path}", client.data));
    let served = answer(offer(post(CHAT)).json(&prompt("hi"))).await;
    assert_eq!(served.status, 200, "{}", served.text);
    let says = "There is no such endpoint here. GET /v1/models and POST /v1/chat/completions are.";
    let missing = answer(offer(post("/v1/batches")).json(&prompt("hi"))).await;
    check("unknown path", &missing, &refused("not_found", says));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_on_a_body_that_is_not_read_to_its_end() {
    let gateway = TestGateway::dev(&[("MAX_BODY_BYTES", "2000")]).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let chunk = format!("bb8\r\n{}\r\n", " ".repeat(3000));
    for (name, request, status) in [
        ("no end", format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}"), "413"),
        ("announced", format!("{head}content-length: 3000\r\n\r\n{{"), "413"),
        (
            "of no known encoding",
            format!("{head}content-encoding: br\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n"),
            "415",
        ),
    ] {
        let answered = until_closed(&gateway, &request).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answered}");
        assert!(answered.contains("connection: close\r\n"), "{name}: {answered}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developers_gateway_does_not_obey_run_auth_but_a_runs_own_wish() {
    let gateway = TestGateway::dev(&[("RUN_AUTH", "token")]).await;
    let client = &gateway.client;
    let url = format!("{}{CHAT}", client.data);
    let post = || client.http.post(&url).json(&prompt("hi"));
    let mine = uuid::Uuid::new_v4().to_string();
    for (name, request) in [
        ("nothing", post()),
        ("id as key", post().bearer_auth(&mine)),
        ("id in a header", post().header("x-run-id", &mine)),
        ("foreign keys", post().bearer_auth("sk-1").header("x-api-key", "sk-2")),
        ("keys of both kinds", post().bearer_auth("rg-key-a").header("x-api-key", "sk-2")),
    ] {
        let served = answer(request).await;
        assert_eq!(served.status, 200, "{name}: {}", served.text);
    }
    let run = client.register(json!({"cost_limit_usd": "1", "require_token": true})).await;
    assert_eq!(answer(post().header("x-run-id", &run.id)).await.code(), "invalid_key");
    let beside = post().header("x-api-key", "rg-key-a").bearer_auth(&run.token);
    let served = answer(beside).await;
    assert_eq!(served.header("x-run-id"), Some(run.id.as_str()), "{}", served.text);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_credentials_are_refused_whosever_they_are() {
    let stage = Stage::simulated(&[]).await;
    let client = stage.client();
    let post = || client.http.post(format!("{}{CHAT}", client.data)).json(&ask("hi"));
    let says = "The request carries two different credentials. Send one of them only.";
    let long = |end: &str| format!("{}{end}", "x".repeat(1000));
    let mut checked = Checked::default();
    for (name, request) in [
        ("foreign", post().bearer_auth("sk-1").header("x-api-key", "sk-2")),
        ("schemes", post().header("authorization", "Basic YTpi").header("api-key", "sk-2")),
        ("long", post().header("x-api-key", long("a")).header("api-key", long("b"))),
        ("no text", post().header("x-api-key", &b"\xff"[..]).header("api-key", &b"\xfe"[..])),
    ] {
        checked.refusal(name, &answer(request).await, &refused("invalid_request", says));
    }
    checked.done();
    let same = post().bearer_auth("sk-1").header("x-api-key", "sk-1");
    assert_eq!(answer(same).await.code(), "invalid_key");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_of_a_call_names_its_run_too() {
    let stage = Stage::simulated(&[]).await;
    let (a, b) = (stage.run(json!({})).await, stage.run(json!({})).await);
    let client = stage.client();
    let post = |path: &str, name: &str, run: &str| {
        client.http.post(format!("{}{path}?{name}={run}", client.data)).json(&ask("hi"))
    };
    for path in [CHAT, "/agents/inference"] {
        for name in ["run_id", "evaluation_run_id"] {
            let served = answer(post(path, name, &a.id)).await;
            assert_eq!(served.status, 200, "{path} {name}: {}", served.text);
            assert_eq!(served.header("x-run-id"), Some(a.id.as_str()));
            for request in [
                post(path, name, &b.id).bearer_auth(&a.token),
                post(path, name, &b.id).header("x-run-id", &a.id),
                post(path, name, &format!("{}&run_id={}", a.id, b.id)),
            ] {
                assert_eq!(answer(request).await.code(), "run_id_mismatch", "{path} {name}");
            }
            assert_eq!(answer(post(path, name, "x")).await.code(), "invalid_run_id");
        }
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_also_told_below_a_runs_token() {
    let stage = Stage::simulated(&[]).await;
    let client = stage.client();
    let get = |path: &str| client.http.get(format!("{}{path}", client.data));
    for prefix in ["", "/r/rg-run-abc"] {
        let (alive, ready) = (format!("{prefix}/healthz"), format!("{prefix}/readyz"));
        assert_eq!(answer(get(&alive)).await.text, r#"{"status":"ok","mode":"serve"}"#);
        assert_eq!(answer(get(&ready)).await.text, r#"{"status":"ready","mode":"serve"}"#);
    }
    stage.gateway.running.gateway.drain();
    assert_eq!(answer(get("/r/rg-run-abc/readyz")).await.code(), "unavailable");
    stage.end().await;
}
