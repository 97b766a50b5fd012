//! Counting the tokens of messages: who counts, for whom, and what is sent to the provider.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::stage::{MODEL, PROVIDER_KEY, Stage, counted_input, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

const CLAUDE: &str = "claude-sonnet-5-5";
const PATH: &str = "/v1/messages/count_tokens";
const PROMPT: &str = "Say hello, please.";

fn asked(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": PROMPT}]})
}

fn to(stage: &Stage, path: &str, body: &Value) -> RequestBuilder {
    stage.client().http.post(format!("{}{path}", stage.client().data)).json(body)
}

async fn post(stage: &Stage, run: &Run, path: &str, body: &Value) -> Answer {
    Answer::of(to(stage, path, body).header("x-api-key", &run.token).send().await.unwrap()).await
}

/// Before an Anthropic that answers every request with these bytes.
async fn before(bytes: String, then: Then, settings: &[(&str, &str)]) -> (ScriptedProvider, Stage) {
    let provider = ScriptedProvider::answering(bytes, then).await;
    let base = provider.base_url();
    let mut all = vec![
        ("SIMULATE_PROVIDERS", "false"),
        ("ANTHROPIC_API_KEY", PROVIDER_KEY),
        ("ANTHROPIC_BASE_URL", &base),
    ];
    all.extend_from_slice(settings);
    let stage = Stage::simulated(&all).await;
    (provider, stage)
}

async fn answering(status: &str, body: &str) -> (ScriptedProvider, Stage) {
    before(response(status, "application/json", body), Then::Close, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_the_input_that_the_call_is_billed_and_costs_nothing() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let tools = json!([{"name": "look", "description": "Looks.", "input_schema": {
        "type": "object", "properties": {"at": {"type": "string"}}}}]);
    let more = json!({"system": "Be brief.", "tools": tools, "tool_choice": {"type": "auto"}});
    let body = with(asked(CLAUDE), more);
    let mut counts = Vec::new();
    for base in ["/v1", "/inference/v1", "/api/v1", &format!("/r/{}/v1", run.token)] {
        for query in ["", "?beta=true"] {
            let path = format!("{base}/messages/count_tokens{query}");
            let told = post(&stage, &run, &path, &body).await;
            assert_eq!(told.status, 200, "{path}: {}", told.text);
            assert_eq!(told.header("x-token-count"), Some("provider"));
            assert_eq!(told.header("request-id"), told.header("x-request-id"));
            assert_eq!(told.header("x-run-id"), Some(&*run.id));
            assert_eq!(told.json().as_object().unwrap().len(), 1, "{}", told.text);
            counts.push(told.json()["input_tokens"].as_u64().unwrap());
        }
    }
    let usage = stage.client().usage(&run).await;
    assert_eq!((&usage["calls"], &usage["spent_usd"]), (&json!(0), &json!("0")), "{usage}");
    assert_eq!(usage["reserved_usd"], "0");
    assert!(stage.client().calls(&run).await.is_empty());

    let made = post(&stage, &run, "/v1/messages", &with(body, json!({"max_tokens": 50}))).await;
    let billed = made.json()["usage"]["input_tokens"].as_u64().unwrap();
    assert_eq!(counts, vec![billed; 8]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_somebody_else_is_counted_here_and_never_too_low() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    // What changes no input may stay in the body: it is a call's as it stands.
    let call = with(asked(MODEL), json!({"max_tokens": 50, "temperature": 0.5, "stream": false}));
    let told = post(&stage, &run, PATH, &call).await;
    assert_eq!((told.status, told.header("x-token-count")), (200, Some("bound")), "{}", told.text);
    let bound = told.json()["input_tokens"].as_u64().unwrap();
    assert_eq!(bound, counted_input(PROMPT));
    let made = post(&stage, &run, "/v1/messages", &call).await.json();
    assert!(made["usage"]["input_tokens"].as_u64().unwrap() <= bound, "{made}");
    // Where no vocabulary is known, a byte counts as a token.
    let told = post(&stage, &run, PATH, &asked("deepseek-chat")).await;
    assert_eq!(told.header("x-token-count"), Some("bound"));
    assert!(told.json()["input_tokens"].as_u64().unwrap() >= PROMPT.len() as u64, "{}", told.text);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_not_make_the_call_has_nothing_counted() {
    let stage = Stage::simulated(&[("ACTIVATION_WAIT_SECONDS", "0")]).await;
    let check = |run: Run, body: Value, status: u16, kind: &'static str, code: &'static str| {
        let stage = &stage;
        async move {
            let told = post(stage, &run, PATH, &body).await;
            let error = told.json();
            assert_eq!(told.status, status, "{}", told.text);
            assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)));
            assert_eq!(error["error"]["code"], code, "{error}");
            error["error"]["param"].as_str().unwrap_or_default().to_owned()
        }
    };
    let (invalid, denied) = ("invalid_request_error", "permission_error");
    let run = stage.run(json!({"allowed_models": [MODEL]})).await;
    let stranger = Run { id: run.id.clone(), token: "rg-run-nobody".to_owned() };
    check(stranger, asked(CLAUDE), 401, "authentication_error", "invalid_key").await;
    let again = || Run { id: run.id.clone(), token: run.token.clone() };
    check(again(), asked(CLAUDE), 403, denied, "model_not_allowed").await;
    check(again(), asked("nobody"), 400, invalid, "invalid_model").await;
    let embedder = asked("text-embedding-3-small");
    check(again(), embedder, 400, invalid, "invalid_model").await;
    let strange = with(asked(MODEL), json!({"mcp_servers": []}));
    let param = check(again(), strange, 400, invalid, "parameter_not_allowed").await;
    assert_eq!(param, "mcp_servers");
    let empty = with(asked(MODEL), json!({"messages": []}));
    check(again(), empty, 400, invalid, "invalid_request").await;
    stage.client().close(&run, &json!({})).await;
    for model in [MODEL, "claude-sonnet-5-5"] {
        let open = stage.run(json!({})).await;
        stage.client().close(&open, &json!({})).await;
        check(open, asked(model), 403, denied, "run_closed").await;
    }
    let pending = stage.run(json!({"status": "pending"})).await;
    check(pending, asked(CLAUDE), 409, invalid, "run_not_active").await;
    let slow = stage.run(json!({"requests_per_minute": 1})).await;
    assert_eq!(post(&stage, &slow, PATH, &asked(CLAUDE)).await.status, 200);
    check(slow, asked(CLAUDE), 429, "rate_limit_error", "rate_limited").await;
    // It takes no money, so it needs none.
    let poor = stage.run(json!({"cost_limit_usd": "0"})).await;
    assert_eq!(post(&stage, &poor, PATH, &asked(CLAUDE)).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_replaced_counts_nothing_any_more() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    assert_eq!(post(&stage, &run, PATH, &asked(CLAUDE)).await.status, 200);
    let path = format!("/runs/{}/token", run.id);
    let rotated = stage.client().operator(reqwest::Method::POST, &path).send().await.unwrap();
    assert_eq!(rotated.status(), 200);
    assert_eq!(post(&stage, &run, PATH, &asked(CLAUDE)).await.status, 401);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_is_sent_what_becomes_input_and_nothing_else() {
    let (provider, stage) = answering("200 OK", r#"{"input_tokens": 2095}"#).await;
    let run = stage.run(json!({})).await;
    let input = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "citations": null,
            "cache_control": {"type": "ephemeral"}}]}],
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"effort": "low"},
    });
    let other = json!({
        "max_tokens": 4096, "stream": true, "temperature": 1, "top_k": 3, "top_p": 0.5,
        "stop_sequences": ["END"], "service_tier": "auto", "metadata": {"run_id": run.id},
        "run_id": run.id,
    });
    let body = with(with(asked(CLAUDE), input.clone()), other);
    let request = to(&stage, &format!("{PATH}?beta=true"), &body)
        .bearer_auth(&run.token)
        .header("anthropic-version", "2099-01-01")
        .header("anthropic-beta", "token-counting-2024-11-01,claude-code-20250219");
    let told = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((told.status, told.json()), (200, json!({"input_tokens": 2095})), "{}", told.text);

    let seen = provider.seen();
    let (head, sent) = seen[0].split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/messages/count_tokens http/1.1"), "{head}");
    for line in [
        &*format!("x-api-key: {PROVIDER_KEY}"),
        "anthropic-version: 2023-06-01",
        "anthropic-beta: claude-code-20250219",
    ] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
    assert!(!head.contains("authorization") && !head.contains("rg-run-"), "{head}");
    let mut expected = with(input, json!({"model": CLAUDE}));
    expected["messages"][0]["content"][0].as_object_mut().unwrap().remove("citations");
    assert_eq!(serde_json::from_str::<Value>(sent).unwrap(), expected);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_to_count_is_told_as_any_that_fails() {
    let error = |text: &str| json!({"type": "error", "error": {"type": "x", "message": text}});
    for (status, body, expected, shown) in [
        ("429 Too Many Requests", error("slow down"), 502, "status 429"),
        ("529 Overloaded", error("overloaded"), 502, "status 529"),
        ("500 Oops", error("oops"), 502, "status 500"),
        ("401 Unauthorized", error("your secret key"), 502, "credential"),
        ("400 Bad Request", error("prompt is odd"), 400, "prompt is odd"),
        ("404 Not Found", error("no such model"), 404, "no such model"),
        ("200 OK", json!({"input_tokens": -1}), 502, "not of its format"),
        ("200 OK", json!({}), 502, "not of its format"),
    ] {
        let line = format!("{status}\r\nretry-after: 7");
        let (_provider, stage) = answering(&line, &body.to_string()).await;
        let run = stage.run(json!({})).await;
        let told = post(&stage, &run, PATH, &asked(CLAUDE)).await;
        let said = told.json();
        assert_eq!(told.status, expected, "{status}: {}", told.text);
        assert!(said["error"]["message"].as_str().unwrap().contains(shown), "{said}");
        assert_eq!(told.header("x-error-origin"), Some("upstream"));
        assert!(!told.text.contains("secret key") && !told.text.contains("charged"), "{said}");
        if status.starts_with("429") {
            assert_eq!(told.header("retry-after"), Some("7"));
        }
        assert!(stage.client().calls(&run).await.is_empty());
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_count_in_time_or_at_all_is_a_failure_of_its_own() {
    let limits = [("UPSTREAM_TIMEOUT_SECONDS", "1")];
    let (_silent, stage) = before(String::new(), Then::Stall, &limits).await;
    let run = stage.run(json!({})).await;
    let told = post(&stage, &run, PATH, &asked(CLAUDE)).await;
    assert_eq!((told.status, told.code()), (504, "upstream_timeout".to_owned()), "{}", told.text);
    assert!(!told.text.contains("charged"), "{}", told.text);
    stage.end().await;
    let (_gone, stage) = before(String::new(), Then::Close, &[]).await;
    let run = stage.run(json!({})).await;
    let told = post(&stage, &run, PATH, &asked(CLAUDE)).await;
    assert_eq!((told.status, told.code()), (502, "upstream_error".to_owned()), "{}", told.text);
    assert!(!told.text.contains("charged"), "{}", told.text);
    stage.end().await;
}
