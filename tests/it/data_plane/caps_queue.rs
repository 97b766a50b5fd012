//! Calls of one run that wait for money: in order, woken, and gone with their client.

use std::sync::Arc;
use std::time::Duration;

use rungate::domain::id::RunId;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::stage::{MAX_TOKENS, MODEL, Stage, ask, cost, strict_input, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, response};

const DONE: &str = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// A gateway before a provider that answers one call for each permit.
async fn gated(settings: &[(&str, &str)]) -> (Stage, ScriptedProvider, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let answer = response("200 OK", "application/json", DONE).replacen(
        "\r\n",
        "\r\nconnection: close\r\n",
        1,
    );
    let provider = ScriptedProvider::gated(answer, Arc::clone(&gate)).await;
    let stage = Stage::before(&provider, settings).await;
    (stage, provider, gate)
}

/// A run whose cap holds one usual call and no two of them.
async fn tight(stage: &Stage) -> Run {
    let one = cost(MODEL, strict_input("hi"), 0, MAX_TOKENS);
    let cap = (one * Decimal::new(15, 1)).normalize().to_string();
    stage.run(json!({"cost_limit_usd": cap})).await
}

fn send(stage: &Stage, run: &Run, body: &Value, id: &str) -> JoinHandle<Answer> {
    let request = stage.client().chat(run, body).header("x-request-id", id);
    tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await })
}

/// Waits until that many calls of the run are under way on this gateway, waiting ones included.
async fn under_way(stage: &Stage, run: &Run, count: u32) {
    let id = RunId::parse(&run.id).unwrap();
    for _ in 0..1000 {
        let known = stage.gateway.running.gateway.directory.by_id(id, None).await.unwrap().unwrap();
        if known.concurrency.taken() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("there are never {count} calls under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_are_admitted_in_the_order_in_which_they_came() {
    let (stage, provider, gate) = gated(&[]).await;
    let run = tight(&stage).await;
    let names: Vec<String> = (0..12).map(|index| format!("call-{index:02}")).collect();
    let mut sent = Vec::new();
    for (place, name) in (1..).zip(&names) {
        sent.push(send(&stage, &run, &ask("hi"), name));
        under_way(&stage, &run, place).await;
    }
    while provider.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(provider.seen().len(), 1, "one reservation is all that fits");
    gate.add_permits(names.len());
    for answer in sent {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    stage.client().settled(&run).await;
    let rows = stage.client().calls(&run).await;
    let order: Vec<&str> = rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!(order, names);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_call_does_not_overtake_a_large_one_that_waits() {
    let (stage, provider, gate) = gated(&[]).await;
    let run = tight(&stage).await;
    let first = send(&stage, &run, &ask("hi"), "first");
    under_way(&stage, &run, 1).await;
    let large = send(&stage, &run, &ask("hi"), "large");
    under_way(&stage, &run, 2).await;
    // By itself it would fit beside the first.
    let small = send(&stage, &run, &with(ask("hi"), json!({"max_tokens": 1})), "small");
    under_way(&stage, &run, 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(provider.seen().len(), 1);
    gate.add_permits(3);
    for answer in [first, large, small] {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    stage.client().settled(&run).await;
    let rows = stage.client().calls(&run).await;
    let order: Vec<&str> = rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!(order, ["first", "large", "small"]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_frees_its_place() {
    let (stage, provider, gate) = gated(&[]).await;
    let run = tight(&stage).await;
    let first = send(&stage, &run, &ask("hi"), "first");
    under_way(&stage, &run, 1).await;
    let leaving = send(&stage, &run, &ask("hi"), "leaving");
    under_way(&stage, &run, 2).await;
    let small = send(&stage, &run, &with(ask("hi"), json!({"max_tokens": 1})), "small");
    under_way(&stage, &run, 3).await;
    leaving.abort();
    assert!(leaving.await.is_err());
    // With nobody before it the small one fits beside the first, which still holds its money.
    stage.in_flight(&run, 2).await;
    under_way(&stage, &run, 2).await;
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(small.await.unwrap().status, 200);
    assert_eq!(provider.seen().len(), 2, "nothing was sent for the one that left");
    stage.client().settled(&run).await;
    assert_eq!(stage.client().calls(&run).await.len(), 2);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_cap_and_a_closed_run_reach_those_who_wait() {
    let (stage, _provider, gate) = gated(&[]).await;
    let run = tight(&stage).await;
    let first = send(&stage, &run, &ask("hi"), "first");
    stage.in_flight(&run, 1).await;
    let second = send(&stage, &run, &ask("hi"), "second");
    under_way(&stage, &run, 2).await;
    stage.patch(&run, json!({"cost_limit_usd": "1"})).await;
    stage.in_flight(&run, 2).await;
    let lowered = cost(MODEL, strict_input("hi"), 0, MAX_TOKENS) * Decimal::from(2);
    stage.patch(&run, json!({"cost_limit_usd": lowered.normalize().to_string()})).await;
    let third = send(&stage, &run, &ask("hi"), "third");
    under_way(&stage, &run, 3).await;
    stage.patch(&run, json!({"status": "scoring"})).await;
    assert_eq!(third.await.unwrap().code(), "run_closed");
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, 200, "calls in flight may end");
    assert_eq!(second.await.unwrap().status, 200, "calls in flight may end");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waited_long_enough_hears_that_money_is_only_reserved() {
    let (stage, provider, gate) = gated(&[("ADMISSION_WAIT_SECONDS", "1")]).await;
    let run = tight(&stage).await;
    let first = send(&stage, &run, &ask("hi"), "first");
    stage.in_flight(&run, 1).await;
    let second = send(&stage, &run, &ask("hi"), "second").await.unwrap();
    assert_eq!((second.status, second.code().as_str()), (429, "budget_reserved"));
    assert_eq!(second.header("retry-after"), Some("1"));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(provider.seen().len(), 1);
    assert_eq!(stage.client().ask(&run, &json!({})).await.code(), "invalid_request");
    stage.end().await;
}
