//! The database is the only authority on what is spent: neither a crowd nor a crash gets past it.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::json;
use tokio::sync::Barrier;

use super::stage::{COST, Stage, assert_sound, body, until};
use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::process::GatewayProcess;

/// The most that the stage's call can cost.
async fn worst_case(client: &Client) -> Decimal {
    let run = client.register(json!({"cost_limit_usd": "0", "on_cap": "refuse"})).await;
    let refused = client.ask(&run, &body()).await;
    assert_eq!(refused.code(), "cost_limit_exceeded");
    refused.json()["error"]["worst_case_usd"].as_str().unwrap().parse().unwrap()
}

async fn capped(client: &Client, cap: Decimal) -> Run {
    let cap = cap.to_string();
    client
        .register(json!({"cost_limit_usd": cap, "on_cap": "refuse", "max_concurrency": 200}))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_through_two_gateways_get_exactly_what_the_cap_buys() {
    let stage = Stage::new().await;
    let base = stage.provider.base_url();
    let settings = [("SIMULATE_PROVIDERS", "false"), ("OPENAI_BASE_URL", base.as_str())];
    let other = TestGateway::serve(&stage.database, &settings).await;
    let terms = json!({"cost_limit_usd": "1", "call_limit": 7, "max_concurrency": 200});
    let run = stage.client.register(terms).await;
    stage.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let barrier = Arc::new(Barrier::new(200));
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..200 {
        let client = if call % 2 == 0 { &stage.client } else { &other.client };
        let (request, barrier) = (client.chat(&run, &body()), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            Answer::of(request.send().await.unwrap()).await.status
        });
    }
    until(|| stage.provider.seen().len() == 7).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.provider.seen().len(), 7, "the cap buys seven");
    stage.answer();
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7);
    assert_eq!(stage.provider.seen().len(), 7);
    let usage = stage.client.settled(&run).await;
    let spent: Decimal = usage["spent_usd"].as_str().unwrap().parse().unwrap();
    assert_eq!(spent, COST.parse::<Decimal>().unwrap() * Decimal::from(7));
    other.stop().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_and_restarted_gateway_remembers_what_was_spent() {
    let database = postgres::database().await;
    let gateway = GatewayProcess::serve(&database, &[]);
    let cap = worst_case(&gateway.client).await;
    let run = capped(&gateway.client, cap).await;
    assert_eq!(gateway.client.ask(&run, &body()).await.status, 200);
    let before = gateway.client.settled(&run).await;
    gateway.kill();
    let gateway = GatewayProcess::serve(&database, &[]);
    let refused = gateway.client.ask(&run, &body()).await;
    assert_eq!((refused.status, refused.code()), (402, "cost_limit_exceeded".to_owned()));
    assert_eq!(gateway.client.usage(&run).await["spent_usd"], before["spent_usd"]);
    assert_eq!(gateway.terminate(), Some(0));
    assert_sound(&database).await;
}
