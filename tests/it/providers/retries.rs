//! Retries: what is tried again, how often, and that every attempt has a reservation and a row.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::matrix::{CHUNK, DONE, EVENTS, USAGE, WHOLE};
use crate::data_plane::stage::{MODEL, Stage, ask, ask_streamed, cost, decimal, strict_input};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

/// An answer with a failing status and perhaps another header.
pub(super) fn failing(status: u16, header: &str) -> (String, Then) {
    let body = r#"{"error":{"message":"Overloaded."}}"#;
    let head = format!("HTTP/1.1 {status} No\r\nconnection: close\r\n{header}");
    (format!("{head}content-length: {}\r\n\r\n{body}", body.len()), Then::Close)
}

pub(super) fn good() -> (String, Then) {
    (response("200 OK", "application/json", WHOLE), Then::Close)
}

pub(super) fn good_stream() -> (String, Then) {
    (format!("{EVENTS}{CHUNK}{USAGE}{DONE}"), Then::Close)
}

/// The run's rows from the first to the last: how each was booked, and its status.
pub(super) async fn rows(stage: &Stage, run: &Run) -> Vec<(String, u64)> {
    stage.client().settled(run).await;
    let mut rows = stage.client().calls(run).await;
    rows.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
    let ids: Vec<&Value> = rows.iter().map(|row| &row["request_id"]).collect();
    assert!(
        ids.windows(2).all(|ids| ids[0] == ids[1]),
        "the attempts of a call have one request id: {rows:?}"
    );
    let of = |row: &Value| {
        let source = row["cost_source"].as_str().unwrap().to_owned();
        assert!(source != "none" || row["cost_usd"] == "0", "{row}");
        (source, row["status"].as_u64().unwrap())
    };
    rows.iter().map(of).collect()
}

pub(super) fn none(status: u64) -> (String, u64) {
    ("none".to_owned(), status)
}

pub(super) fn used() -> (String, u64) {
    ("usage".to_owned(), 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_in_passing_is_answered_by_the_next_attempt() {
    let cases = [(429, false), (502, true), (503, false), (529, true)];
    let answers = cases.map(|(first, streamed)| {
        [failing(first, ""), if streamed { good_stream() } else { good() }]
    });
    let provider = ScriptedProvider::in_turn(answers.concat()).await;
    let stage = Stage::before(&provider, &[("WORKERS", "1")]).await;
    for (turn, (first, streamed)) in cases.into_iter().enumerate() {
        // It can afford one such call, not two at once.
        let cap = cost(MODEL, strict_input("hi"), 0, 50).to_string();
        let run = stage.run(json!({"cost_limit_usd": cap, "call_limit": 1})).await;
        let body = if streamed { ask_streamed("hi") } else { ask("hi") };
        let answer = stage.client().ask(&run, &body).await;
        assert_eq!(answer.status, 200, "{first}: {answer:?}");
        assert!(answer.text.contains("Hello"), "{first}: {answer:?}");
        assert_eq!(answer.header("x-error-origin"), None);
        let said = cost(MODEL, 8, 0, 2);
        if !streamed {
            assert_eq!(answer.header("x-run-cost-usd"), Some(said.to_string().as_str()));
        }
        assert_eq!(rows(&stage, &run).await, [none(502), used()], "{first}");
        let usage = stage.client().usage(&run).await;
        assert_eq!((decimal(&usage["spent_usd"]), &usage["calls"]), (said, &json!(1)));
        let seen = provider.seen();
        assert_eq!(seen.len(), 2 * turn + 2, "{first}");
        assert_eq!(seen[2 * turn], seen[2 * turn + 1], "the same is sent again");
    }
    let metrics = stage.client().operator(reqwest::Method::GET, "/metrics");
    let metrics = Answer::of(metrics.send().await.unwrap()).await.text;
    let counted = metrics.contains("rungate_upstream_retries_total{provider=\"openai\"}");
    assert!(counted, "retries are counted: {metrics}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_comes_up_meanwhile_is_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = [("UPSTREAM_RETRIES", "10")];
    let stage = Stage::at(&format!("http://{address}/v1"), &settings).await;
    let run = stage.run(json!({})).await;
    let call = tokio::spawn(stage.client().chat(&run, &ask("hi")).send());
    while stage.client().calls(&run).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (bytes, then) = good();
    let listener = TcpListener::bind(address).await.unwrap();
    let provider = ScriptedProvider::on(listener, vec![(bytes.into_bytes(), then)]);
    let answer = Answer::of(call.await.unwrap().unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = rows(&stage, &run).await;
    let (last, failed) = rows.split_last().unwrap();
    assert_eq!((last, provider.seen().len()), (&used(), 1));
    assert!(!failed.is_empty() && failed.iter().all(|row| *row == none(502)), "{rows:?}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end_and_the_last_failure_is_what_the_client_sees() {
    for (retries, attempts) in [("0", 1), ("1", 2), ("3", 4)] {
        let provider = ScriptedProvider::in_turn([failing(503, "")]).await;
        let stage = Stage::before(&provider, &[("UPSTREAM_RETRIES", retries)]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
        let upstream = &answer.json()["error"]["upstream"];
        assert_eq!(upstream["status"], 503);
        assert!(upstream["body"].as_str().unwrap().contains("Overloaded."), "{upstream}");
        assert_eq!(answer.header("x-error-origin"), Some("upstream"));
        assert_eq!(answer.header("x-run-spent-usd"), Some("0"));
        assert_eq!(rows(&stage, &run).await, vec![none(502); attempts]);
        assert_eq!(provider.seen().len(), attempts);
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_cost_and_what_the_request_caused_is_never_tried_again() {
    let stage = Stage::simulated(&[]).await;
    for status in [302, 400, 401, 403, 404, 408, 413, 422, 500, 504, 524] {
        for body in [ask, ask_streamed] {
            let run = stage.run(json!({})).await;
            let text = format!("[[sim status={status} retry_after=0]]");
            assert_ne!(stage.client().ask(&run, &body(&text)).await.status, 200);
            assert_eq!(rows(&stage, &run).await.len(), 1, "{status}");
        }
    }
    stage.end().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    let broken = [
        ("no answer", String::new()),
        ("half a head", "HTTP/1.1 5".to_owned()),
        ("no body", head.to_owned()),
        ("half a body", format!("{head}{{\"id\":")),
        ("half a stream", format!("{EVENTS}{CHUNK}")),
        ("a stream without an event", EVENTS.to_owned()),
        ("an error under 200", response("200 OK", "application/json", r#"{"error":"busy"}"#)),
        ("an error event", format!("{EVENTS}data: {{\"error\":{{\"code\":503}}}}\n\n")),
    ];
    let answers = broken.iter().map(|(_, bytes)| (bytes.clone(), Then::Close));
    let provider = ScriptedProvider::in_turn(answers).await;
    let stage = Stage::before(&provider, &[("WORKERS", "1")]).await;
    for (sent, (name, _)) in broken.iter().enumerate() {
        let run = stage.run(json!({})).await;
        let body = if name.contains("stream") { ask_streamed("hi") } else { ask("hi") };
        stage.client().ask(&run, &body).await;
        let rows = rows(&stage, &run).await;
        assert_eq!((rows.len(), provider.seen().len()), (1, sent + 1), "{name}: {rows:?}");
        assert_ne!(rows[0].0, "none", "{name}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_wait_is_honoured_if_there_is_time_and_told_if_there_is_not() {
    let hour = std::time::SystemTime::now() + Duration::from_secs(3600);
    let date = format!("retry-after: {}\r\n", httpdate::fmt_http_date(hour));
    for (wait, told) in [("retry-after: 11\r\n", "11"), (date.as_str(), "600")] {
        let provider = ScriptedProvider::in_turn([failing(429, wait), good()]).await;
        let stage = Stage::before(&provider, &[]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (502, Some(told)));
        assert_eq!(rows(&stage, &run).await, [none(502)]);
        stage.end().await;
    }
    let provider = ScriptedProvider::in_turn([failing(429, "retry-after: 1\r\n"), good()]).await;
    let stage = Stage::before(&provider, &[("UPSTREAM_RETRY_SECONDS", "2")]).await;
    let run = stage.run(json!({})).await;
    let began = std::time::Instant::now();
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1), "it came back too soon");
    assert_eq!(rows(&stage, &run).await, [none(502), used()]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_for_retries_is_no_retry() {
    let provider = ScriptedProvider::in_turn([failing(503, ""), good()]).await;
    let stage = Stage::before(&provider, &[("UPSTREAM_RETRY_SECONDS", "0")]).await;
    let run = stage.run(json!({})).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 502);
    assert_eq!(provider.seen().len(), 1);
    stage.end().await;
    // A failure that took longer than that is not tried again either.
    let stage = Stage::simulated(&[("UPSTREAM_RETRY_SECONDS", "1")]).await;
    let run = stage.run(json!({})).await;
    let text = "[[sim status=503 delay_ms=1100]]";
    assert_eq!(stage.client().ask(&run, &ask(text)).await.status, 502);
    assert_eq!(rows(&stage, &run).await, [none(502)]);
    stage.end().await;
}
