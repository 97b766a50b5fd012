//! Comments to a client whose stream is long in coming.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::matrix::EVENTS;
use super::retries::{failing, good_stream, none, rows, used};
use crate::data_plane::endings::{Booked, check_booked};
use crate::data_plane::endings_streams::{content, error_code};
use crate::data_plane::stage::{MODEL, Stage, ask, ask_streamed, cost, counted_input};
use crate::support::provider::{ScriptedProvider, Then};

const COMMENT: &str = ": keep-alive\n\n";
const SOON: (&str, &str) = ("KEEP_ALIVE_SECONDS", "1");
const ONCE: (&str, &str) = ("UPSTREAM_RETRIES", "0");

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_long_in_coming_begins_with_comments_and_ends_as_it_would() {
    let stage = Stage::simulated(&[SOON, ONCE]).await;
    let said = Booked::Usage(10, 0, 20, MODEL);
    let cases = [
        ("usage=10:20 delay_ms=2300", 2, "", said, 200),
        ("usage=10:20 delay_ms=1400", 1, "", said, 200),
        ("status=503 delay_ms=1400", 1, "upstream_error", Booked::Nothing, 502),
        ("status=400 delay_ms=1400", 1, "invalid_value", Booked::Nothing, 400),
        ("status=504 delay_ms=1400", 1, "upstream_error", Booked::WorstCase, 502),
        ("no_usage delay_ms=1400", 1, "", Booked::Estimate, 200),
        ("usage=10:20", 0, "", said, 200),
        ("usage=10:20 tokens=8 chunk_delay_ms=200", 0, "", said, 200),
    ];
    join_all(cases.map(|(does, comments, code, booked, status)| {
        let stage = &stage;
        async move {
            let text = format!("[[sim {does}]]");
            let run = stage.run(json!({})).await;
            let answer = stage.client().ask(&run, &ask_streamed(&text)).await;
            assert_eq!(answer.status, 200, "{does}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{does}");
            let begins = COMMENT.repeat(comments);
            let rest = answer.text.strip_prefix(&begins).unwrap_or_else(|| panic!("{answer:?}"));
            assert!(!rest.contains("keep-alive"), "none after the first byte: {does}: {answer:?}");
            assert_eq!(error_code(rest), code, "{does}: {rest}");
            let output = content(rest);
            check_booked(does, stage, &run, (&text, &output), booked, &[status]).await;
        }
    }))
    .await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_go_on_behind_the_comments() {
    let first = failing(503, "retry-after: 2\r\n");
    let provider = ScriptedProvider::in_turn([first, good_stream()]).await;
    let stage = Stage::before(&provider, &[SOON]).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed("hi")).await;
    assert!(answer.text.starts_with(COMMENT), "{answer:?}");
    assert_eq!((content(&answer.text).as_str(), error_code(&answer.text).as_str()), ("Hello", ""));
    assert_eq!(rows(&stage, &run).await, [none(502), used()]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_a_body_is_silence_too() {
    let provider = ScriptedProvider::answering(EVENTS, Then::Stall).await;
    let stage = Stage::before(&provider, &[SOON, ("UPSTREAM_IDLE_TIMEOUT_SECONDS", "2")]).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed("hi")).await;
    assert!(answer.text.starts_with(COMMENT), "{answer:?}");
    assert_eq!(error_code(&answer.text), "upstream_timeout");
    check_booked("head", &stage, &run, ("hi", ""), Booked::WorstCase, &[504]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_whoever_asked_for_one_piece_or_is_not_admitted_yet() {
    let stage = Stage::simulated(&[SOON, ("ADMISSION_WAIT_SECONDS", "2")]).await;
    let run = stage.run(json!({})).await;
    let text = "[[sim usage=10:20 delay_ms=1400]]";
    let answer = stage.client().ask(&run, &ask(text)).await;
    assert!(answer.text.starts_with('{') && !answer.text.contains(COMMENT), "{answer:?}");
    // The first call has the run's whole cap, so the second waits for longer than the silence.
    let stalled = "[[sim stall=head]]";
    let cap = cost(MODEL, counted_input(stalled), 0, 50).to_string();
    let run = stage.run(json!({"cost_limit_usd": cap, "on_cap": "refuse"})).await;
    let first = tokio::spawn(stage.client().chat(&run, &ask(stalled)).send());
    stage.in_flight(&run, 1).await;
    let answer = stage.client().ask(&run, &ask_streamed(stalled)).await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "budget_reserved"), "{answer:?}");
    stage.abort(&run).await;
    assert_eq!(first.await.unwrap().unwrap().status(), 403);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_comments_a_late_failure_has_its_status() {
    let stage = Stage::simulated(&[("KEEP_ALIVE_SECONDS", "0"), ONCE]).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed("[[sim status=503 delay_ms=1200]]")).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer:?}");
    stage.end().await;
}

/// Begins a stream that has had its first comment.
async fn commented(stage: &Stage, run: &crate::support::client::Run, text: &str) -> Waiting {
    let response = stage.client().chat(run, &ask_streamed(text)).send().await.unwrap();
    let mut pieces = Box::pin(response.bytes_stream());
    assert_eq!(pieces.next().await.unwrap().unwrap(), COMMENT);
    pieces
}

type Waiting =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_among_comments_is_charged_what_the_provider_says() {
    let stage = Stage::simulated(&[SOON]).await;
    let text = "[[sim usage=10:20 delay_ms=1600]]";
    let run = stage.run(json!({})).await;
    drop(commented(&stage, &run, text).await);
    let said = Booked::Usage(10, 0, 20, MODEL);
    check_booked(text, &stage, &run, (text, ""), said, &[499]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_among_comments_says_so_in_the_stream() {
    let stage = Stage::simulated(&[SOON]).await;
    let text = "[[sim stall=head]]";
    let run = stage.run(json!({})).await;
    let mut pieces = commented(&stage, &run, text).await;
    stage.abort(&run).await;
    let mut rest = String::new();
    while let Some(piece) = pieces.next().await {
        rest.push_str(&String::from_utf8_lossy(&piece.unwrap()));
    }
    assert_eq!(error_code(&rest), "run_closed", "{rest}");
    let row: Value = stage.client().calls(&run).await[0].clone();
    assert_eq!((&row["cost_source"], &row["status"]), (&json!("worst_case"), &json!(403)), "{row}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_down_ends_the_comments() {
    let stage = Stage::simulated(&[SOON]).await;
    let run = stage.run(json!({})).await;
    let mut pieces = commented(&stage, &run, "[[sim stall=head]]").await;
    let Stage { database, gateway } = stage;
    let stopping = tokio::spawn(gateway.running.shutdown(std::time::Duration::ZERO));
    let mut rest = String::new();
    while let Some(Ok(piece)) = pieces.next().await {
        rest.push_str(&String::from_utf8_lossy(&piece));
    }
    assert_eq!(error_code(&rest), "unavailable", "{rest}");
    stopping.await.unwrap();
    crate::data_plane::stage::audit(&database).await;
}
