//! Reports that are odd: believed, never to anybody's credit, and flagged.

use serde_json::json;

use super::matrix::{Case, DONE, EVENTS, check, streamed, whole};
use crate::data_plane::endings::Booked;
use crate::data_plane::stage::{MODEL, Stage, ask, ask_of, cost, decimal};
use crate::support::client::Answer;
use crate::support::provider::response;

const ODD: &str = "contradicted_usage";
const UNKNOWN: &str = "unknown_model";

/// An answer in one piece whose message has these members.
fn said(name: &'static str, message: &str, usage: &str, booked: Booked) -> Case {
    let body =
        format!(r#"{{"model":"gpt-4o-mini","choices":[{{"message":{message}}}],"usage":{usage}}}"#);
    whole(name, response("200 OK", "application/json", &body), 200, booked)
}

/// The same as a stream.
fn told(name: &'static str, delta: &str, usage: &str, booked: Booked) -> Case {
    let chunk = format!(r#"data: {{"model":"gpt-4o-mini","choices":[{{"delta":{delta}}}]}}"#);
    let last = format!(r#"data: {{"choices":[],"usage":{usage}}}"#);
    streamed(name, format!("{EVENTS}{chunk}\n\n{last}\n\n{DONE}"), 200, booked)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_is_believed_and_flagged_where_there_was_some() {
    const NONE: &str = r#"{"prompt_tokens":8,"completion_tokens":0}"#;
    const SOME: &str = r#"{"prompt_tokens":8,"completion_tokens":2}"#;
    let (odd, nothing) = (Booked::Odd(8, 0, 0, ODD), Booked::Usage(8, 0, 0, MODEL));
    check(vec![
        said("a text", r#"{"content":"Hello"}"#, NONE, odd),
        said("parts", r#"{"content":[{"type":"text","text":"Hello"}]}"#, NONE, odd),
        said("a tool call", r#"{"content":null,"tool_calls":[{"id":"x"}]}"#, NONE, odd),
        said("a refusal", r#"{"content":"","refusal":"No."}"#, NONE, odd),
        said("nothing", r#"{"content":"","tool_calls":[]}"#, NONE, nothing),
        said("a text that counts", r#"{"content":"Hello"}"#, SOME, Booked::Usage(8, 0, 2, MODEL)),
        told("a text in a stream", r#"{"content":"Hello"}"#, NONE, odd),
        told("nothing in a stream", r#"{"content":""}"#, NONE, nothing),
        told("a role in a stream", r#"{"role":"assistant"}"#, NONE, nothing),
    ])
    .await;
}

/// One chunk that says what was used.
fn reports(prompt: i64, completion: i64, choices: &str) -> String {
    let usage = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#);
    format!("data: {{\"choices\":{choices},\"usage\":{usage}}}\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_reports_in_a_stream_the_last_counts_and_a_broken_one_never_lowers_the_bill() {
    let more = r#"[{"delta":{"content":"Hello"}}]"#;
    let stream = |reports: &[String]| format!("{EVENTS}{}{DONE}", reports.concat());
    check(vec![
        streamed(
            "a running count",
            stream(&[reports(8, 1, more), reports(8, 2, more), reports(8, 3, "[]")]),
            200,
            Booked::Usage(8, 0, 3, MODEL),
        ),
        streamed(
            "a higher one and a lower one",
            stream(&[reports(90, 40, more), reports(8, 2, "[]")]),
            200,
            Booked::Usage(8, 0, 2, MODEL),
        ),
        streamed(
            "a good one and a negative one",
            stream(&[reports(8, 2, more), reports(-8, 2, "[]")]),
            200,
            Booked::Absurd,
        ),
        streamed(
            "a good one and none",
            format!(
                "{EVENTS}{}data: {{\"choices\":[],\"usage\":null}}\n\n{DONE}",
                reports(8, 2, more)
            ),
            200,
            Booked::Usage(8, 0, 2, MODEL),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_knows_gets_no_discount_and_is_flagged() {
    let stage = Stage::simulated(&[]).await;
    for (does, cost, flag) in [
        ("usage=10:20 cached=8 served=gpt-4o-mini", cost(MODEL, 10, 8, 20), None),
        ("usage=10:20 cached=8 served=gpt-4o-mini-2031-01-02", cost(MODEL, 10, 8, 20), None),
        ("usage=10:20 cached=8 served=gpt-4.1-nano", cost("gpt-4.1-nano", 10, 8, 20), None),
        ("usage=10:20 cached=8 served=o9-ultra", cost(MODEL, 10, 0, 20), Some(UNKNOWN)),
        ("usage=10:20 cached=8 served=gpt-4o-mini-pro", cost(MODEL, 10, 0, 20), Some(UNKNOWN)),
        ("usage=10:20 cached=8 served=GPT-4o-mini", cost(MODEL, 10, 0, 20), Some(UNKNOWN)),
        ("usage=10:20 served=text-embedding-3-small", cost(MODEL, 10, 0, 20), Some(UNKNOWN)),
    ] {
        let run = stage.run(json!({})).await;
        let answer: Answer = stage.client().ask(&run, &ask(&format!("[[sim {does}]]"))).await;
        assert_eq!(answer.status, 200, "{does}");
        let usage = stage.client().settled(&run).await;
        let row = &stage.client().calls(&run).await[0];
        assert_eq!((&row["flag"], &row["cost_source"]), (&json!(flag), &json!("usage")), "{does}");
        assert_eq!(decimal(&usage["spent_usd"]), cost, "{does}");
    }
    // A cheap name does not make a dear model cheap.
    let run = stage.run(json!({})).await;
    let body = ask_of("gpt-4o", "[[sim usage=10:20 served=almost-free]]");
    assert_eq!(stage.client().ask(&run, &body).await.status, 200);
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost("gpt-4o", 10, 0, 20));
    stage.end().await;
}
