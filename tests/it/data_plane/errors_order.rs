//! Two faults in one request: which of them is told.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Stage, ask, ask_of, with};
use crate::support::client::{Answer, Run};

const NO_CREDENTIAL: &str = "sk-of-somebody-else";

fn post(stage: &Stage) -> RequestBuilder {
    let url = format!("{}/v1/chat/completions", stage.client().data);
    stage.client().http.post(url).header("content-type", "application/json")
}

async fn code(request: RequestBuilder) -> String {
    Answer::of(request.send().await.unwrap()).await.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_request_is_told_from_the_outside_inwards() {
    let settings = [("MAX_BODY_BYTES", "4096"), ("SIMULATE_PROVIDERS", "false")];
    let stage = Stage::simulated(&settings).await;
    let unknown = Uuid::new_v4().to_string();
    let run = stage.run(json!({"allowed_models": ["gpt-4o"]})).await;
    let other = stage.run(json!({})).await;
    let closed = stage.run(json!({"status": "finished"})).await;
    let large = "x".repeat(5000);
    let as_run = |run: &Run, body: Value| post(&stage).bearer_auth(&run.token).json(&body);
    let table: Vec<(&str, RequestBuilder)> = vec![
        ("request_too_large", post(&stage).bearer_auth(NO_CREDENTIAL).body(large)),
        (
            "unsupported_media_type",
            post(&stage).bearer_auth(NO_CREDENTIAL).header("content-encoding", "br").body("{"),
        ),
        ("invalid_key", post(&stage).bearer_auth(NO_CREDENTIAL).body("{")),
        (
            "invalid_request",
            post(&stage).bearer_auth("rg-run-a").header("x-api-key", "rg-run-b").body("{"),
        ),
        ("invalid_request", post(&stage).header("x-run-id", "no uuid").body("{")),
        ("parameter_not_allowed", post(&stage).json(&with(ask("hi"), json!({"plugins": []})))),
        ("invalid_run_id", post(&stage).header("x-run-id", "1").json(&ask_of("gpt-9", "hi"))),
        ("run_id_required", post(&stage).json(&ask_of("gpt-9", "hi"))),
        ("run_not_found", post(&stage).header("x-run-id", &unknown).json(&ask_of("gpt-9", "hi"))),
        ("run_id_mismatch", as_run(&run, with(ask_of("gpt-9", "hi"), json!({"run_id": other.id})))),
        ("invalid_model", as_run(&run, ask_of("gpt-9", "hi"))),
        ("model_not_allowed", as_run(&run, ask("hi"))),
        ("provider_not_configured", as_run(&other, ask("hi"))),
        ("provider_not_configured", as_run(&closed, ask("hi"))),
    ];
    for (index, (expected, request)) in table.into_iter().enumerate() {
        assert_eq!(code(request).await, expected, "row {index}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_told_before_pace_and_pace_before_budgets() {
    let stage = Stage::simulated(&[("ACTIVATION_WAIT_SECONDS", "0")]).await;
    let past = "2020-01-01T00:00:00Z";
    let slow = json!({"requests_per_minute": 1});
    let broke = json!({"requests_per_minute": 1, "cost_limit_usd": "0", "call_limit": 0});
    let none = json!({});
    let table: [(&str, Value, Value); 10] = [
        ("run_closed", slow.clone(), json!({"status": "failed"})),
        ("run_expired", slow.clone(), json!({"expires_at": past})),
        ("run_closed", slow, json!({"status": "scoring", "expires_at": past})),
        ("rate_limited", broke, none.clone()),
        (
            "run_closed",
            json!({"call_limit": 0, "cost_limit_usd": "0"}),
            json!({"status": "finished"}),
        ),
        ("run_expired", json!({"status": "pending"}), json!({"expires_at": past})),
        ("run_not_active", json!({"status": "pending", "cost_limit_usd": "0"}), none.clone()),
        (
            "call_limit_exceeded",
            json!({"call_limit": 0, "token_limit": 0, "cost_limit_usd": "0"}),
            none.clone(),
        ),
        ("token_ceiling_exceeded", json!({"token_limit": 0, "cost_limit_usd": "0"}), none.clone()),
        ("cost_limit_exceeded", json!({"cost_limit_usd": "0"}), none),
    ];
    for (index, (expected, fields, patch)) in table.into_iter().enumerate() {
        let run = stage.run(fields.clone()).await;
        // The first call takes what there is of the pace.
        stage.client().ask(&run, &ask("hi")).await;
        if patch.as_object().is_some_and(|patch| !patch.is_empty()) {
            stage.patch(&run, patch).await;
        }
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!(answer.code(), expected, "row {index}: {fields} {}", answer.text);
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_concurrency_are_told_before_budgets() {
    let stage = Stage::simulated(&[("ADMISSION_WAIT_SECONDS", "0")]).await;
    let fields = json!({"max_concurrency": 1, "call_limit": 1});
    let run = stage.run(fields).await;
    let request = stage.client().chat(&run, &ask("[[sim stall=head]]"));
    let begun = tokio::spawn(async move { drop(request.send().await) });
    stage.in_flight(&run, 1).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.code(), "concurrency_limited");
    stage.patch(&run, json!({"status": "scoring"})).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.code(), "run_closed");
    stage.abort(&run).await;
    begun.await.unwrap();
    stage.end().await;
}
