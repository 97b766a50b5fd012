//! Fallback between providers that speak different formats, and what may happen meanwhile.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::fallback_stage::{
    ANTHROPIC, AZURE, Chain, OPENAI, chat, chat_stream, claude, claude_stream, cost, message,
    post_message, sent, strict,
};
use super::matrix::{CHUNK, EVENTS};
use super::retries::{failing, good, good_stream};
use crate::data_plane::endings_streams::{content, error_code, events};
use crate::data_plane::stage::{ask, ask_streamed, decimal, with};
use crate::support::client::Answer;
use crate::support::provider::{ScriptedProvider, Then};

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_answered_by_anthropic_where_the_others_fail() {
    for streamed in [false, true] {
        let answer = if streamed { claude_stream() } else { claude() };
        let scripts = [vec![failing(503, "")], vec![failing(429, "")], vec![answer]];
        let chain = Chain::of(scripts, &[]).await;
        let run = chain.run(json!({"forced_parameters": {"temperature": 0.5}})).await;
        let body = if streamed { ask_streamed("hi") } else { ask("hi") };
        let options = json!({"stream_options": {"include_usage": true}});
        let body = if streamed { with(body, options) } else { body };
        let answer = chain.ask(&run, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if streamed {
            assert_eq!(
                (content(&answer.text).as_str(), error_code(&answer.text)),
                ("Hello", String::new())
            );
            assert_eq!(events(&answer.text).last().unwrap()["usage"]["completion_tokens"], 4);
            assert!(answer.text.ends_with("data: [DONE]\n\n"), "{answer:?}");
        } else {
            let told = answer.json();
            assert_eq!(told["choices"][0]["message"]["content"], "Hello");
            assert_eq!(told["usage"]["prompt_tokens"], 9);
        }
        let sent = sent(&chain.anthropic);
        assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("claude-mini"), &json!(50)));
        assert_eq!(sent["temperature"], 0.5);
        let paid = cost(ANTHROPIC, (9, 4));
        chain.check(&run, &["openai", "azure_openai"], Some(("anthropic", paid))).await;
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_answered_by_openai_where_anthropic_fails() {
    for streamed in [false, true] {
        let answer = if streamed { chat_stream() } else { chat() };
        let chain = Chain::of([vec![answer], vec![good()], vec![failing(529, "")]], &[]).await;
        let run = chain.run(json!({})).await;
        let body = with(message("other", "hi"), json!({"stream": streamed}));
        let answer = post_message(&chain, &run, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if streamed {
            let events = events(&answer.text);
            let kinds: Vec<&str> =
                events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert_eq!((kinds[0], *kinds.last().unwrap()), ("message_start", "message_stop"));
            let text = events.iter().filter_map(|event| event["delta"]["text"].as_str());
            assert_eq!(text.collect::<String>(), "Hello");
        } else {
            let told = answer.json();
            assert_eq!(
                (&told["type"], &told["content"][0]["text"]),
                (&json!("message"), &json!("Hello"))
            );
        }
        assert_eq!(sent(&chain.openai)["max_completion_tokens"], 50);
        // The answer names gpt-4o-mini, which costs the same there.
        chain.check(&run, &["anthropic"], Some(("openai", cost(OPENAI, (8, 2))))).await;
        chain.end().await;
    }
}

/// What the first provider's price leaves of the output is all that the next one, which is cheaper,
/// is asked for: it may have been announced.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_was_lowered_stays_lowered_and_announced() {
    for streamed in [false, true] {
        let answer = if streamed { chat_stream() } else { chat() };
        let chain = Chain::of([vec![answer], vec![good()], vec![failing(529, "")]], &[]).await;
        let cap = strict(ANTHROPIC, 30, "hi", 300).to_string();
        let run = chain.run(json!({"cost_limit_usd": cap})).await;
        let fields = json!({"max_tokens": 1000, "stream": streamed});
        let answer = post_message(&chain, &run, &with(message("other", "hi"), fields)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(sent(&chain.anthropic)["max_tokens"], 300);
        assert_eq!(sent(&chain.openai)["max_completion_tokens"], 300);
        assert_eq!(answer.header("x-run-max-output-tokens"), Some("300"));
        chain.check(&run, &["anthropic"], Some(("openai", cost(OPENAI, (8, 2))))).await;
        chain.end().await;
    }
}

/// A stream without a usage is estimated by the prompt as the second provider was sent it.
#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_is_that_of_the_provider_that_answered() {
    let broken = format!("{EVENTS}{CHUNK}");
    let broken = (broken, Then::Close);
    let chain = Chain::of([vec![failing(503, "")], vec![broken], vec![claude()]], &[]).await;
    let run = chain.run(json!({})).await;
    let answer = chain.ask(&run, &ask_streamed("hi")).await;
    assert_eq!(error_code(&answer.text), "upstream_error");
    let rows = chain.rows(&run).await;
    let expected = cost(AZURE, (40 + 1, 1));
    assert_eq!(rows[1], ("azure_openai".to_owned(), "estimate".to_owned(), expected));
    chain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_moves_behind_its_comments() {
    let wait = failing(503, "retry-after: 2\r\n");
    let scripts = [vec![wait], vec![good_stream()], vec![claude()]];
    let chain = Chain::of(scripts, &[("KEEP_ALIVE_SECONDS", "1"), ("UPSTREAM_RETRIES", "1")]).await;
    let run = chain.run(json!({})).await;
    let answer = chain.ask(&run, &ask_streamed("hi")).await;
    assert!(answer.text.starts_with(": keep-alive\n\n"), "{answer:?}");
    assert_eq!(
        (content(&answer.text).as_str(), error_code(&answer.text)),
        ("Hello", String::new())
    );
    let paid = ("azure_openai", cost(AZURE, (8, 2)));
    chain.check(&run, &["openai", "openai"], Some(paid)).await;
    chain.end().await;
}

/// A second provider that answers when it may.
async fn gated(answer: (String, Then)) -> (Chain, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let openai = ScriptedProvider::in_turn([failing(503, "")]).await;
    let azure = ScriptedProvider::gated(answer.0, Arc::clone(&gate)).await;
    (Chain::with(openai, azure, vec![claude()], &[]).await, gate)
}

async fn reached(provider: &ScriptedProvider) {
    while provider.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_the_second_attempt_pays_what_that_one_says() {
    for streamed in [false, true] {
        let answer = if streamed { good_stream() } else { good() };
        let (chain, gate) = gated(answer).await;
        let run = chain.run(json!({})).await;
        let body = if streamed { ask_streamed("hi") } else { ask("hi") };
        let request = chain.stage.client().chat(&run, &body);
        let asking = tokio::spawn(async move { drop(request.send().await) });
        reached(&chain.azure).await;
        // What is reserved is the second attempt's worst case alone.
        let usage = chain.stage.client().usage(&run).await;
        let worst = strict(AZURE, 20, "hi", 50);
        assert_eq!((decimal(&usage["reserved_usd"]), &usage["in_flight"]), (worst, &json!(1)));
        asking.abort();
        let _gone = asking.await;
        // The gateway has noticed by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.add_permits(1);
        chain.check(&run, &["openai"], Some(("azure_openai", cost(AZURE, (8, 2))))).await;
        let rows = chain.stage.client().calls(&run).await;
        let last = rows.iter().max_by_key(|row| row["id"].as_str().unwrap()).unwrap();
        assert_eq!(last["status"], 499, "{last}");
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_during_the_second_attempt_is_cut_there() {
    let (chain, _gate) = gated(good()).await;
    let run = chain.run(json!({})).await;
    let request = chain.stage.client().chat(&run, &ask("hi"));
    let asking = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    reached(&chain.azure).await;
    chain.stage.abort(&run).await;
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "run_closed"));
    let rows: Vec<Value> = chain.stage.client().calls(&run).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    let booked = chain.rows(&run).await;
    assert_eq!((booked[1].0.as_str(), booked[1].1.as_str()), ("azure_openai", "worst_case"));
    assert_eq!(chain.seen(), [1, 1, 0]);
    chain.end().await;
}

/// The first failure comes after the run was closed: nothing is sent to the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_run_goes_nowhere() {
    let gate = Arc::new(Semaphore::new(0));
    let openai = ScriptedProvider::gated(failing(503, "").0, Arc::clone(&gate)).await;
    let azure = ScriptedProvider::in_turn([good()]).await;
    let chain = Chain::with(openai, azure, vec![claude()], &[]).await;
    let run = chain.run(json!({})).await;
    let request = chain.stage.client().chat(&run, &ask("hi"));
    let asking = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    reached(&chain.openai).await;
    let close = json!({"mode": "drain", "wait_seconds": 0});
    assert_eq!(chain.stage.client().close(&run, &close).await.status, 202);
    gate.add_permits(1);
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "run_closed"));
    chain.check(&run, &["openai"], None).await;
    assert_eq!(chain.seen(), [1, 0, 0]);
    chain.end().await;
}
