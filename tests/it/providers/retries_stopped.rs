//! What stops a retry: the run, its money, the client, the gateway. Each acts in the pause after a
//! first failure.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::retries::{failing, good, none, rows, used};
use crate::data_plane::stage::{MODEL, Stage, ask, cost, decimal, strict_input};
use crate::support::client::{Answer, Run};
use crate::support::provider::ScriptedProvider;

/// A provider that fails once and asks for a second, and a call that waits for that.
struct Pause {
    provider: ScriptedProvider,
    stage: Stage,
    run: Run,
    call: JoinHandle<Answer>,
}

impl Pause {
    async fn of(fields: Value, settings: &[(&str, &str)]) -> Self {
        let wait = "retry-after: 1\r\n";
        let provider = ScriptedProvider::in_turn([failing(503, wait), good()]).await;
        let stage = Stage::before(&provider, settings).await;
        let run = stage.run(fields).await;
        let request = stage.client().chat(&run, &ask("hi"));
        let call = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
        for _ in 0..400 {
            if !provider.seen().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The failure has been read by then; the pause is a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Self { provider, stage, run, call }
    }

    /// The call's answer; there was one attempt, which cost nothing.
    async fn check(self, status: u16, code: &str, row: u64) {
        let answer = self.call.await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        assert_eq!(rows(&self.stage, &self.run).await, [none(row)]);
        assert_eq!(self.provider.seen().len(), 1);
        self.stage.end().await;
    }
}

fn worst() -> rust_decimal::Decimal {
    cost(MODEL, strict_input("hi"), 0, 50)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_holds_its_money_and_its_place_through_the_pause() {
    let fields = json!({"cost_limit_usd": worst().to_string(), "max_concurrency": 1});
    let pause = Pause::of(fields, &[]).await;
    let usage = pause.stage.client().usage(&pause.run).await;
    assert_eq!((decimal(&usage["reserved_usd"]), &usage["in_flight"]), (worst(), &json!(1)));
    let second = pause.stage.client().ask(&pause.run, &ask("hi")).await;
    assert_eq!(second.code(), "concurrency_limited");
    assert_eq!(pause.call.await.unwrap().status, 200);
    assert_eq!(rows(&pause.stage, &pause.run).await, [none(502), used()]);
    pause.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_not_overtaken_by_a_later_call_that_waits_for_its_money() {
    let worst = worst();
    let pause = Pause::of(json!({"cost_limit_usd": worst.to_string()}), &[]).await;
    // It says something else, so that the provider can be seen to hear of it last.
    let later = pause.stage.client().chat(&pause.run, &ask("me"));
    let later = tokio::spawn(async move { Answer::of(later.send().await.unwrap()).await });
    assert_eq!(pause.call.await.unwrap().status, 200);
    // What is left after the first does not buy the second in full.
    let second = later.await.unwrap();
    assert!(matches!(second.status, 200 | 402), "{second:?}");
    let seen = pause.provider.seen();
    assert!(seen[1].contains("\"hi\""), "the retry came first: {seen:?}");
    let usage = pause.stage.client().settled(&pause.run).await;
    assert!(decimal(&usage["spent_usd"]) <= worst, "{usage}");
    pause.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_no_longer_fits_leaves_the_first_failure() {
    let pause = Pause::of(json!({}), &[]).await;
    pause.stage.patch(&pause.run, json!({"cost_limit_usd": "0.000001"})).await;
    pause.check(502, "upstream_error", 502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_run_refuses_the_retry_itself() {
    let pause = Pause::of(json!({}), &[]).await;
    let closed = pause.stage.client().close(&pause.run, &json!({"mode": "drain"})).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
    pause.check(403, "run_closed", 502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_run_ends_the_pause() {
    let pause = Pause::of(json!({}), &[]).await;
    pause.stage.abort(&pause.run).await;
    pause.check(403, "run_closed", 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_never_moves_into_the_next_attempt_of_its_run() {
    let pause = Pause::of(json!({}), &[]).await;
    let path = format!("/runs/{}/attempts", pause.run.id);
    let request = pause.stage.client().operator(reqwest::Method::POST, &path).json(&json!({}));
    let opened = Answer::of(request.send().await.unwrap()).await;
    assert!(matches!(opened.status, 200 | 201), "{opened:?}");
    pause.check(403, "run_closed", 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_pause_takes_the_retry_with_it() {
    let pause = Pause::of(json!({}), &[]).await;
    pause.call.abort();
    assert_eq!(rows(&pause.stage, &pause.run).await, [none(499)]);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(pause.provider.seen().len(), 1);
    pause.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_shuts_down_tries_nothing_again() {
    let pause = Pause::of(json!({}), &[]).await;
    let Pause { provider, stage, call, .. } = pause;
    let database = stage.database.clone();
    stage.gateway.stop().await;
    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
    assert_eq!(provider.seen().len(), 1);
    crate::data_plane::stage::audit(&database).await;
}
