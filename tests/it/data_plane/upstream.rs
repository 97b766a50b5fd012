//! What a provider is sent, and what of its words may come back.

use serde_json::{Value, json};

use super::stage::{MAX_TOKENS, MODEL, PROVIDER_KEY, Stage, ask, ask_streamed, with};
use crate::support::client::Answer;
use crate::support::provider::{ScriptedProvider, Then, response};

const DONE: &str =
    r#"{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// The request line, the headers in order of their names, and the body.
fn parts(request: &str) -> (String, Vec<(String, String)>, Value) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let mut headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    headers.sort();
    (line, headers, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_gateways_own_headers_go_upstream_to_one_fixed_path() {
    let provider = ScriptedProvider::json(DONE).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    for (path, accept, body) in [
        ("/v1/chat/completions", "application/json", ask("hi")),
        ("/agents/inference?api_base=http://x", "application/json", ask("hi")),
        ("/inference/v1/chat/completions", "text/event-stream", ask_streamed("hi")),
    ] {
        let request = stage.client().http.post(format!("{}{path}", stage.client().data));
        let request = request
            .bearer_auth(&run.token)
            .header("x-run-id", &run.id)
            .header("openai-organization", "org-mine")
            .header("openai-project", "proj-mine")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-stainless-lang", "python")
            .header("x-simulate", "status=500")
            .header("cookie", "a=b")
            .header("user-agent", "agent/1")
            .header("connection", "keep-alive, authorization")
            .json(&body);
        request.send().await.unwrap();
        let seen = provider.seen();
        let sent = seen.last().unwrap();
        let (line, headers, _) = parts(sent);
        assert_eq!(line, "POST /v1/chat/completions HTTP/1.1", "{path}");
        let length = sent.split_once("\r\n\r\n").unwrap().1.len().to_string();
        let expected = [
            ("accept", accept),
            ("authorization", &format!("Bearer {PROVIDER_KEY}")),
            ("content-length", &length),
            ("content-type", "application/json"),
            ("host", &provider.address.to_string()),
            ("user-agent", concat!("rungate/", env!("CARGO_PKG_VERSION"))),
        ];
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(headers, expected, "{path}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_a_providers_address_becomes_a_header_and_leaves_the_address() {
    let provider = ScriptedProvider::json(DONE).await;
    let address = provider.base_url().replace("http://", "http://us%65r:p%40ss@");
    let settings = [("SIMULATE_PROVIDERS", "false"), ("OPENAI_BASE_URL", address.as_str())];
    let stage = Stage::simulated(&settings).await;
    let run = stage.run(json!({})).await;
    let request = stage.client().http.post(format!("{}/v1/chat/completions", stage.client().data));
    request.bearer_auth(&run.token).json(&ask("hi")).send().await.unwrap();
    let (line, headers, _) = parts(provider.seen().last().unwrap());
    assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
    // RFC 7617: base64 of `user:p@ss`.
    let login = ("authorization".to_owned(), "Basic dXNlcjpwQHNz".to_owned());
    assert!(headers.contains(&login), "{headers:?}");
    assert!(headers.contains(&("host".to_owned(), provider.address.to_string())), "{headers:?}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_upstream_has_what_is_passed_and_what_the_gateway_forces() {
    let provider = ScriptedProvider::json(DONE).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({"max_output_tokens_per_call": 40})).await;
    let given = json!({
        "model": "openai/gpt-4o-mini",
        "run_id": run.id,
        "evaluation_run_id": run.id,
        "metadata": {"run_id": run.id, "a": 1},
        "user": "me",
        "safety_identifier": "me",
        "prompt_cache_key": "mine",
        "store": false,
        "service_tier": "auto",
        "modalities": ["text"],
        "max_tokens": 900,
        "max_completion_tokens": 800,
        "temperature": 0.25,
        "seed": -7,
        "stop": ["x"],
        "n": 2,
        "plugins": null,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    });
    assert_eq!(stage.client().ask(&run, &with(ask("hi"), given)).await.status, 200);
    let (_, _, sent) = parts(&provider.seen()[0]);
    let tag = &sent["prompt_cache_key"];
    assert!(tag.as_str().is_some_and(|tag| tag.len() == 32 && *tag != *"mine"), "{sent}");
    let expected = json!({
        "messages": [{"role": "user", "content": "hi"}],
        "model": MODEL,
        "max_completion_tokens": 40,
        "temperature": 0.25,
        "seed": -7,
        "stop": ["x"],
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "store": false,
        "service_tier": "default",
        "prompt_cache_key": tag,
        "safety_identifier": tag,
    });
    assert_eq!(sent, expected);
    let streamed = with(ask_streamed("hi"), json!({"stream_options": {"include_usage": false}}));
    stage.client().ask(&run, &streamed).await;
    let (_, _, sent) = parts(&provider.seen()[1]);
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    assert_eq!((&sent["stream"], &sent["max_completion_tokens"]), (&json!(true), &json!(40)));
    assert_eq!(sent.get("max_tokens"), None);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_assumes_and_the_model_allows_bounds_the_output() {
    let provider = ScriptedProvider::json(DONE).await;
    let stage = Stage::before(&provider, &[("DEFAULT_MAX_OUTPUT_TOKENS", "777")]).await;
    let run = stage.run(json!({})).await;
    for (asked, sent) in [
        (json!({"max_tokens": null}), 777),
        (json!({"max_tokens": null, "max_completion_tokens": 5}), 5),
        (json!({"max_tokens": 60, "max_completion_tokens": 50}), MAX_TOKENS),
        (json!({"max_tokens": 2_147_483_647}), 16_384),
    ] {
        stage.client().ask(&run, &with(ask("hi"), asked.clone())).await;
        let (_, _, body) = parts(provider.seen().last().unwrap());
        assert_eq!(body["max_completion_tokens"], sent, "{asked}");
    }
    stage.end().await;
}

/// Everything that a client can read of an answer.
fn all_of(answer: &Answer) -> String {
    format!("{:?} {}", answer.headers, answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_key_nor_the_address_of_a_provider_reaches_a_client() {
    // The address is known only once the provider listens, so it is told to echo a host that it
    // is reached under.
    let secrets = [PROVIDER_KEY, "127.0.0.1", "/v1/chat/completions"];
    let says = format!(
        "Incorrect key {PROVIDER_KEY} (Bearer {PROVIDER_KEY}) at \
         http://127.0.0.1:1/v1/chat/completions, see https://127.0.0.1/v1/chat/completions"
    );
    let error = json!({"error": {
        "message": says, "type": PROVIDER_KEY, "code": PROVIDER_KEY, "param": PROVIDER_KEY,
    }});
    let error = error.to_string();
    // As some providers and the proxies before them spell it, and with the key across every cut.
    let bare = json!({"object": "error", "message": says}).to_string();
    let detail = json!({"detail": says}).to_string();
    let far = format!("{}{PROVIDER_KEY}", "a ".repeat(1020));
    let far_error = json!({"message": far}).to_string();
    let endless = format!("{}{PROVIDER_KEY}", "a ".repeat((32 << 10) - 6));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    for (name, bytes) in [
        ("400", response("400 Bad Request", "application/json", &error)),
        ("401", response("401 Unauthorized", "application/json", &error)),
        ("404", response("404 Not Found", "application/json", &error)),
        ("422 as a page", response("422 Unprocessable", "text/html", &says)),
        ("500", response("500 Internal Server Error", "application/json", &error)),
        ("500 as a page", response("500 Internal Server Error", "text/html", &says)),
        ("error under 200", response("200 OK", "application/json", &error)),
        ("error in a stream", format!("{head}data: {error}\n\n")),
        ("garbage in a stream", format!("{head}data: {says}\n\n")),
        ("bare error under 200", response("200 OK", "application/json", &bare)),
        ("detail under 200", response("200 OK", "application/json", &detail)),
        ("bare error in a stream", format!("{head}data: {bare}\n\n")),
        ("detail in a stream", format!("{head}data: {detail}\n\n")),
        ("named error in a stream", format!("{head}event: error\ndata: {bare}\n\n")),
        ("comment in a stream", format!("{head}: {says}\n\ndata: {DONE}\n\n")),
        ("comment beside data in a stream", format!("{head}: {says}\ndata: {DONE}\n\n")),
        ("no event in a stream", format!("{head}{error}\n\n")),
        ("400 across the cut", response("400 Bad Request", "application/json", &far_error)),
        ("500 across the cut", response("500 Internal Server Error", "text/plain", &far)),
        ("500 across the limit", response("500 Internal Server Error", "text/plain", &endless)),
        ("500 of any JSON", response("500 Error", "application/json", &json!([says]).to_string())),
        (
            "a redirect",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
        ),
        (
            "headers of the provider",
            format!(
                "HTTP/1.1 200 OK\r\nset-cookie: k={PROVIDER_KEY}\r\nserver: 127.0.0.1\r\n\
                 openai-organization: org\r\ncontent-length: {}\r\n\r\n{DONE}",
                DONE.len()
            ),
        ),
    ] {
        let provider = ScriptedProvider::answering(bytes, Then::Close).await;
        let stage = Stage::before(&provider, &[("WORKERS", "1")]).await;
        let run = stage.run(json!({})).await;
        let streamed = name.contains("stream");
        let body = if streamed { ask_streamed("hi") } else { ask("hi") };
        let answer = stage.client().ask(&run, &body).await;
        for secret in secrets {
            assert!(!all_of(&answer).contains(secret), "{name}: {secret} in {answer:?}");
        }
        assert!(!answer.text.contains(&PROVIDER_KEY[..10]), "{name}: {answer:?}");
        assert_eq!(answer.header("openai-organization"), None);
        stage.end().await;
    }
}
