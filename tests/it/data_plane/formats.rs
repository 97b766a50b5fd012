//! Every wire format, served as it is and by way of another, and billed to the last digit.

use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{PROVIDER_KEY, Stage, ask_of, cost, decimal, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

const CLAUDE: &str = "claude-sonnet-5-5";
const EMBEDDER: &str = "text-embedding-3-small";
const PROMPT: &str = "Say hello, please.";

async fn post(stage: &Stage, run: &Run, path: &str, body: &Value) -> Answer {
    let request = stage.client().http.post(format!("{}{path}", stage.client().data));
    Answer::of(request.bearer_auth(&run.token).json(body).send().await.unwrap()).await
}

fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": PROMPT}]})
}

fn response_of(model: &str) -> Value {
    json!({"model": model, "max_output_tokens": 50, "input": PROMPT})
}

/// The data of a stream's events.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// What a run has paid, once nothing is in flight: one call, at the provider's usage.
async fn paid(stage: &Stage, run: &Run, model: &str) -> (Value, u64, u64) {
    let usage = stage.client().settled(run).await;
    let row = &usage["models"][0];
    assert_eq!((&usage["calls"], &row["model"]), (&json!(1), &json!(model)), "{usage}");
    assert_eq!(row["cost_sources"], json!({"usage": 1}), "{usage}");
    let count = |name: &str| usage[name].as_u64().unwrap();
    (usage["spent_usd"].clone(), count("input_tokens"), count("output_tokens"))
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_made_and_cost_their_input() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = json!({"model": EMBEDDER, "input": ["hello world", "hello"], "dimensions": 4});
    let answer = post(&stage, &run, "/v1/embeddings", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json();
    assert_eq!(told["data"][1]["embedding"].as_array().unwrap().len(), 4);
    assert_eq!(told["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let (spent, input, output) = paid(&stage, &run, EMBEDDER).await;
    assert_eq!((decimal(&spent), input, output), (cost(EMBEDDER, 3, 0, 0), 3, 0));

    let by_id = json!({"run_id": run.id, "model": EMBEDDER, "input": "hello world"});
    let shaped = post(&stage, &run, "/agents/embedding", &by_id).await.json();
    assert_eq!(shaped["embeddings"][0].as_array().unwrap().len(), 1536);
    assert_eq!(shaped["usage"], json!({"total_tokens": 2}));
    let base64 = with(body, json!({"encoding_format": "base64"}));
    let told = post(&stage, &run, "/api/v1/embeddings", &base64).await.json();
    assert!(told["data"][0]["embedding"].is_string(), "{told}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_another_kind_is_refused_before_anything_is_reserved() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "gpt-4o-mini", "input": "x"})),
        ("/v1/messages", message(EMBEDDER)),
        ("/v1/responses", response_of(EMBEDDER)),
    ] {
        let answer = post(&stage, &run, path, &body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].clone()),
            (400, json!("invalid_model"))
        );
    }
    assert_eq!(stage.client().usage(&run).await["calls"], 0);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_answered_by_anthropic_and_by_way_of_chat_whole_and_streamed() {
    let stage = Stage::simulated(&[]).await;
    for model in [CLAUDE, "gpt-4o-mini"] {
        let run = stage.run(json!({})).await;
        let whole = post(&stage, &run, "/v1/messages", &message(model)).await;
        assert_eq!(whole.status, 200, "{}", whole.text);
        assert_eq!(whole.header("request-id"), whole.header("x-request-id"));
        let told = whole.json();
        assert_eq!((&told["type"], &told["role"]), (&json!("message"), &json!("assistant")));
        let text = told["content"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty());
        let (spent, input, output) = paid(&stage, &run, model).await;
        assert_eq!(decimal(&spent), cost(model, input, 0, output));
        let usage = &told["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&json!(input), &json!(output))
        );

        let other = stage.run(json!({})).await;
        let streamed = with(message(model), json!({"stream": true}));
        let events = events(&post(&stage, &other, "/v1/messages", &streamed).await.text);
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!((kinds[0], *kinds.last().unwrap()), ("message_start", "message_stop"));
        let deltas = events.iter().filter_map(|event| event["delta"]["text"].as_str());
        assert_eq!(deltas.collect::<String>(), text, "{model}");
        assert_eq!(paid(&stage, &other, model).await, (spent, input, output));
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_answered_by_openai_and_by_way_of_others_whole_and_streamed() {
    let stage = Stage::simulated(&[]).await;
    for model in ["gpt-4o-mini", "deepseek-chat", CLAUDE] {
        let run = stage.run(json!({})).await;
        let whole = post(&stage, &run, "/v1/responses", &response_of(model)).await;
        assert_eq!(whole.status, 200, "{model}: {}", whole.text);
        let told = whole.json();
        assert_eq!(told["object"], "response", "{told}");
        let text = told["output"][0]["content"][0]["text"].as_str().unwrap();
        let (spent, input, output) = paid(&stage, &run, model).await;
        assert_eq!(decimal(&spent), cost(model, input, 0, output));

        let other = stage.run(json!({})).await;
        let streamed = with(response_of(model), json!({"stream": true}));
        let events = events(&post(&stage, &other, "/v1/responses", &streamed).await.text);
        assert_eq!(events[0]["type"], "response.created", "{model}");
        let last = events.last().unwrap();
        assert!(matches!(
            last["type"].as_str(),
            Some("response.completed" | "response.incomplete")
        ));
        let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
        let deltas: String = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(deltas, text, "{model}");
        assert_eq!(last["response"]["usage"]["output_tokens"], output, "{last}");
        assert_eq!(paid(&stage, &other, model).await, (spent, input, output));
    }
    stage.end().await;
}

/// Anthropic as it answers, and what it was sent.
async fn anthropic(answer: &Value) -> (ScriptedProvider, Stage) {
    let provider = ScriptedProvider::json(&answer.to_string()).await;
    let base = provider.base_url();
    let settings = [
        ("SIMULATE_PROVIDERS", "false"),
        ("ANTHROPIC_API_KEY", PROVIDER_KEY),
        ("ANTHROPIC_BASE_URL", &base),
    ];
    let stage = Stage::simulated(&settings).await;
    (provider, stage)
}

fn answered() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE,
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 12, "cache_read_input_tokens": 5,
                  "cache_creation_input_tokens": 0, "output_tokens": 30},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_gets_a_chat_as_a_message_under_its_own_headers() {
    let (provider, stage) = anthropic(&answered()).await;
    let run = stage.run(json!({})).await;
    let asked = json!({"store": false, "service_tier": "auto", "stop": "END"});
    let answer = stage.client().ask(&run, &with(ask_of(CLAUDE, "hi"), asked)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json();
    assert_eq!(told["choices"][0]["message"]["content"], "Hi");
    assert_eq!(told["usage"]["prompt_tokens"], 17);
    let billed = answer.header("x-run-cost-usd").unwrap().to_owned();
    assert_eq!(decimal(&json!(billed)), cost(CLAUDE, 17, 5, 30));

    let seen = provider.seen();
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/messages http/1.1"), "{head}");
    for line in [&*format!("x-api-key: {PROVIDER_KEY}"), "anthropic-version: 2023-06-01"] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
    assert!(!head.contains("authorization"));
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["max_tokens"], 50);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["service_tier"], "standard_only");

    // What cannot be said there is refused by name, and nothing is sent.
    let seeded = with(ask_of(CLAUDE, "hi"), json!({"seed": 7}));
    let refused = stage.client().ask(&run, &seeded).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].clone()), (400, json!("seed")));
    assert_eq!(provider.seen().len(), 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_of_anthropics_pass_only_if_they_are_known_to_cost_nothing_more() {
    let (provider, stage) = anthropic(&answered()).await;
    let run = stage.run(json!({})).await;
    let request =
        stage.client().http.post(format!("{}/v1/messages?beta=true", stage.client().data));
    let request = request
        .header("x-api-key", &run.token)
        .header("anthropic-version", "2099-01-01")
        .header("anthropic-beta", "context-1m-2025-08-07, interleaved-thinking-2025-05-14")
        .header("anthropic-beta", "claude-code-20250219,mcp-client-2025-04-04");
    let answer = Answer::of(request.json(&message(CLAUDE)).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let head = provider.seen()[0].split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    let line = "anthropic-beta: interleaved-thinking-2025-05-14,claude-code-20250219";
    assert!(head.lines().any(|it| it == line), "{head}");
    assert!(head.contains("anthropic-version: 2023-06-01"));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_lives_for_an_hour_is_reserved_and_paid_at_its_price() {
    let mut told = answered();
    told["usage"] = json!({
        "input_tokens": 10, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 1,
    });
    let (_provider, stage) = anthropic(&told).await;
    let run = stage.run(json!({})).await;
    let system = |ttl: &str| {
        let mark = json!({"type": "ephemeral", "ttl": ttl});
        json!({"system": [{"type": "text", "text": "x".repeat(200), "cache_control": mark}]})
    };
    let body = with(message(CLAUDE), system("1h"));
    let answer = post(&stage, &run, "/v1/messages", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    stage.client().settled(&run).await;
    let row = stage.client().calls(&run).await[0].clone();
    // claude-sonnet-5-5: an hour's write costs twice the input.
    let expected = cost(CLAUDE, 10 + 2 * 100, 0, 1);
    assert_eq!((decimal(&row["cost_usd"]), &row["flag"]), (expected, &Value::Null), "{row}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_shape_of_the_format_also_within_a_stream() {
    let stage = Stage::simulated(&[]).await;
    let poor = stage.run(json!({"cost_limit_usd": "0"})).await;
    let told = post(&stage, &poor, "/v1/messages", &message(CLAUDE)).await;
    let error = told.json();
    assert_eq!((told.status, &error["type"]), (402, &json!("error")), "{error}");
    assert_eq!(error["error"]["type"], "billing_error");
    assert_eq!(error["error"]["code"], "cost_limit_exceeded");
    assert_eq!(error["error"]["limit_usd"], "0");
    assert_eq!(told.header("x-should-retry"), Some("false"));

    let stranger = Run { id: poor.id.clone(), token: "rg-run-nobody".to_owned() };
    let told = post(&stage, &stranger, "/v1/messages", &message(CLAUDE)).await;
    assert_eq!(
        (told.status, told.json()["error"]["type"].clone()),
        (401, json!("authentication_error"))
    );

    let run = stage.run(json!({})).await;
    let broken = json!([{"role": "user", "content": "[[sim cut=3]] hello"}]);
    for (path, body, last) in [
        ("/v1/messages", message("gpt-4o-mini"), "error"),
        ("/v1/responses", response_of("gpt-4o-mini"), "error"),
    ] {
        let asked = match path {
            "/v1/messages" => json!({"stream": true, "messages": broken}),
            _ => json!({"stream": true, "input": broken}),
        };
        let told = post(&stage, &run, path, &with(body, asked)).await;
        let events = events(&told.text);
        assert_eq!(events.last().unwrap()["type"], last, "{}", told.text);
        assert!(told.text.contains("event: error\n"), "{}", told.text);
        assert!(told.text.contains("upstream_error"), "{}", told.text);
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_translated_is_a_failure_that_is_paid() {
    // The usage can be read, the choices cannot.
    let chat = json!({"model": "gpt-4o-mini", "choices": "none",
        "usage": {"prompt_tokens": 9, "completion_tokens": 3}});
    let provider = ScriptedProvider::answering(
        response("200 OK", "application/json", &chat.to_string()),
        Then::Close,
    )
    .await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let told = post(&stage, &run, "/v1/messages", &message("gpt-4o-mini")).await;
    assert_eq!((told.status, told.json()["error"]["code"].clone()), (502, json!("upstream_error")));
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost("gpt-4o-mini", 9, 0, 3), "{usage}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_for_responses_is_refused_at_once() {
    let stage = Stage::simulated(&[]).await;
    let request =
        stage.client().http.request(Method::GET, format!("{}/v1/responses", stage.client().data));
    let request = request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let told = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((told.status, told.code()), (426, "upgrade_not_supported".to_owned()));
    stage.end().await;
}
