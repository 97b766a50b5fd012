//! The database rejects a row.

use serde_json::json;

use super::stage::{Stage, assert_unavailable, body};
use crate::support::client::Answer;

fn rejecting(table: &str, condition: &str) -> String {
    format!(
        "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF {condition} THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER reject BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION reject()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_is_rejected_is_booked_at_its_worst_case_and_flagged() {
    let stage = Stage::new().await;
    let call = stage.under_way().await;
    let reserved = stage.client.usage(&stage.run).await["reserved_usd"].clone();
    stage.execute(&rejecting("calls", "NEW.cost_source = 'usage'")).await;
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200);
    let usage = stage.client.settled(&stage.run).await;
    assert_eq!(usage["spent_usd"], reserved);
    let calls = stage.client.calls(&stage.run).await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["flag"], "row_rejected");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_is_rejected_fails_alone() {
    let stage = Stage::new().await;
    stage.execute(&rejecting("reservations", "NEW.request_id = 'bad'")).await;
    let mut calls = Vec::new();
    for call in 0..24 {
        let id = if call % 6 == 3 { "bad".to_owned() } else { format!("good-{call}") };
        let request = stage.client.chat(&stage.run, &body()).header("x-request-id", id);
        calls.push(tokio::spawn(request.send()));
    }
    for (call, answered) in calls.into_iter().enumerate() {
        let answer = Answer::of(answered.await.unwrap().unwrap()).await;
        if call % 6 == 3 {
            assert_unavailable(&answer);
        } else {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    assert_eq!(stage.provider.seen().len(), 20);
    let usage = stage.end().await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 20}));
}
