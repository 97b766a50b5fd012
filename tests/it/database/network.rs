//! The network between the gateway and its database.

use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;

use super::stage::{COST, Stage, until};
use crate::support::postgres;
use crate::support::proxy::{Network, Proxy};

async fn behind_a_proxy() -> (Stage, Proxy) {
    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let reached = proxy.url(&database);
    (Stage::on(database, &reached).await, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_whose_answer_is_lost_is_asked_again_and_the_first_is_released() {
    let (stage, proxy) = behind_a_proxy().await;
    assert_eq!(stage.ask().await.status, 200);
    stage.client.settled(&stage.run).await;
    proxy.set(Network::Deaf);
    let call = stage.start(&stage.run);
    // It is durable, and nobody was told.
    let mut operator = stage.operator().await;
    let mut reserved = 0_i64;
    while reserved == 0 {
        let row = sqlx::query("SELECT count(*) FROM reservations").fetch_one(&mut operator);
        reserved = row.await.unwrap().get(0);
    }
    assert_eq!(stage.provider.seen().len(), 1, "nothing is sent on what was not answered");
    proxy.cut();
    proxy.set(Network::Up);
    assert_eq!(call.await.unwrap().status, 200);
    // As if more time had passed than any statement takes.
    stage.execute("UPDATE reservations SET created_at = created_at - interval '1 minute'").await;
    let usage = stage.client.settled(&stage.run).await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 2}));
    let calls = stage.client.calls(&stage.run).await;
    let released: Vec<_> = calls.iter().filter(|call| call["flag"] == "orphaned").collect();
    assert_eq!((calls.len(), released.len()), (3, 1));
    assert_eq!(released[0]["cost_usd"], "0");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_whose_answer_is_lost_is_sent_again_and_counts_once() {
    let (stage, proxy) = behind_a_proxy().await;
    let call = stage.under_way().await;
    proxy.set(Network::Deaf);
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200);
    let mut operator = stage.operator().await;
    let mut booked = 0_i64;
    while booked == 0 {
        let row = sqlx::query("SELECT count(*) FROM calls").fetch_one(&mut operator);
        booked = row.await.unwrap().get(0);
    }
    proxy.cut();
    proxy.set(Network::Up);
    stage.until_served().await;
    let usage = stage.end().await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 2}));
    assert_eq!(usage["spent_usd"], "0.0000078");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_is_given_up_in_time_and_taken_up_again() {
    let (stage, proxy) = behind_a_proxy().await;
    let other = stage.client.register(json!({"cost_limit_usd": "1"})).await;
    let call = stage.under_way().await;
    proxy.set(Network::Stalled);
    // One call of a run that is known, one with a token that is not, the readiness, a change.
    let unknown = crate::support::client::Run { id: other.id.clone(), token: "rg-run-x".into() };
    let (known, unknown) = (stage.start(&other), stage.start(&unknown));
    let drain = json!({"mode": "drain"});
    let closing = stage.client.close(&other, &drain);
    let (closed, ready) = tokio::join!(closing, stage.is_ready());
    for answer in [known.await.unwrap(), unknown.await.unwrap(), closed] {
        super::stage::assert_unavailable(&answer);
    }
    assert!(!ready, "readiness says so");
    assert_eq!(stage.provider.seen().len(), 1, "nothing is forwarded unmetered");
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200);
    // The old connections never come back: the network forgot them.
    let before = proxy.connections();
    proxy.forget();
    proxy.set(Network::Up);
    stage.until_served().await;
    assert!(proxy.connections() > before);
    let changed = stage.client.close(&other, &drain).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let usage = stage.end().await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 2}));
    assert_ne!(usage["spent_usd"], COST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_not_stormed() {
    let (stage, proxy) = behind_a_proxy().await;
    assert_eq!(stage.ask().await.status, 200);
    proxy.set(Network::Refusing);
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = proxy.connections();
    for _ in 0..200 {
        stage.assert_refused().await;
    }
    let tried = proxy.connections() - before;
    assert!(tried < 100, "{tried} connections were tried for 200 calls");
    proxy.set(Network::Up);
    stage.until_served().await;
    let seen = stage.provider.seen().len();
    until(|| seen == 2).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_under_way_when_the_network_forgets_them_do_not_wear_out_the_pool() {
    let (stage, proxy) = behind_a_proxy().await;
    let mut operator = stage.operator().await;
    super::stage::execute(&mut operator, "BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE").await;
    // More than the pool has connections, each with a question that waits in Postgres.
    let unknown = crate::support::client::Run { id: String::new(), token: "rg-run-x".into() };
    let asked: Vec<_> = (0..12).map(|_| stage.start(&unknown)).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.forget();
    super::stage::execute(&mut operator, "ROLLBACK").await;
    for call in asked {
        let answer = call.await.unwrap();
        assert!([401, 503].contains(&answer.status), "{answer:?}");
    }
    stage.until_served().await;
    stage.end().await;
}
