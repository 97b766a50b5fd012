//! `PATCH /runs/{id}`, attempts and tokens.

use rungate::domain::key::TokenHash;
use rungate::ledger::RunKey;
use serde_json::{Value, json};

use super::app::App;

async fn is_alive(app: &App, token: &Value) -> bool {
    let hash = TokenHash::of(token.as_str().unwrap());
    app.gateway.ledger.find(RunKey::Token(hash)).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let app = App::new().await;
    let run = app.register(r#"{"cost_limit_usd":1,"ttl_seconds":600}"#).await;
    let path = format!("PATCH /runs/{}", run["id"].as_str().unwrap());
    let same = app.ask(&path, "{}").await.of(200);
    assert_eq!(same["expires_at"], run["expires_at"]);
    for (body, field, value) in [
        (r#"{"status":"initializing_agent"}"#, "status", json!("initializing")),
        (r#"{"status":"running"}"#, "status", json!("running")),
        (r#"{"cost_limit_usd":0.70}"#, "cost_limit_usd", json!("0.70")),
        (r#"{"metadata":{"x":"y"}}"#, "metadata", json!({"x": "y"})),
        (
            r#"{"expires_at":"2099-01-01T01:00:00.5+01:00"}"#,
            "expires_at",
            json!("2099-01-01T00:00:00.500Z"),
        ),
        (r#"{"expires_at":null}"#, "expires_at", json!(null)),
        (r#"{"status":"scoring"}"#, "status", json!("scoring")),
    ] {
        assert_eq!(app.ask(&path, body).await.of(200)[field], value, "{body}");
    }
    let end = app.ask(&path, "{}").await.of(200);
    assert_eq!((&end["cost_limit_usd"], &end["metadata"]), (&json!("0.70"), &json!({"x": "y"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_state_is_ignored_and_the_rest_applies() {
    let app = App::new().await;
    let run = app.running("1").await;
    let path = format!("PATCH /runs/{run}");
    app.ask(&path, r#"{"status":"finished"}"#).await.of(200);
    let late = r#"{"status":"running","metadata":{"late":true}}"#;
    let after = app.ask(&path, late).await.of(200);
    assert_eq!(
        (&after["status"], &after["metadata"]),
        (&json!("finished"), &json!({"late": true}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_stays_at_or_above_what_is_spent() {
    let app = App::new().await;
    let run = app.running("1").await;
    app.spend(&run, "0.30").await;
    let held = app.reserve(&run, "0.20").await;
    let path = format!("PATCH /runs/{run}");
    let below = r#"{"cost_limit_usd":"0.29","metadata":{"never":1}}"#;
    app.ask(&path, below).await.refuses(
        409,
        "limit_below_spent",
        Some("cost_limit_usd"),
        "The run has spent 0.3 USD already. Set a cap of at least that much.",
    );
    let between = app.ask(&path, r#"{"cost_limit_usd":"0.4"}"#).await.of(200);
    assert_eq!((&between["remaining_usd"], &between["metadata"]), (&json!("0"), &json!({})));
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_is_wrong_changes_nothing() {
    let app = App::new().await;
    let run = app.running("1").await;
    let path = format!("PATCH /runs/{run}");
    let null = "must not be null; leave it out to keep it";
    for (body, param, says) in [
        (r#"{"cost_limit":"1"}"#, "cost_limit", "is not a field of this request; leave it out"),
        (r#"{"token_limit":5}"#, "token_limit", "is not a field of this request; leave it out"),
        (r#"{"status":"finished","status":"failed"}"#, "status", "is given twice; give it once"),
        (r#"{"status":null}"#, "status", null),
        (r#"{"cost_limit_usd":null}"#, "cost_limit_usd", null),
        (r#"{"metadata":null}"#, "metadata", null),
        (r#"{"metadata":"{}"}"#, "metadata", "must be an object"),
        (r#"{"cost_limit_usd":"-1"}"#, "cost_limit_usd", "must not be negative"),
        (r#"{"expires_at":1700000000}"#, "expires_at", "must be a string"),
    ] {
        let answer = app.ask(&path, body).await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
    let after = app.ask(&format!("GET /runs/{run}"), "").await.of(200);
    assert_eq!((&after["status"], &after["cost_limit_usd"]), (&json!("running"), &json!("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_attempt_has_a_new_token_and_the_old_budget() {
    let app = App::new().await;
    let run = app.register(r#"{"cost_limit_usd":1,"status":"running"}"#).await;
    let id = run["id"].as_str().unwrap();
    app.spend(id, "0.25").await;
    app.ask(&format!("PATCH /runs/{id}"), r#"{"status":"failed"}"#).await.of(200);
    let path = format!("POST /runs/{id}/attempts");
    let second = app.ask(&path, r#"{"status":"running"}"#).await.of(201);
    assert_eq!((&second["attempt"], &second["status"]), (&json!(2), &json!("running")));
    assert_eq!((&second["spent_usd"], &second["closed_at"]), (&json!("0.25"), &Value::Null));
    assert!(!is_alive(&app, &run["token"]).await);
    assert!(is_alive(&app, &second["token"]).await);
    let third = app.ask(&path, "").await.of(201);
    assert_eq!((&third["attempt"], &third["status"]), (&json!(3), &json!("pending")));
    app.ask(&path, r#"{"status":"scoring"}"#).await.refuses(
        409,
        "invalid_transition",
        Some("status"),
        "An attempt begins as pending, initializing or running. Name one of them.",
    );
    app.ask(&format!("PATCH /runs/{id}"), r#"{"status":"cancelled"}"#).await.of(200);
    app.ask(&path, "{}").await.refuses(
        409,
        "invalid_transition",
        None,
        "The run is cancelled, and no new attempt is opened from there. Register a new run.",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_kills_the_old_one() {
    let app = App::new().await;
    let run = app.register(r#"{"cost_limit_usd":1}"#).await;
    let path = format!("POST /runs/{}/token", run["id"].as_str().unwrap());
    let rotated = app.ask(&path, "").await.of(200);
    assert_eq!(rotated["attempt"], 1);
    assert!(!is_alive(&app, &run["token"]).await && is_alive(&app, &rotated["token"]).await);
    app.ask(&path, r#"{"why":1}"#).await.refuses(
        400,
        "invalid_request",
        Some("why"),
        "why is not a field of this request; leave it out.",
    );
}
