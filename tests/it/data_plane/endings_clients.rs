//! Clients that go away: the metering goes on without them.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::json;

use super::endings::{Booked, check_booked};
use super::stage::{MODEL, Stage, ask, ask_streamed};
use crate::support::client::Run;

const SAID: Booked = Booked::Usage(10, 0, 20, MODEL);

/// Reads a stream until `enough` of it has come, then leaves.
async fn leave(stage: &Stage, run: &Run, text: &str, enough: impl Fn(&str) -> bool) {
    let response = stage.client().chat(run, &ask_streamed(text)).send().await.unwrap();
    let mut pieces = response.bytes_stream();
    let mut seen = String::new();
    while let Some(piece) = pieces.next().await {
        seen.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        if enough(&seen) {
            return;
        }
    }
    panic!("the stream ended before the client could leave: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_is_charged_what_the_provider_says_at_its_end() {
    let stage = Stage::simulated(&[]).await;
    let text = "[[sim usage=10:20 tokens=12 chunk_delay_ms=40]]";
    let run = stage.run(json!({})).await;
    leave(&stage, &run, text, |seen| seen.contains("data: ")).await;
    check_booked("first chunk", &stage, &run, (text, ""), SAID, &[499]).await;
    let text = "[[sim usage=10:20 tokens=3 chunk_delay_ms=60]]";
    let run = stage.run(json!({})).await;
    leave(&stage, &run, text, |seen| seen.contains("\"finish_reason\":\"stop\"")).await;
    // Whether it left before the last word was passed on is a matter of milliseconds.
    check_booked("last chunk", &stage, &run, (text, ""), SAID, &[499, 200]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_is_charged_all_the_same() {
    let stage = Stage::simulated(&[]).await;
    let cases = [
        ("usage=10:20 delay_ms=1000", false, SAID),
        ("usage=10:20 delay_ms=1000", true, SAID),
        ("status=500 delay_ms=1000", false, Booked::Nothing),
        ("garbage delay_ms=1000", false, Booked::WorstCase),
        ("cut=1 delay_ms=1000", false, Booked::WorstCase),
        ("no_usage delay_ms=1000", false, Booked::WorstCase),
    ];
    join_all(cases.map(|(does, streamed, booked)| {
        let stage = &stage;
        async move {
            let text = format!("[[sim {does}]]");
            let run = stage.run(json!({})).await;
            let body = if streamed { ask_streamed(&text) } else { ask(&text) };
            let request = stage.client().chat(&run, &body);
            let sending = tokio::spawn(async move { drop(request.send().await) });
            stage.in_flight(&run, 1).await;
            sending.abort();
            check_booked(does, stage, &run, (&text, ""), booked, &[499]).await;
        }
    }))
    .await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_whole_answer_half_way_is_charged_by_its_end() {
    let stage = Stage::simulated(&[("UPSTREAM_IDLE_TIMEOUT_SECONDS", "1")]).await;
    let text = "[[sim stall=body]]";
    let run = stage.run(json!({})).await;
    let request = stage.client().chat(&run, &ask(text));
    let sending = tokio::spawn(async move { drop(request.send().await) });
    stage.in_flight(&run, 1).await;
    sending.abort();
    check_booked(text, &stage, &run, (text, ""), Booked::WorstCase, &[499]).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_left_keeps_its_place_until_it_ends() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"max_concurrency": 1})).await;
    let text = "[[sim usage=10:20 delay_ms=1500]]";
    let request = stage.client().chat(&run, &ask(text));
    let sending = tokio::spawn(async move { drop(request.send().await) });
    stage.in_flight(&run, 1).await;
    sending.abort();
    assert!(sending.await.is_err());
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.code(), "concurrency_limited");
    stage.client().settled(&run).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
    stage.end().await;
}
