//! A run that floods beside one that works.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::raw::{ASK, Scene};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// How often each status came.
fn statuses<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

fn large(bytes: usize) -> Value {
    prompt(&"a".repeat(bytes))
}

async fn all_served(client: &Client, run: &Run, body: &Value, count: usize) {
    for call in 0..count {
        let answer = client.ask(run, body).await;
        assert_eq!(answer.status, 200, "call {call}: {}", answer.text);
    }
}

/// Threat 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_floods_is_limited_and_its_neighbour_is_not() {
    let gateway = TestGateway::serve(&database().await, &[("ADMISSION_WAIT_SECONDS", "1")]).await;
    let client = &gateway.client;
    let limits = json!({"cost_limit_usd": "0.01", "max_concurrency": 4, "on_cap": "refuse"});
    let (hog, victim) =
        (client.register(limits).await, client.register(json!({"cost_limit_usd": "1"})).await);
    let mut endless = prompt("[[sim endless]] flood");
    endless["stream"] = json!(true);
    endless["max_tokens"] = json!(200);
    let (small, flood) = (prompt("hi"), 200);
    let floods = join_all((0..flood).map(|_| client.ask(&hog, &endless)));
    let works = all_served(client, &victim, &small, 40);
    let (flooded, ()) = tokio::join!(floods, works);
    let counts = statuses(&flooded);
    assert!(counts.get(&429).is_some_and(|count| *count > flood / 2), "{counts:?}");
    assert!(flooded.iter().all(|a| a.status != 429 || a.header("retry-after").is_some()));
    assert!(counts.keys().all(|status| *status < 500), "{counts:?}");
    let usage = client.settled(&hog).await;
    assert!(usage["refusals"].as_object().unwrap().len() <= 3, "{usage}");
    gateway.stop().await;
}

/// Threat 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_large_bodies_of_a_run_leave_room_for_those_of_another() {
    let settings = [("MAX_BODY_BYTES", "1000000"), ("MAX_BODIES_BYTES", "4000000")];
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let client = &gateway.client;
    // Its calls wait to be let in, and meanwhile they hold their bodies.
    let hog = client.register(json!({"cost_limit_usd": "1", "status": "pending"})).await;
    let victim = client.register(json!({"cost_limit_usd": "1"})).await;
    let body = large(400_000);
    let waiting = join_all((0..12).map(|_| client.ask(&hog, &body)));
    let works = async {
        all_served(client, &victim, &body, 5).await;
        // Nobody is let in before everybody has asked.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let path = format!("/runs/{}", hog.id);
        let begin =
            client.operator(reqwest::Method::PATCH, &path).json(&json!({"status": "running"}));
        assert_eq!(begin.send().await.unwrap().status(), 200);
    };
    let (hogged, ()) = tokio::join!(waiting, works);
    let counts = statuses(&hogged);
    assert_eq!(counts, BTreeMap::from([(200, 2), (429, 10)]), "{:?}", hogged[0]);
    let refused = hogged.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "concurrency_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What was held is free again.
    all_served(client, &hog, &body, 3).await;
    gateway.stop().await;
}

/// Threat 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_no_credential_holds_at_most_half_of_the_room_for_bodies() {
    let settings = [
        ("MAX_BODY_BYTES", "1000000"),
        ("MAX_BODIES_BYTES", "4000000"),
        ("ACTIVATION_WAIT_SECONDS", "2"),
    ];
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let client = &gateway.client;
    let hog = client.register(json!({"cost_limit_usd": "1", "status": "pending"})).await;
    let victim = client.register(json!({"cost_limit_usd": "1"})).await;
    let mut nameless = large(400_000);
    nameless["run_id"] = json!(hog.id);
    let ask = || async {
        let request = client.http.post(format!("{}/agents/inference", client.data));
        Answer::of(request.json(&nameless).send().await.unwrap()).await
    };
    let waiting = join_all((0..12).map(|_| ask()));
    let body = large(400_000);
    let (hogged, ()) = tokio::join!(waiting, all_served(client, &victim, &body, 5));
    let counts = statuses(&hogged);
    assert_eq!(counts, BTreeMap::from([(409, 4), (429, 8)]), "{:?}", hogged[0]);
    let refused = hogged.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "rate_limited");
    gateway.stop().await;
}

/// Threat 33.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_asks_for_its_usage_all_the_time_keeps_nobody_from_reading_his() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    let hog = client.register(json!({"cost_limit_usd": "1"})).await;
    let read = |run: &Run| {
        let request = client.http.get(format!("{}/v1/usage", client.data)).bearer_auth(&run.token);
        async move { Answer::of(request.send().await.unwrap()).await }
    };
    let flood = join_all((0..300).map(|_| read(&hog)));
    let works = async {
        for _ in 0..20 {
            assert_eq!(read(&scene.run).await.status, 200);
        }
    };
    let (flooded, ()) = tokio::join!(flood, works);
    let counts = statuses(&flooded);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [200, 429], "{counts:?}");
    scene.end().await;
}

/// Threat 20.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_grow_no_table_whatever_they_name() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    for number in 0..100 {
        let mut body: Value = serde_json::from_str(ASK).unwrap();
        body[format!("field_{number}")] = json!(1);
        let answer = client.ask(&scene.run, &body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    let usage = client.usage(&scene.run).await;
    assert_eq!(usage["refusals"], json!({"parameter_not_allowed": 100}));
    scene.provider_saw(0);
    scene.end().await;
}
