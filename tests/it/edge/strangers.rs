//! Credentials that nobody knows, and what can be told apart of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::raw::{ASK, Scene};
use crate::support::client::{Answer, Client, Run};

fn stranger(number: usize) -> String {
    format!("rg-run-{number:043}")
}

async fn ask_as(client: &Client, token: &str) -> Answer {
    let run = Run { id: String::new(), token: token.to_owned() };
    let body: Value = serde_json::from_str(ASK).unwrap();
    let request = client.chat(&run, &body).header("x-request-id", "same");
    Answer::of(request.send().await.unwrap()).await
}

/// A client at another address of this machine.
fn elsewhere(client: &Client) -> Client {
    let http = reqwest::Client::builder().no_proxy().local_address(Some([127, 0, 0, 7].into()));
    Client { http: http.build().unwrap(), ..client.clone() }
}

/// Tokens that are not good, each for another reason.
async fn bad_tokens(client: &Client) -> Vec<(&'static str, String)> {
    let token = |path: String| async move {
        let request = client.operator(Method::POST, &path).json(&json!({}));
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert!(answer.status < 300, "{}", answer.text);
    };
    let cap = json!({"cost_limit_usd": "1"});
    let (rotated, retried) =
        (client.register(cap.clone()).await, client.register(cap.clone()).await);
    for run in [&rotated, &retried] {
        assert_eq!(ask_as(client, &run.token).await.status, 200);
    }
    token(format!("/runs/{}/token", rotated.id)).await;
    token(format!("/runs/{}/attempts", retried.id)).await;
    vec![
        ("unknown", stranger(0)),
        ("foreign", "sk-proj-0123456789".to_owned()),
        ("an inference key", format!("rg-key-{}", "A".repeat(43))),
        ("revoked", rotated.token),
        ("of an old attempt", retried.token),
    ]
}

/// Threat 23.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_cannot_be_told_apart() {
    let scene = Scene::new(&[]).await;
    let mut answers = BTreeSet::new();
    for (name, token) in bad_tokens(scene.client()).await {
        for _ in 0..2 {
            let answer = ask_as(scene.client(), &token).await;
            let headers: BTreeMap<String, String> = answer
                .headers
                .iter()
                .filter(|(header, _)| *header != "date")
                .map(|(header, value)| (header.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            assert_eq!(answer.status, 401, "{name}");
            answers.insert((answer.status, headers, answer.text));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    scene.end().await;
}

/// Threat 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_tokens_is_bounded_and_delays_no_token_that_is_known() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    assert_eq!(ask_as(client, &scene.run.token).await.status, 200);
    let tokens: Vec<String> = (1..=400).map(stranger).collect();
    let mut counts = BTreeMap::new();
    for (chunk, some) in tokens.chunks(50).enumerate() {
        for answer in join_all(some.iter().map(|token| ask_as(client, token))).await {
            *counts.entry(answer.status).or_insert(0) += 1;
            if answer.status == 429 {
                assert_eq!(answer.code(), "rate_limited");
                assert!(answer.header("retry-after").is_some());
            }
        }
        assert_eq!(ask_as(client, &scene.run.token).await.status, 200, "{chunk}");
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [401, 429], "{counts:?}");
    assert!(counts[&401] >= 200, "the first ones are asked for: {counts:?}");
    let new = client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(ask_as(&elsewhere(client), &new.token).await.status, 200);
    scene.end().await;
}

/// Threat 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_newcomers_is_no_flood_of_strangers() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    let new = json!({"cost_limit_usd": "1", "status": "running"});
    let request = client.operator(reqwest::Method::POST, "/runs").json(&vec![new; 500]);
    let registered: Value = request.send().await.unwrap().json().await.unwrap();
    let runs = registered["data"].as_array().or(registered.as_array()).unwrap();
    let tokens: Vec<&str> = runs.iter().map(|run| run["token"].as_str().unwrap()).collect();
    assert_eq!(tokens.len(), 500);
    for answer in join_all(tokens.iter().map(|token| ask_as(client, token))).await {
        // The provider may have too much of it, but nobody is taken for a stranger.
        assert!(!matches!(answer.status, 401 | 429), "{}", answer.text);
    }
    scene.end().await;
}

/// Threat 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_unknown_is_good_as_soon_as_its_run_is_registered() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    let id = uuid::Uuid::new_v4().to_string();
    let by_id = Run { id: id.clone(), token: id.clone() };
    let body: Value = serde_json::from_str(ASK).unwrap();
    assert_eq!(client.ask(&by_id, &body).await.status, 401);
    let run = client.register(json!({"id": id, "cost_limit_usd": "1"})).await;
    assert_eq!(client.ask(&by_id, &body).await.status, 200);
    assert_eq!(client.ask(&run, &body).await.status, 200);
    scene.end().await;
}

/// Threat 23. Shows how long each kind of bad token takes; run it with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "shows times, and checks none"]
#[expect(clippy::print_stderr, reason = "it is there to be read")]
async fn how_long_tokens_that_are_not_good_take() {
    let scene = Scene::new(&[]).await;
    for (name, token) in bad_tokens(scene.client()).await {
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            assert_eq!(ask_as(scene.client(), &token).await.status, 401);
            times.push(begun.elapsed());
            // Slower than what an address may ask in vain.
            tokio::time::sleep(Duration::from_millis(55)).await;
        }
        times.sort();
        eprintln!("{name}: median {:?}, p90 {:?}", times[100], times[180]);
    }
    scene.end().await;
}
