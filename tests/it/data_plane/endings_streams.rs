//! Every way in which a provider can end a stream: what the client sees, and the one row that is
//! booked.

use serde_json::{Value, json};

use super::endings::{Booked, check_booked};
use super::stage::{MAX_TOKENS, MODEL, Stage, ask_of, ask_streamed, cost, strict_input_of, with};
use crate::support::client::Answer;
use crate::support::provider::{ScriptedProvider, Then};

/// The events of a stream that are JSON.
pub(crate) fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}")))
        .collect()
}

/// The text of the first choice.
pub(crate) fn content(text: &str) -> String {
    let of = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    events(text).iter().filter_map(of).collect()
}

/// The code of the error that ends a stream; empty if there is none.
pub(crate) fn error_code(text: &str) -> String {
    let all = events(text);
    let errors: Vec<&Value> = all.iter().filter(|event| event.get("error").is_some()).collect();
    let Some(error) = errors.first() else { return String::new() };
    assert_eq!((errors.len(), all.last()), (1, Some(*error)), "an error ends a stream: {text}");
    assert!(!text.contains("[DONE]"), "{text}");
    error["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_simulated_stream_ends_there_is_one_row() {
    let stage = Stage::simulated(&[("MAX_RESPONSE_BYTES", "100000")]).await;
    for (does, error, booked) in [
        ("usage=10:20", "", Booked::Usage(10, 0, 20, MODEL)),
        ("usage=10:20 cached=3 served=gpt-4.1-nano", "", Booked::Usage(10, 3, 20, "gpt-4.1-nano")),
        ("usage=0:0", "", Booked::Odd(0, 0, 0, "contradicted_usage")),
        ("usage=10:20 served=who-knows", "", Booked::Odd(10, 0, 20, "unknown_model")),
        ("usage=10:20 usage_on_content", "", Booked::Usage(10, 0, 20, MODEL)),
        ("usage=-10:20", "", Booked::Absurd),
        ("usage=10:16385", "", Booked::Absurd),
        ("no_usage", "", Booked::Estimate),
        ("no_usage tokens=9", "", Booked::Estimate),
        ("cut=0", "upstream_error", Booked::Estimate),
        ("cut=1", "upstream_error", Booked::Estimate),
        ("cut=5", "upstream_error", Booked::Estimate),
        ("garbage", "upstream_error", Booked::Estimate),
        ("error_event", "upstream_error", Booked::Estimate),
        ("endless", "upstream_error", Booked::WorstCase),
    ] {
        let text = format!("[[sim {does}]]");
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask_streamed(&text)).await;
        assert_eq!(answer.status, 200, "{does}: {}", answer.text);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{does}");
        assert_eq!(error_code(&answer.text), error, "{does}: {}", answer.text);
        let output = content(&answer.text);
        let status = if error.is_empty() { 200 } else { 502 };
        check_booked(does, &stage, &run, (&text, &output), booked, &[status]).await;
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_before_it_began_is_an_ordinary_failure() {
    let stage = Stage::simulated(&[]).await;
    for (does, status, booked) in [
        ("status=400", 400, Booked::Nothing),
        ("status=500", 502, Booked::Nothing),
        ("status=504", 502, Booked::WorstCase),
    ] {
        let text = format!("[[sim {does}]]");
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask_streamed(&text)).await;
        assert_eq!(answer.status, status, "{does}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{does}");
        check_booked(does, &stage, &run, (&text, ""), booked, &[status]).await;
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_is_told_so_and_charged_its_worst_case() {
    let stage = Stage::simulated(&[("UPSTREAM_IDLE_TIMEOUT_SECONDS", "1")]).await;
    let text = "[[sim stall=body]]";
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed(text)).await;
    assert_eq!(error_code(&answer.text), "upstream_timeout", "{}", answer.text);
    check_booked(text, &stage, &run, (text, ""), Booked::WorstCase, &[504]).await;
    stage.end().await;
}

const CHUNK: &str =
    r#"data: {"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hello"}}]}"#;
const USAGE: &str =
    r#"data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}"#;
const RUNNING: &str = concat!(
    r#"data: {"choices":[{"index":0,"delta":{"content":" there"}}],"#,
    r#""usage":{"prompt_tokens":8,"completion_tokens":2}}"#
);

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_is_its_usage_or_its_last_word() {
    let said = Booked::Usage(8, 0, 2, MODEL);
    for (name, lines, error, booked) in [
        ("no last word", &[CHUNK, USAGE][..], "", said),
        ("no usage and no last word", &[CHUNK], "upstream_error", Booked::Estimate),
        ("nothing at all", &[], "upstream_error", Booked::Estimate),
        ("only a comment", &[": ping"], "upstream_error", Booked::Estimate),
        ("no usage but a last word", &[CHUNK, "data: [DONE]"], "", Booked::Estimate),
        (
            "an error after the usage",
            &[CHUNK, USAGE, r#"data: {"error":"x"}"#],
            "upstream_error",
            said,
        ),
        (
            "garbage after a running usage",
            &[CHUNK, RUNNING, "data: {"],
            "upstream_error",
            Booked::Estimate,
        ),
        ("a last word after a running usage", &[CHUNK, RUNNING, "data: [DONE]"], "", said),
        ("garbage after the usage", &[CHUNK, USAGE, "data: {"], "upstream_error", said),
        ("usage twice, the last counts", &[CHUNK, &USAGE.replace('8', "9"), USAGE], "", said),
    ] {
        let body: String = lines.iter().map(|line| format!("{line}\n\n")).collect();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let provider = ScriptedProvider::answering(format!("{head}{body}"), Then::Close).await;
        let stage = Stage::before(&provider, &[("WORKERS", "1")]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask_streamed("hi")).await;
        assert_eq!(error_code(&answer.text), error, "{name}: {}", answer.text);
        let status = if error.is_empty() { 200 } else { 502 };
        let output = content(&answer.text);
        check_booked(name, &stage, &run, ("hi", &output), booked, &[status]).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_settled_at_its_last_word_though_the_connection_stays_open() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let bytes = format!("{head}{CHUNK}\n\n{USAGE}\n\ndata: [DONE]\n\n");
    let provider = ScriptedProvider::answering(bytes, Then::Stall).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let response = stage.client().chat(&run, &ask_streamed("hi")).send().await.unwrap();
    let said = Booked::Usage(8, 0, 2, MODEL);
    check_booked("last word", &stage, &run, ("hi", ""), said, &[200]).await;
    drop(response);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_piece_where_a_stream_was_asked_is_a_failure_that_is_paid() {
    let usage =
        r#"{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}"#;
    let provider = ScriptedProvider::json(usage).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let answer = stage.client().ask(&run, &ask_streamed("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
    let said = Booked::Usage(8, 0, 2, MODEL);
    check_booked("one piece", &stage, &run, ("hi", ""), said, &[502]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn estimates_become_worst_cases_where_that_is_set_or_the_model_thinks_unseen() {
    let text = "[[sim no_usage]]";
    let stage = Stage::simulated(&[("UNKNOWN_USAGE", "worst_case")]).await;
    let run = stage.run(json!({})).await;
    let answer: Answer = stage.client().ask(&run, &ask_streamed(text)).await;
    assert_eq!(answer.status, 200);
    check_booked("setting", &stage, &run, (text, ""), Booked::WorstCase, &[200]).await;
    stage.end().await;
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = with(ask_of("o3-mini", text), json!({"stream": true}));
    assert_eq!(stage.client().ask(&run, &body).await.status, 200);
    stage.client().settled(&run).await;
    let row = &stage.client().calls(&run).await[0];
    let most = cost("o3-mini", strict_input_of("o3-mini", text), 0, MAX_TOKENS).to_string();
    assert_eq!((&row["cost_source"], &row["cost_usd"]), (&json!("worst_case"), &json!(most)));
    stage.end().await;
}
