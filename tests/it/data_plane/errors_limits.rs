//! Refusals by state, pace and budget, with their numbers.

use std::time::Duration;

use reqwest::RequestBuilder;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::refused::{Checked, Refused, check, refused};
use super::stage::{MAX_TOKENS, MODEL, Stage, ask, ask_of, cost, counted_input, with};
use crate::support::client::{Answer, Run};

/// The members that a refusal about money adds.
fn money(limit: &str, spent: &str, reserved: &str, worst: &str) -> String {
    let spending = format!(r#","limit_usd":"{limit}","spent_usd":"{spent}""#);
    format!(r#"{spending},"reserved_usd":"{reserved}","worst_case_usd":"{worst}""#)
}

/// The worst case of a usual call that says `text`.
fn worst(text: &str) -> Decimal {
    cost(MODEL, counted_input(text), 0, MAX_TOKENS)
}

fn exceeded(worst: Decimal, rest: &str, limit: &str, spent: &str) -> Refused {
    let says = format!(
        "This call can cost up to ${worst}, and the run has ${rest} left of its cap of ${limit}. \
         Ask for fewer output tokens or send a shorter prompt, if anything is left."
    );
    let more = money(limit, spent, "0", &worst.to_string());
    refused("cost_limit_exceeded", says).more(more)
}

/// Begins a call that ends only when its run is stopped.
async fn begin(stage: &Stage, run: &Run) -> tokio::task::JoinHandle<()> {
    let request = stage.client().chat(run, &ask("[[sim stall=head]]"));
    let begun = tokio::spawn(async move { drop(request.send().await) });
    stage.in_flight(run, 1).await;
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_cap_is_told_with_its_numbers_under_the_status_that_was_set() {
    for (setting, status) in [("402", 402), ("403", 403), ("429", 429)] {
        let stage = Stage::simulated(&[("BUDGET_STATUS", setting)]).await;
        let mut checked = Checked::default();
        for cap in ["0", "0.00003", "0.000000000000000001"] {
            let run = stage.run(json!({"cost_limit_usd": cap})).await;
            let answer = stage.client().ask(&run, &ask("hi")).await;
            let expected = exceeded(worst("hi"), cap, cap, "0");
            checked.refusal(cap, &answer, &expected.status(status).retry_after(None));
            assert_eq!(answer.header("x-run-remaining-usd"), Some(cap));
            assert_eq!(answer.header("x-run-id"), Some(run.id.as_str()));
            let usage = stage.client().usage(&run).await;
            assert_eq!(usage["refusals"], json!({"cost_limit_exceeded": 1}));
        }
        checked.done();
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_counts_against_the_cap_to_the_last_digit() {
    let stage = Stage::simulated(&[]).await;
    let text = "[[sim usage=10:50]]";
    let (first, second) = (cost(MODEL, 10, 0, 50), worst(text));
    // One picodollar less than both would need.
    let cap = (first + second - Decimal::new(1, 12)).normalize();
    let run = stage.run(json!({"cost_limit_usd": cap.to_string()})).await;
    assert_eq!(stage.client().ask(&run, &ask(text)).await.status, 200);
    stage.client().settled(&run).await;
    let rest = (cap - first).normalize().to_string();
    let expected = exceeded(second, &rest, &cap.to_string(), &first.to_string());
    check("one too little", &stage.client().ask(&run, &ask(text)).await, &expected);
    let raised = (first + second).normalize().to_string();
    stage.patch(&run, json!({"cost_limit_usd": raised})).await;
    assert_eq!(stage.client().ask(&run, &ask(text)).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_run_says_in_which_state_it_is() {
    let stage = Stage::simulated(&[("ACTIVATION_WAIT_SECONDS", "0")]).await;
    let mut checked = Checked::default();
    for state in ["scoring", "finished", "failed", "cancelled"] {
        let says = format!("The run is {state}: it makes no more calls. Retrying will not help.");
        let run = stage.run(json!({})).await;
        assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
        stage.patch(&run, json!({"status": state})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        checked.refusal(state, &answer, &refused("run_closed", says));
    }
    for state in ["pending", "initializing"] {
        let says =
            format!("The run is {state}; only a running run may call models. Try again shortly.");
        let run = stage.run(json!({"status": state})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        checked.refusal(state, &answer, &refused("run_not_active", says));
    }
    let run = stage.run(json!({})).await;
    stage.patch(&run, json!({"expires_at": "2020-01-01T00:00:00Z"})).await;
    let says = "The run is past its expiry: it makes no more calls. Retrying will not help.";
    let answer = stage.client().ask(&run, &ask("hi")).await;
    checked.refusal("expired", &answer, &refused("run_expired", says));
    checked.done();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_until_its_run_is_running() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"status": "pending"})).await;
    let request = stage.client().chat(&run, &ask("hi"));
    let waiting = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    stage.patch(&run, json!({"status": "initializing"})).await;
    stage.patch(&run, json!({"status": "running"})).await;
    assert_eq!(waiting.await.unwrap().status, 200);
    let closed = stage.run(json!({"status": "pending"})).await;
    let request = stage.client().chat(&closed, &ask("hi"));
    let waiting = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    stage.patch(&closed, json!({"status": "failed"})).await;
    assert_eq!(waiting.await.unwrap().code(), "run_closed");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_uses_only_the_models_that_it_may_and_that_are_configured() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"allowed_models": [MODEL]})).await;
    let says = "This run may not use \"gpt-4o\". GET /v1/models lists those that it may.";
    let answer = stage.client().ask(&run, &ask_of("gpt-4o", "hi")).await;
    check("allowed", &answer, &refused("model_not_allowed", says).param("model"));
    for name in [MODEL, "openai/gpt-4o-mini"] {
        assert_eq!(stage.client().ask(&run, &ask_of(name, "hi")).await.status, 200);
    }
    stage.end().await;
    let stage = Stage::simulated(&[("SIMULATE_PROVIDERS", "false")]).await;
    let run = stage.run(json!({})).await;
    let says = "The provider of this model is not configured. Its operator can set OPENAI_API_KEY.";
    let expected = refused("provider_not_configured", says).param("model");
    check("configured", &stage.client().ask(&run, &ask("hi")).await, &expected);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_calls_too_often_hears_when_to_come_back() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"requests_per_minute": 2})).await;
    for left in ["1", "0"] {
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
        assert!(answer.header("x-ratelimit-reset-requests").is_some());
    }
    let answer = stage.client().ask(&run, &ask("hi")).await;
    let seconds = answer.header("retry-after").unwrap_or_default().to_owned();
    assert!((1..=30).contains(&seconds.parse().unwrap_or(0)), "{seconds}");
    let says = format!("This run may make 2 requests a minute. Try again in {seconds} s.");
    let expected = refused("rate_limited", says).retry_after(Some(&seconds));
    check("pace", &answer, &expected);
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_calls_too_much_at_once_is_refused_until_one_ends() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"max_concurrency": 1})).await;
    let begun = begin(&stage, &run).await;
    let says = "This run may have 1 calls under way at once, waiting ones included. Try again \
                when one has ended.";
    let answer = stage.client().ask(&run, &ask("hi")).await;
    check("second", &answer, &refused("concurrency_limited", says));
    stage.abort(&run).await;
    begun.await.unwrap();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_of_calls_and_tokens_refuse_for_good() {
    let stage = Stage::simulated(&[]).await;
    let text = "[[sim usage=10:50]]";
    let (full, tokens) = (worst(text), counted_input(text) + MAX_TOKENS);
    let spent = cost(MODEL, 10, 0, 50);
    let calls = "The run has made as many calls as it may. Finish with what you have.";
    let ceiling = format!(
        "This call can take up to {tokens} tokens, which is more than the run has left. Ask for \
         fewer output tokens or send a shorter prompt."
    );
    let table: [(Value, Refused, Decimal); 4] = [
        (json!({"call_limit": 0}), refused("call_limit_exceeded", calls), Decimal::ZERO),
        (json!({"call_limit": 1}), refused("call_limit_exceeded", calls), spent),
        (
            json!({"token_limit": tokens - 1}),
            refused("token_ceiling_exceeded", ceiling.clone()),
            Decimal::ZERO,
        ),
        (json!({"token_limit": tokens + 59}), refused("token_ceiling_exceeded", ceiling), spent),
    ];
    let mut checked = Checked::default();
    for (fields, expected, spent) in table {
        let run = stage.run(fields.clone()).await;
        if !spent.is_zero() {
            assert_eq!(stage.client().ask(&run, &ask(text)).await.status, 200, "{fields}");
            stage.client().settled(&run).await;
        }
        let more = money("1", &spent.to_string(), "0", &full.to_string());
        let answer = stage.client().ask(&run, &ask(text)).await;
        checked.refusal(&fields.to_string(), &answer, &expected.more(more));
    }
    checked.done();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_only_reserved_refuses_for_now() {
    let stage = Stage::simulated(&[("ADMISSION_WAIT_SECONDS", "0")]).await;
    let text = "[[sim stall=head]]";
    let reserved = cost(MODEL, super::stage::strict_input(text), 0, MAX_TOKENS);
    let cap = (reserved + worst("hi") - Decimal::new(1, 12)).normalize().to_string();
    let run = stage.run(json!({"cost_limit_usd": cap})).await;
    let begun = begin(&stage, &run).await;
    let says = format!(
        "This call can cost up to ${}. Calls in flight have reserved ${reserved} of the run's cap \
         of ${cap}; try again when they have ended.",
        worst("hi")
    );
    let more = money(&cap, "0", &reserved.to_string(), &worst("hi").to_string());
    let answer = stage.client().ask(&run, &ask("hi")).await;
    check("reserved", &answer, &refused("budget_reserved", says).more(more));
    stage.abort(&run).await;
    begun.await.unwrap();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_only_reserved_refuse_for_now() {
    let stage = Stage::simulated(&[("ADMISSION_WAIT_SECONDS", "0")]).await;
    let text = "[[sim stall=head]]";
    let wanted = counted_input("hi") + MAX_TOKENS;
    let taken = super::stage::strict_input(text) + MAX_TOKENS;
    let run = stage.run(json!({"token_limit": taken + wanted - 1})).await;
    let begun = begin(&stage, &run).await;
    let says = format!(
        "This call can take up to {wanted} tokens. Calls in flight have reserved too many of those \
         that the run may take; try again when they have ended."
    );
    let reserved = cost(MODEL, super::stage::strict_input(text), 0, MAX_TOKENS);
    let more = money("1", "0", &reserved.to_string(), &worst("hi").to_string());
    let answer = stage.client().ask(&run, &ask("hi")).await;
    check("reserved", &answer, &refused("budget_reserved", says).more(more));
    stage.abort(&run).await;
    begun.await.unwrap();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_or_is_late_is_told_apart() {
    let says = "The provider cannot be reached. Try again later.";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let stage = Stage::at(&nowhere, &[]).await;
    let run = stage.run(json!({})).await;
    check("refused", &stage.client().ask(&run, &ask("hi")).await, &refused("upstream_error", says));
    stage.end().await;
    let late = "The provider did not answer in time. It is charged as it may have been served.";
    for (name, setting, text) in [
        ("head", "UPSTREAM_TIMEOUT_SECONDS", "[[sim stall=head]]"),
        ("body", "UPSTREAM_IDLE_TIMEOUT_SECONDS", "[[sim stall=body]]"),
    ] {
        let stage = Stage::simulated(&[(setting, "1")]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask(text)).await;
        check(name, &answer, &refused("upstream_timeout", late));
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forwarded_when_the_ledger_is_gone() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
    drop_database(&stage.database).await;
    let says = "The gateway cannot reach its ledger right now. Nothing was sent; try again \
                shortly.";
    let body = with(ask("hi"), json!({"stream": true}));
    for (name, body) in [("whole", &ask("hi")), ("streamed", &body)] {
        let request: RequestBuilder = stage.client().chat(&run, body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        check(name, &answer, &refused("unavailable", says));
    }
    stage.gateway.stop().await;
}

async fn drop_database(url: &str) {
    let (server, name) = url.split('?').next().unwrap().rsplit_once('/').unwrap();
    let query = url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let mut connection =
        crate::support::postgres::connect(&format!("{server}/postgres{query}")).await;
    let statement = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}
