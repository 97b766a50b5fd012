//! Runs, their usage and their calls, as they are read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::app::{App, NOBODY, outcome};

fn ids(list: &Value) -> Vec<String> {
    let rows = list["data"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_in_the_order_of_registration() {
    let app = App::new().await;
    let mut registered = Vec::new();
    for _ in 0..5 {
        registered.push(app.running("1").await);
    }
    app.register(r#"{"cost_limit_usd":1}"#).await;
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = app.ask(&format!("GET /runs?status=running_agent&limit=2{after}"), "").await;
        let page = page.of(200);
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, registered);
    let all = app.ask("GET /runs", "").await.of(200);
    assert_eq!((ids(&all).len(), &all["next"]), (6, &Value::Null));
    let exact = app.ask("GET /runs?limit=6", "").await.of(200);
    assert_eq!((ids(&exact).len(), &exact["next"]), (6, &Value::Null));
    let after_nobody = app.ask(&format!("GET /runs?after={NOBODY}"), "").await.of(200);
    assert_eq!(after_nobody, json!({"data": [], "next": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_wrong_is_named() {
    let app = App::new().await;
    let limit = "must be a whole number from 1 to 1000";
    let wait = "must be a time such as 30s, 30 or 500ms, of at most 120s";
    let usage = format!("/runs/{NOBODY}/usage");
    let calls = format!("/runs/{NOBODY}/calls");
    for (path, param, says) in [
        ("/runs?limit=0".to_owned(), "limit", limit),
        ("/runs?limit=1001".to_owned(), "limit", limit),
        ("/runs?limit=%2B5".to_owned(), "limit", limit),
        ("/runs?after=me".to_owned(), "after", "must be what `next` of the page before says"),
        ("/runs?color=red".to_owned(), "color", "is not a parameter of this request; leave it out"),
        ("/runs?limit=1&limit=2".to_owned(), "limit", "is given twice; give it once"),
        (
            "/runs?status=asleep".to_owned(),
            "status",
            "must be one of pending, initializing, running, scoring, finished, failed and \
             cancelled",
        ),
        (format!("{usage}?wait_final=121s"), "wait_final", wait),
        (format!("{usage}?wait_final=soon"), "wait_final", wait),
        (format!("{usage}?wait_final=-1"), "wait_final", wait),
        (format!("{usage}?wait_final="), "wait_final", wait),
        (format!("{calls}?limit=many"), "limit", limit),
        (format!("/runs/{NOBODY}?a=1"), "a", "is not a parameter of this request; leave it out"),
    ] {
        let answer = app.ask(&format!("GET {path}"), "").await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_counts_what_was_spent_and_refused() {
    let app = App::new().await;
    let run = app.running("1.00").await;
    app.spend(&run, "0.0100").await;
    app.spend(&run, "0.0023").await;
    let held = app.reserve(&run, "0.5").await;
    let id = rungate::domain::id::RunId::parse(&run).unwrap();
    app.gateway.refusals.count(id, rungate::domain::fault::Code::CostLimitExceeded);
    let usage = app.ask(&format!("GET /runs/{run}/usage"), "").await.of(200);
    let model = json!({
        "model": "gpt-4o-mini", "calls": 2, "input_tokens": 30, "cached_input_tokens": 8,
        "output_tokens": 40, "cost_usd": "0.0123", "cost_sources": {"usage": 2},
    });
    let whole = json!({
        "run_id": run, "status": "running", "attempt": 1, "settlement": "provisional",
        "cost_limit_usd": "1.00", "spent_usd": "0.0123", "total_spent_usd": "0.0123",
        "reserved_usd": "0.5",
        "remaining_usd": "0.4877", "in_flight": 1, "calls": 2, "input_tokens": 30,
        "cached_input_tokens": 8, "output_tokens": 40, "refusals": {"cost_limit_exceeded": 1},
        "models": [model],
    });
    assert_eq!(usage, whole);
    let shown = app.ask(&format!("GET /runs/{run}"), "").await.of(200);
    for (name, value) in whole.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_waits_until_it_is_final_or_the_wait_lapses() {
    let app = App::new().await;
    let run = app.running("1").await;
    let held = app.reserve(&run, "0.5").await;
    app.ask(&format!("PATCH /runs/{run}"), r#"{"status":"scoring"}"#).await.of(200);
    let begun = Instant::now();
    let lapsed = app.ask(&format!("GET /runs/{run}/usage?wait_final=120ms"), "").await.of(200);
    assert_eq!(lapsed["settlement"], "provisional");
    assert!(begun.elapsed() >= Duration::from_millis(120));
    let settling = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.settle(outcome("0.25"));
    });
    let begun = Instant::now();
    let last = app.ask(&format!("GET /runs/{run}/usage?wait_final=30"), "").await.of(200);
    assert_eq!((&last["settlement"], &last["spent_usd"]), (&json!("final"), &json!("0.25")));
    assert!(begun.elapsed() < Duration::from_secs(5));
    settling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_with_everything_about_them() {
    let app = App::new().await;
    let run = app.running("1").await;
    let path = format!("GET /runs/{run}/calls");
    assert_eq!(app.ask(&path, "").await.of(200), json!({"data": [], "next": null}));
    app.spend(&run, "0.010").await;
    let mut list = app.ask(&path, "").await.of(200);
    let row = &mut list["data"][0];
    assert!(row["id"].take().is_string() && row["created_at"].take().is_string());
    let whole = json!({
        "id": null, "request_id": "req-a", "attempt": 1, "model": "gpt-4o-mini",
        "requested_model": null, "service_tier": null,
        "served_model": "gpt-4o-mini-2024-07-18", "provider": "openai",
        "endpoint": "/v1/chat/completions", "input_tokens": 15, "cached_input_tokens": 4,
        "cache_write_tokens": 1, "output_tokens": 20, "reasoning_tokens": 5,
        "cost_usd": "0.01", "cost_source": "usage", "price_version": "p1", "status": 200,
        "latency_ms": 12, "ttfb_ms": 3, "created_at": null, "flag": null,
    });
    assert_eq!(*row, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_come_in_pages_or_all_as_lines() {
    let app = App::new().await;
    let run = app.running("10").await;
    for _ in 0..1_203 {
        app.spend(&run, "0.001").await;
    }
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = app.ask(&format!("GET /runs/{run}/calls?limit=1000{after}"), "").await.of(200);
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged.len(), 1_203);
    let lines = async |query: &str| -> Vec<String> {
        let request = app
            .request(&format!("GET /runs/{run}/calls{query}"))
            .bearer_auth(super::app::TOKEN)
            .header("accept", "text/html;q=0.1, Application/X-NDJSON; q=1");
        let answer = app.send(request).await;
        assert_eq!(
            (answer.status, answer.headers["x-request-id"].as_bytes()),
            (200, &b"test-1"[..])
        );
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        assert!(answer.text.is_empty() || answer.text.ends_with('\n'));
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].clone();
        answer.text.lines().map(|line| id(line).as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(lines("").await, paged);
    assert_eq!(lines(&format!("?after={}", paged[1_000])).await, paged[1_001..]);
    assert_eq!(lines("?limit=501").await, paged[..501]);
    assert_eq!(lines(&format!("?after={}", paged[1_202])).await, paged[1_203..]);
}
