//! Refusals of bodies, sizes, encodings, paths and methods, each to the byte.

use std::io::Write as _;

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::refused::{Checked, Refused, check, refused};
use super::stage::{Stage, ask};
use crate::support::client::{Answer, Client};
use crate::support::gateway::TestGateway;

const CHAT: &str = "/v1/chat/completions";

fn post(client: &Client, path: &str) -> RequestBuilder {
    client.http.post(format!("{}{path}", client.data)).header("content-type", "application/json")
}

async fn answer(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

fn user(content: &str) -> String {
    format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":{content}}}]}}"#)
}

fn hello(members: &str) -> String {
    format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"hi"}}],{members}}}"#)
}

fn malformed() -> Vec<(String, Refused)> {
    let invalid = |param: &str, says: &str| {
        refused("invalid_request", format!("`{param}` {says}.")).param(param)
    };
    let syntax = |says: &str| refused("invalid_request", says.to_owned());
    let twice = "is given twice; give each field once";
    vec![
        (
            String::new(),
            syntax(
                "The body is not valid JSON: EOF while parsing a value at line 1 column 0. Send \
                 one JSON object.",
            ),
        ),
        (
            r#"{"model":"#.to_owned(),
            syntax(
                "The body is not valid JSON: EOF while parsing a value at line 1 column 9. Send \
                 one JSON object.",
            ),
        ),
        ("[]".to_owned(), syntax("The body must be one JSON object.")),
        ("null".to_owned(), syntax("The body must be one JSON object.")),
        (
            format!("{} {{}}", hello(r#""n":1"#)),
            syntax(
                "The body is not valid JSON: trailing characters at line 1 column 75. Send one \
                 JSON object.",
            ),
        ),
        ("{}".to_owned(), invalid("model", "is required")),
        (r#"{"model":"gpt-4o-mini"}"#.to_owned(), invalid("messages", "is required")),
        (
            r#"{"model":"gpt-4o-mini","messages":[]}"#.to_owned(),
            invalid("messages", "is empty; send at least one message"),
        ),
        (
            r#"{"model":"gpt-4o-mini","messages":{}}"#.to_owned(),
            invalid("messages", "must be an array"),
        ),
        (r#"{"model":7,"messages":[]}"#.to_owned(), invalid("model", "must be a string")),
        (hello(r#""model":"gpt-4o-mini""#), invalid("model", twice)),
        (hello(r#""\u006dodel":"gpt-4o""#), invalid("model", twice)),
        (user(r#""a","content":"b""#), invalid("messages[0].content", twice)),
        (
            hello(r#""tools":[{"type":"function","function":{"parameters":{"a":1,"a":2}}}]"#),
            invalid(
                "tools[0].function.parameters",
                "has an object with the same key twice; give each key once",
            ),
        ),
        (hello(r#""n":17"#), invalid("n", "must be a whole number from 1 to 16")),
        (hello(r#""n":0"#), invalid("n", "must be a whole number from 1 to 16")),
        (hello(r#""stream":1"#), invalid("stream", "must be true or false")),
        (hello(r#""temperature":1e999"#), invalid("temperature", "must be a finite number")),
        (
            user(r#""\ud800""#),
            invalid("messages[0].content", "has half of a surrogate pair; send whole characters"),
        ),
    ]
}

fn not_allowed() -> Vec<(String, Refused)> {
    let forbidden = |param: &str, says: &str| {
        refused("parameter_not_allowed", format!("`{param}` {says}.")).param(param)
    };
    let unknown = "is not a field that this gateway passes on; remove it";
    let fetched = "must be `data:image/(png|jpeg|webp|gif);base64,…`: nothing is fetched; send \
                   the image itself";
    let image =
        |url: &str| user(&format!(r#"[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]"#));
    let at_url = "messages[0].content[0].image_url.url";
    vec![
        (hello(r#""frobnicate":1"#), forbidden("frobnicate", unknown)),
        (
            hello(r#""base_url":"http://x""#),
            forbidden("base_url", "is not passed on: the provider's address is the gateway's"),
        ),
        (
            hello(r#""previous_response_id":"r"#.to_owned().as_str()).replace("\"r}", "\"r\"}"),
            forbidden(
                "previous_response_id",
                "is not passed on: input that the request does not show cannot be counted",
            ),
        ),
        (user(r#""a","frob":1"#), forbidden("messages[0].frob", unknown)),
        (
            hello(r#""tools":[{"type":"web_search"}]"#),
            forbidden(
                "tools[0].type",
                "may only be function, custom: anything else reaches outside or has no price here",
            ),
        ),
        (
            hello(r#""service_tier":"priority""#),
            forbidden("service_tier", "may only be auto or default: other tiers have other prices"),
        ),
        (
            hello(r#""store":true"#),
            forbidden("store", "may only be false: nothing is kept at the provider"),
        ),
        (image("https://example.com/a.png"), forbidden(at_url, fetched)),
        (image("HTTP://example.com/a.png"), forbidden(at_url, fetched)),
        (image("//example.com/a.png"), forbidden(at_url, fetched)),
        (image("file:///etc/passwd"), forbidden(at_url, fetched)),
        (image("data:text/html;base64,AAAA"), forbidden(at_url, fetched)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_a_rule_is_refused_with_the_rule_and_the_field() {
    let gateway = TestGateway::dev(&[]).await;
    let mut checked = Checked::default();
    for (body, expected) in malformed().into_iter().chain(not_allowed()) {
        let sent = answer(post(&gateway.client, CHAT).body(body.clone())).await;
        assert_eq!(sent.header("x-rungate-mode"), Some("dev"));
        checked.refusal(&body, &sent, &expected);
    }
    checked.done();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_limit_is_a_whole_number_from_one_to_the_largest() {
    let gateway = TestGateway::dev(&[]).await;
    let mut checked = Checked::default();
    for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        let says = "must be a whole number from 1 to 2147483647";
        let expected = refused("invalid_request", format!("`{name}` {says}.")).param(name);
        for value in
            ["0", "-1", "1.5", "1e3", "\"5\"", "true", "[]", "2147483648", "9223372036854775808"]
        {
            let body = hello(&format!(r#""{name}":{value}"#));
            let sent = answer(post(&gateway.client, CHAT).body(body)).await;
            checked.refusal(&format!("{name} = {value}"), &sent, &expected);
        }
        for value in ["1", "2147483647", "null"] {
            let body = hello(&format!(r#""{name}":{value}"#));
            let sent = answer(post(&gateway.client, CHAT).body(body)).await;
            assert_eq!(sent.status, 200, "{name} = {value}: {}", sent.text);
        }
    }
    checked.done();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_in_the_catalogue_or_does_not_fit_is_refused() {
    let gateway = TestGateway::dev(&[]).await;
    let mut checked = Checked::default();
    for name in ["gpt-9", "GPT-4O-MINI", "gpt‑4o‑mini", "gpt-4o-mini ", "openai/", "nobody/gpt-4o"]
    {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hi"}]});
        let sent = answer(post(&gateway.client, CHAT).json(&body)).await;
        let says =
            format!("There is no model {name:?} here. GET /v1/models lists those that there are.");
        checked.refusal(name, &sent, &refused("invalid_model", says).param("model"));
    }
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let body = json!({"model": "o3-mini", "messages": [{"role": "user", "content": image}]});
    let sent = answer(post(&gateway.client, CHAT).json(&body)).await;
    let says = "o3-mini takes no images here: their cost is not bounded.";
    checked.refusal("image", &sent, &refused("parameter_not_allowed", says).param("messages"));
    checked.done();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_endpoint_does_not_exist() {
    let gateway = TestGateway::dev(&[]).await;
    let says = "There is no such endpoint here. GET /v1/models and POST /v1/chat/completions are.";
    let expected = refused("not_found", says);
    let mut checked = Checked::default();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "//"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/chat/completions;x"),
        ("POST", "/v1/chat%2fcompletions"),
        ("GET", "/v1/../admin"),
        ("GET", "/v1/%2e%2e/admin"),
        ("GET", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/runs"),
        ("POST", "/runs"),
        ("GET", "/metrics"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("POST", "/v1/usage"),
        ("POST", "/healthz"),
        ("PROPFIND", "/v1/models"),
    ] {
        let sent = raw(&gateway, method, path).await;
        checked.refusal(&format!("{method} {path}"), &sent, &expected);
    }
    checked.done();
    gateway.stop().await;
}

/// A request whose path no client has tidied.
async fn raw(gateway: &TestGateway, method: &str, path: &str) -> Answer {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(gateway.running.data_addr).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, value.parse().unwrap());
    }
    Answer { status, headers, text: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_refused_at_once() {
    let gateway = TestGateway::dev(&[]).await;
    let says = "This gateway speaks plain HTTP only. Send the request as a POST.";
    for path in [CHAT, "/v1/responses"] {
        let request = gateway
            .client
            .http
            .request(Method::GET, format!("{}{path}", gateway.client.data))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        check(path, &answer(request).await, &refused("upgrade_not_supported", says));
    }
    gateway.stop().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_refused_by_its_size_before_and_after_decoding() {
    let gateway = TestGateway::dev(&[("MAX_BODY_BYTES", "20000")]).await;
    let says = "The body is larger than 20000 bytes, decoded. Send a shorter request.";
    let expected = refused("request_too_large", says);
    let large = vec![b' '; 20_001];
    let bomb = vec![b' '; 50_000_000];
    let twice: Vec<u8> = [gzip(&large[..20_000]), gzip(b"{}")].concat();
    let mut checked = Checked::default();
    for (name, encoding, body) in [
        ("plain", "identity", large.clone()),
        ("gzip", "gzip", gzip(&large)),
        ("gzip of two members", "gzip", twice),
        ("gzip bomb", "gzip", gzip(&bomb)),
        ("zstd", "zstd", zstd::encode_all(&large[..], 1).unwrap()),
        ("zstd bomb", "zstd", zstd::encode_all(&bomb[..], 19).unwrap()),
    ] {
        let request = post(&gateway.client, CHAT).header("content-encoding", encoding).body(body);
        checked.refusal(name, &answer(request).await, &expected);
    }
    let pieces = futures_util::stream::iter(vec![Ok::<_, std::io::Error>(large)]);
    let request = post(&gateway.client, CHAT).body(reqwest::Body::wrap_stream(pieces));
    checked.refusal("of no announced length", &answer(request).await, &expected);
    checked.done();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_refused_by_its_type_and_encoding() {
    let gateway = TestGateway::dev(&[]).await;
    let types = "Send the body as `content-type: application/json`.";
    let encodings = "The body's content-encoding is not supported. Send it plain, or as gzip or \
                     zstd.";
    let mut checked = Checked::default();
    for (headers, says) in [
        (&[("content-type", "text/plain")][..], types),
        (&[("content-type", "multipart/form-data; boundary=x")], types),
        (&[("content-encoding", "br")], encodings),
        (&[("content-encoding", "deflate")], encodings),
        (&[("content-encoding", "gzip, zstd")], encodings),
        (&[("content-encoding", "gzip"), ("content-encoding", "zstd")], encodings),
    ] {
        let url = format!("{}{CHAT}", gateway.client.data);
        let mut request = gateway.client.http.post(url).body(ask("hi").to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let expected = refused("unsupported_media_type", says);
        checked.refusal(&format!("{headers:?}"), &answer(request).await, &expected);
    }
    for encoding in ["gzip", "zstd"] {
        let request = post(&gateway.client, CHAT).header("content-encoding", encoding).body("{}");
        let says = "The body is not what its content-encoding says.";
        checked.refusal(encoding, &answer(request).await, &refused("invalid_request", says));
    }
    checked.done();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_gateway_and_one_without_its_ledger_admit_nothing() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    stage.gateway.running.gateway.drain();
    let says = "This gateway is shutting down. Nothing was sent; try again shortly.";
    let drained = stage.client().ask(&run, &ask("hi")).await;
    check("draining", &drained, &refused("unavailable", says));
    let get = |path: &str| stage.client().http.get(format!("{}{path}", stage.client().data));
    check("readyz", &answer(get("/readyz")).await, &refused("unavailable", says));
    let alive = answer(get("/healthz")).await;
    assert_eq!((alive.status, alive.text.as_str()), (200, r#"{"status":"ok","mode":"serve"}"#));
    stage.end().await;
}
