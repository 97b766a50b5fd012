//! Calls as lines, when the database goes in the middle.

use std::sync::Arc;

use parking_lot::Mutex;
use rungate::domain::id::RunId;
use rungate::ledger::{CallRecord, Page};
use serde_json::Value;

use super::app::{App, NOBODY, TOKEN};
use super::broken::Broken;

/// Rows that are read at once, and the one more that tells that there are others.
const PAGE: usize = 501;

async fn some_call() -> CallRecord {
    let app = App::new().await;
    let run = app.running("1").await;
    app.spend(&run, "0.01").await;
    let page = Page { after: None, limit: 1 };
    let mut calls = app.gateway.ledger.calls(RunId::parse(&run).unwrap(), page).await.unwrap();
    calls.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_off_do_not_look_complete() {
    let calls = Mutex::new(vec![some_call().await; PAGE]);
    let app = App::on(Arc::new(Broken { calls, ..Broken::default() }), Some(TOKEN)).await;
    let request = app.request(&format!("GET /runs/{NOBODY}/calls")).bearer_auth(TOKEN);
    let mut answer = request.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut text = Vec::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert!(end.is_err(), "the answer ends as if it were whole");
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, rows) = lines.split_last().unwrap();
    assert_eq!(rows.len(), PAGE - 1);
    assert!(rows.iter().all(|row| row["id"].is_string()));
    assert_eq!(last["error"]["code"], "unavailable");
    assert!(!text.contains("postgres://"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_begin_have_a_status_of_their_own() {
    let app = App::on(Arc::new(Broken::default()), Some(TOKEN)).await;
    let request = app.request(&format!("GET /runs/{NOBODY}/calls")).bearer_auth(TOKEN);
    let answer = app.send(request.header("accept", "application/x-ndjson")).await;
    assert_eq!(answer.of(503)["error"]["code"], "unavailable");
}
