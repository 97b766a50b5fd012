//! Answers without an end: bounded in bytes and in time, and never free.

use serde_json::json;

use super::matrix::{CHUNK, EVENTS};
use crate::data_plane::endings::{Booked, check_booked};
use crate::data_plane::endings_streams::{content, error_code};
use crate::data_plane::stage::{Stage, ask, ask_streamed};
use crate::support::provider::{ScriptedProvider, Then};

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_ended_by_its_bytes() {
    const FILLER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let settings = [("UPSTREAM_RETRIES", "0"), ("MAX_RESPONSE_BYTES", "500000")];
    let events = |begins: &str| format!("{EVENTS}{CHUNK}{begins}");
    for (name, bytes, again, stream) in [
        ("an event", events("data: {\"a\":\""), FILLER, true),
        ("a line", events(""), FILLER, true),
        ("an event of lines", events(""), "data: a\n", true),
        ("comments", events(""), ": ping, so that nobody thinks of a stall\n\n", true),
        ("empty lines", events(""), "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", true),
        ("a head", "HTTP/1.1 200 OK\r\n".to_owned(), "a: aaaaaaaaaaaaaaaaaaaaaaaa\r\n", false),
        ("a header", "HTTP/1.1 200 OK\r\na: ".to_owned(), FILLER, false),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n".to_owned(),
            "a: aaaaaaaaaaaaaaaaaaaaaaaa\r\n",
            false,
        ),
    ] {
        let provider = ScriptedProvider::answering(bytes, Then::Repeat(again)).await;
        let stage = Stage::before(&provider, &settings).await;
        let run = stage.run(json!({})).await;
        let body = if stream { ask_streamed("hi") } else { ask("hi") };
        let answer = stage.client().ask(&run, &body).await;
        if stream {
            assert_eq!(error_code(&answer.text), "upstream_error", "{name}");
            assert_eq!(content(&answer.text), "Hello", "{name}");
        } else {
            assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"), "{name}");
        }
        check_booked(name, &stage, &run, ("hi", ""), Booked::WorstCase, &[502]).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_ended_by_its_time_though_it_is_never_silent() {
    let settings = [("UPSTREAM_TIMEOUT_SECONDS", "1"), ("UPSTREAM_IDLE_TIMEOUT_SECONDS", "60")];
    let stage = Stage::simulated(&settings).await;
    let text = "[[sim endless chunk_delay_ms=50]]";
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed(text)).await;
    assert_eq!(error_code(&answer.text), "upstream_timeout", "{}", answer.text);
    check_booked(text, &stage, &run, (text, ""), Booked::WorstCase, &[504]).await;
    stage.end().await;
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let provider = ScriptedProvider::answering(interim, Then::Repeat(interim)).await;
    let stage = Stage::before(&provider, &settings).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask("hi")).await;
    assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"), "{answer:?}");
    check_booked("interim", &stage, &run, ("hi", ""), Booked::WorstCase, &[504]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_an_end_is_still_told() {
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/html\r\n\r\n";
    let provider = ScriptedProvider::answering(head, Then::Repeat("<p>oh no</p> ")).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask("hi")).await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
    let upstream = &answer.json()["error"]["upstream"];
    assert_eq!(upstream["status"], 500);
    assert!(upstream["body"].as_str().unwrap().starts_with("<p>oh no</p>"), "{upstream}");
    check_booked("500", &stage, &run, ("hi", ""), Booked::Nothing, &[502]).await;
    stage.end().await;
}
