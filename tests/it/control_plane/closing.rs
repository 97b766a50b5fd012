//! `POST /runs/{id}/close`

use std::time::{Duration, Instant};

use rungate::domain::id::{Attempt, RunId};
use serde_json::{Value, json};

use super::app::{App, outcome};

#[tokio::test(flavor = "multi_thread")]
async fn closing_answers_the_bill_and_again_the_same_bill() {
    let app = App::new().await;
    let run = app.running("1.00").await;
    app.spend(&run, "0.0123").await;
    let path = format!("POST /runs/{run}/close");
    let bill = app.ask(&path, r#"{"mode":"drain","reason":"solved"}"#).await.of(200);
    assert_eq!(bill["settlement"], "final");
    assert_eq!((&bill["status"], &bill["spent_usd"]), (&json!("finished"), &json!("0.0123")));
    assert!(bill.get("metadata").is_none(), "shaped as usage: {bill}");
    let again = r#"{"mode":"abort","reason":"again","status":"failed","wait_seconds":0}"#;
    let second = app.ask(&path, again).await.of(200);
    assert_eq!(without_status(second), without_status(bill));
    let shown = app.ask(&format!("GET /runs/{run}"), "").await.of(200);
    assert_eq!(shown["close_reason"], "solved");
    assert!(shown["closed_at"].is_string());
}

fn without_status(mut bill: Value) -> Value {
    bill["status"].take();
    bill
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_lapses_answers_a_provisional_bill() {
    let app = App::new().await;
    let run = app.running("1").await;
    let held = app.reserve(&run, "0.5").await;
    let path = format!("POST /runs/{run}/close");
    let body = r#"{"mode":"drain","wait_seconds":0,"status":"scoring"}"#;
    let bill = app.ask(&path, body).await.of(202);
    assert_eq!((&bill["settlement"], &bill["in_flight"]), (&json!("provisional"), &json!(1)));
    let settling = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.settle(outcome("0.5"));
    });
    let begun = Instant::now();
    let bill = app.ask(&path, r#"{"mode":"drain"}"#).await.of(200);
    assert_eq!((&bill["settlement"], &bill["spent_usd"]), (&json!("final"), &json!("0.5")));
    assert!(begun.elapsed() < Duration::from_secs(5));
    settling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_cuts_the_calls_of_this_gateway_before_it_answers() {
    let app = App::new().await;
    let run = app.running("1").await;
    let id = RunId::parse(&run).unwrap();
    let known = app.gateway.directory.by_id(id, None).await.unwrap().unwrap();
    let cut = known.cut_token(Attempt::FIRST);
    let held = app.reserve(&run, "0.5").await;
    let path = format!("POST /runs/{run}/close");
    app.ask(&path, r#"{"mode":"drain","wait_seconds":0}"#).await.of(202);
    assert!(!cut.is_cancelled());
    app.ask(&path, r#"{"mode":"abort","wait_seconds":0}"#).await.of(202);
    assert!(cut.is_cancelled());
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_is_wrong_closes_nothing() {
    let app = App::new().await;
    let run = app.running("1").await;
    let path = format!("POST /runs/{run}/close");
    for (body, param, says) in [
        (r#"{"mode":"gently"}"#, "mode", "must be \"drain\" or \"abort\""),
        (
            r#"{"mode":"drain","wait_seconds":601}"#,
            "wait_seconds",
            "must be a whole number from 0 to 600",
        ),
        (
            r#"{"mode":"drain","wait_seconds":1.5}"#,
            "wait_seconds",
            "must be a whole number from 0 to 600",
        ),
        (
            r#"{"mode":"drain","reason":"\u0000"}"#,
            "reason",
            "must be at most 4096 bytes long, without NUL characters",
        ),
        (r#"{"mode":"drain","now":true}"#, "now", "is not a field of this request; leave it out"),
    ] {
        let answer = app.ask(&path, body).await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
    for status in ["pending", "initializing", "running", "running_agent"] {
        let body = format!(r#"{{"mode":"drain","status":"{status}"}}"#);
        app.ask(&path, &body).await.refuses(
            409,
            "invalid_transition",
            Some("status"),
            "A run is closed into scoring, finished, failed or cancelled. Name one of these.",
        );
    }
    let after = app.ask(&format!("GET /runs/{run}"), "").await.of(200);
    assert_eq!((&after["status"], &after["closed_at"]), (&json!("running"), &Value::Null));
}
