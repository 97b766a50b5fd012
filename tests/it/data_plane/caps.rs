//! The cap under many calls at once, over two gateways on one database.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::endings_streams::{content, events};
use super::stage::{MAX_TOKENS, MODEL, Stage, ask, ask_streamed, audit};
use super::stage::{cost, counted_input, decimal, strict_input, with};
use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// Two gateways that share a database.
struct Pair {
    stage: Stage,
    other: TestGateway,
}

impl Pair {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let database = database().await;
        let gateway = TestGateway::serve(&database, settings).await;
        let other = TestGateway::serve(&database, settings).await;
        Self { stage: Stage { database, gateway }, other }
    }

    /// Sends as many calls at once, by turns to either gateway.
    async fn ask_all(&self, run: &Run, body: &Value, count: usize) -> Vec<Answer> {
        let clients: [&Client; 2] = [self.stage.client(), &self.other.client];
        join_all((0..count).map(|index| clients[index % 2].ask(run, body))).await
    }

    async fn end(self) {
        audit(&self.stage.database).await;
        self.other.stop().await;
        self.stage.end().await;
    }
}

fn statuses(answers: &[Answer]) -> BTreeMap<(u16, String), usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let code = if answer.status == 200 { String::new() } else { answer.code() };
        *counts.entry((answer.status, code)).or_default() += 1;
    }
    counts
}

/// A text whose call really uses its worst case, by the best count that there is.
fn exact_text() -> String {
    let texts = (1..200).map(|input| format!("[[sim usage={input}:{MAX_TOKENS} delay_ms=20]]"));
    let mut fitting = texts.enumerate().filter(|(at, text)| counted_input(text) == *at as u64 + 1);
    fitting.next().expect("some number of tokens is the one that it says").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_and_twenty_calls_exactly_the_seven_that_fit_are_admitted() {
    let pair = Pair::new(&[]).await;
    let text = exact_text();
    let each = cost(MODEL, counted_input(&text), 0, MAX_TOKENS);
    let cap = (each * Decimal::from(7)).normalize();
    let fields = json!({"cost_limit_usd": cap.to_string(), "max_concurrency": 200});
    let run = pair.stage.run(fields).await;
    let answers = pair.ask_all(&run, &ask(&text), 120).await;
    let expected = [((200, String::new()), 7), ((402, "cost_limit_exceeded".to_owned()), 113)];
    assert_eq!(statuses(&answers), BTreeMap::from(expected));
    let usage = pair.stage.client().settled(&run).await;
    assert_eq!((decimal(&usage["spent_usd"]), &usage["calls"]), (cap, &json!(7)));
    assert_eq!(usage["remaining_usd"], "0");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_picodollar_less_admits_one_call_less() {
    let pair = Pair::new(&[]).await;
    let text = exact_text();
    let each = cost(MODEL, counted_input(&text), 0, MAX_TOKENS);
    let cap = (each * Decimal::from(7) - Decimal::new(1, 12)).normalize();
    let fields = json!({"cost_limit_usd": cap.to_string(), "max_concurrency": 200});
    let run = pair.stage.run(fields).await;
    let answers = pair.ask_all(&run, &ask(&text), 40).await;
    let expected = [((200, String::new()), 6), ((402, "cost_limit_exceeded".to_owned()), 34)];
    assert_eq!(statuses(&answers), BTreeMap::from(expected));
    let usage = pair.stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), (each * Decimal::from(6)).normalize());
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_fit_by_what_they_cost_are_all_served_though_their_worst_cases_do_not() {
    let pair = Pair::new(&[]).await;
    let text = "[[sim usage=10:5 delay_ms=10]]";
    let body = with(ask(text), json!({"max_tokens": 4000}));
    let worst = cost(MODEL, strict_input(text), 0, 4000);
    let total = cost(MODEL, 10, 0, 5) * Decimal::from(60);
    // The last call still needs its whole worst case.
    let cap = (total + worst + worst).normalize();
    assert!(cap < worst * Decimal::from(4), "the worst cases would fit");
    let fields = json!({"cost_limit_usd": cap.to_string(), "max_concurrency": 200});
    let run = pair.stage.run(fields).await;
    let answers = pair.ask_all(&run, &body, 60).await;
    assert_eq!(statuses(&answers), BTreeMap::from([((200, String::new()), 60)]));
    for answer in &answers {
        assert_eq!(answer.header("x-run-max-output-tokens"), None, "none is lowered");
    }
    let usage = pair.stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), total.normalize());
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_budget_holds_over_both_gateways() {
    let pair = Pair::new(&[]).await;
    let run = pair.stage.run(json!({"call_limit": 5, "max_concurrency": 200})).await;
    let answers = pair.ask_all(&run, &ask("[[sim usage=1:1]]"), 40).await;
    let expected = [((200, String::new()), 5), ((429, "call_limit_exceeded".to_owned()), 35)];
    assert_eq!(statuses(&answers), BTreeMap::from(expected));
    pair.end().await;
}

/// Begins a slow stream and reads its first piece; the rest is read by the task that is returned.
async fn begin_stream(client: &Client, run: &Run) -> tokio::task::JoinHandle<String> {
    let body = ask_streamed("[[sim endless chunk_delay_ms=10]]");
    let response = client.chat(run, &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut pieces = response.bytes_stream();
    let mut seen = String::from_utf8(pieces.next().await.unwrap().unwrap().to_vec()).unwrap();
    tokio::spawn(async move {
        while let Some(Ok(piece)) = pieces.next().await {
            seen.push_str(&String::from_utf8_lossy(&piece));
        }
        seen
    })
}

/// Ends a run's streams on both gateways by `how`, and checks how they end.
async fn check_cut(how: &str) {
    let pair = Pair::new(&[]).await;
    let run = pair.stage.run(json!({})).await;
    let streams = [
        begin_stream(pair.stage.client(), &run).await,
        begin_stream(&pair.other.client, &run).await,
    ];
    pair.stage.in_flight(&run, 2).await;
    match how {
        "cancelled" => pair.stage.patch(&run, json!({"status": "cancelled"})).await,
        _ => pair.stage.abort(&run).await,
    }
    for stream in streams {
        let text = stream.await.unwrap();
        let last = events(&text).pop().unwrap();
        assert_eq!(last["error"]["code"], "run_closed", "{how}: {text}");
        assert!(!content(&text).is_empty() || text.contains("assistant"));
    }
    let usage = pair.stage.client().settled(&run).await;
    assert_eq!((&usage["settlement"], &usage["calls"]), (&json!("final"), &json!(2)), "{how}");
    let rows = pair.stage.client().calls(&run).await;
    for row in &rows {
        assert_eq!((&row["cost_source"], &row["status"]), (&json!("estimate"), &json!(403)));
        assert!(decimal(&row["cost_usd"]) > Decimal::ZERO);
    }
    assert_eq!(pair.other.client.ask(&run, &ask("hi")).await.code(), "run_closed");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancelled_run_is_cut_on_every_gateway() {
    check_cut("cancelled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_aborted_run_is_cut_on_every_gateway() {
    check_cut("abort").await;
}
