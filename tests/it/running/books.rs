//! What the database says when gateways have gone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use sqlx::Row as _;
use tokio::task::JoinHandle;

use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::postgres;

/// Checks every sum, and that nothing is reserved.
pub(super) async fn assert_sound(database: &str) {
    let options = rungate::ledger::postgres::connect_options(database).unwrap();
    let pool = rungate::ledger::postgres::connect(options).await.unwrap();
    let report = rungate::ledger::postgres::check(&pool).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.reservations, 0);
    pool.close().await;
}

/// How many calls there are of each source of their cost and each flag.
pub(super) async fn charges(database: &str) -> BTreeMap<String, i64> {
    let mut connection = postgres::connect(database).await;
    let rows = sqlx::query(
        "SELECT cost_source::text || coalesce(' ' || flag::text, ''), count(*) FROM calls GROUP BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A streamed call that has begun, and what becomes of it.
pub(super) async fn stream(client: &Client, run: &Run, directive: &str) -> JoinHandle<String> {
    let mut body = prompt(&format!("[[sim {directive}]] sentinel of a stream"));
    body["stream"] = json!(true);
    body["max_tokens"] = json!(2000);
    let answer = client.chat(run, &body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let mut text = String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()).into_owned();
    tokio::spawn(async move {
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => text.push_str(&String::from_utf8_lossy(&chunk)),
                Err(_) => text.push_str("(broken)"),
            }
        }
        text
    })
}

/// A call in one piece that is under way, and what becomes of it.
pub(super) fn call(client: &Client, run: &Run, directive: &str) -> JoinHandle<Answer> {
    let mut body = prompt(&format!("[[sim {directive}]] sentinel of a call"));
    body["max_tokens"] = json!(100);
    let request = client.chat(run, &body);
    tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await })
}

/// Waits until so many calls of a run are under way.
pub(super) async fn until_in_flight(client: &Client, run: &Run, calls: u64) {
    for _ in 0..1000 {
        if client.usage(run).await["in_flight"] == calls {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{calls} calls were never under way: {}", client.usage(run).await);
}

/// Waits until a gateway has written this.
pub(super) async fn until_said(said: impl Fn() -> String, what: &str) {
    for _ in 0..1000 {
        if said().contains(what) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what:?} was never said: {}", said());
}
