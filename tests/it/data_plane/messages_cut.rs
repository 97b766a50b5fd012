//! Streams of Anthropic's that break off. Their first event tells a placeholder for the output, and
//! what a model thinks is shown in part only, so nothing that was seen bounds what was bought.

use serde_json::{Value, json};

use super::stage::{MAX_TOKENS, PROVIDER_KEY, Stage, cost};
use crate::support::client::Answer;
use crate::support::provider::{ScriptedProvider, Then};

const CLAUDE: &str = "claude-haiku-4-5";
const PROMPT: &str = "Say hello, please.";

/// A stream of these events, which ends with the connection.
async fn anthropic(events: &[&str]) -> (ScriptedProvider, Stage) {
    let mut bytes =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            .to_owned();
    for data in events {
        let event: Value = serde_json::from_str(data).unwrap();
        bytes += &format!("event: {}\ndata: {data}\n\n", event["type"].as_str().unwrap());
    }
    let provider = ScriptedProvider::answering(bytes, Then::Close).await;
    let base = provider.base_url();
    let settings = [
        ("SIMULATE_PROVIDERS", "false"),
        ("ANTHROPIC_API_KEY", PROVIDER_KEY),
        ("ANTHROPIC_BASE_URL", &base),
    ];
    let stage = Stage::simulated(&settings).await;
    (provider, stage)
}

const BEGUN: &[&str] = &[
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":12,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
];
const STOPPED: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":30}}"#;

/// The same call in every format that becomes a message.
fn calls() -> [(&'static str, Value); 3] {
    let messages = json!([{"role": "user", "content": PROMPT}]);
    let with = |body: Value, limit: &str| {
        let mut body = body;
        body["model"] = json!(CLAUDE);
        body["stream"] = json!(true);
        body[limit] = json!(MAX_TOKENS);
        body
    };
    [
        ("/v1/messages", with(json!({"messages": messages}), "max_tokens")),
        ("/v1/chat/completions", with(json!({"messages": messages}), "max_tokens")),
        ("/v1/responses", with(json!({"input": PROMPT}), "max_output_tokens")),
    ]
}

/// The one row of a call, and what its client saw.
async fn row(stage: &Stage, path: &str, body: &Value) -> (Value, Answer) {
    let run = stage.run(json!({})).await;
    let request = stage.client().http.post(format!("{}{path}", stage.client().data));
    let answer = Answer::of(request.bearer_auth(&run.token).json(body).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let usage = stage.client().settled(&run).await;
    let mut rows = stage.client().calls(&run).await;
    assert_eq!((rows.len(), &usage["reserved_usd"]), (1, &json!("0")), "{path}: {rows:?}");
    (rows.remove(0), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stream_that_is_cut_before_message_delta_is_booked_at_its_worst_case() {
    for seen in 0..=BEGUN.len() {
        let (_provider, stage) = anthropic(&BEGUN[..seen]).await;
        for (path, body) in calls() {
            let (row, answer) = row(&stage, path, &body).await;
            assert!(answer.text.contains("upstream_error"), "{path}: {}", answer.text);
            assert_eq!(row["cost_source"], "worst_case", "{path} after {seen} events: {row}");
            assert_eq!(row["output_tokens"], MAX_TOKENS, "{path}: {row}");
            let input = row["input_tokens"].as_u64().unwrap();
            assert!(input >= PROMPT.len() as u64, "{path}: {row}");
            let most = cost(CLAUDE, input, 0, MAX_TOKENS).to_string();
            assert_eq!(row["cost_usd"], json!(most), "{path}: {row}");
        }
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stream_that_is_cut_after_it_told_why_it_stopped_is_booked_at_its_usage() {
    let (_provider, stage) = anthropic(&[BEGUN, &[STOPPED]].concat()).await;
    for (path, body) in calls() {
        let (row, _) = row(&stage, path, &body).await;
        let told = (&row["cost_source"], &row["input_tokens"], &row["output_tokens"]);
        assert_eq!(told, (&json!("usage"), &json!(12), &json!(30)), "{path}: {row}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_asked_of_another_provider_is_estimated_as_its_stream_is() {
    let stage = Stage::simulated(&[]).await;
    let body = json!({"model": "gpt-4o-mini", "max_tokens": MAX_TOKENS, "stream": true,
        "messages": [{"role": "user", "content": "Say hello. [[sim tokens=20 cut=6]]"}]});
    let (row, answer) = row(&stage, "/v1/messages", &body).await;
    assert!(answer.text.contains("upstream_error"), "{}", answer.text);
    assert_eq!(row["cost_source"], "estimate", "{row}");
    let output = row["output_tokens"].as_u64().unwrap();
    assert!((1..=6).contains(&output), "what was seen: {row}");
    stage.end().await;
}
