//! What everybody used over a time.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::app::{App, TOKEN};
use super::broken::Broken;

async fn usage(app: &App, query: &str) -> Value {
    app.ask(&format!("GET /usage{query}"), "").await.of(200)
}

fn sums(calls: u64, cost: &str) -> Value {
    json!({
        "calls": calls, "input_tokens": 15 * calls, "cached_input_tokens": 4 * calls,
        "output_tokens": 20 * calls, "cost_usd": cost,
    })
}

fn group(name: &str, value: &str, calls: u64, cost: &str) -> Value {
    let mut group = sums(calls, cost);
    group[name] = json!(value);
    group
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_all_runs_are_summed_by_what_is_asked() {
    let app = App::new().await;
    let (one, two) = (app.running("1").await, app.running("1").await);
    app.spend(&one, "0.10").await;
    app.spend(&two, "0.02").await;
    app.spend(&two, "0.03").await;
    drop(app.reserve(&two, "0.5").await);
    let _in_flight = app.reserve(&two, "0.5").await;
    let total = sums(3, "0.15");

    let by_model = usage(&app, "").await;
    assert_eq!(by_model["group_by"], "model");
    assert_eq!(by_model["data"], json!([group("model", "gpt-4o-mini", 3, "0.15")]));
    assert_eq!((&by_model["total"], &by_model["next"]), (&total, &Value::Null));

    let by_provider = usage(&app, "?group_by=provider").await;
    assert_eq!(by_provider["data"], json!([group("provider", "openai", 3, "0.15")]));

    let by_run = usage(&app, "?group_by=run").await;
    let runs = [group("run_id", &one, 1, "0.1"), group("run_id", &two, 2, "0.05")];
    assert_eq!(by_run["data"], json!(runs));

    let by_day = usage(&app, "?group_by=day").await;
    assert_eq!(by_day["total"], total);
    let day = by_day["data"][0]["day"].as_str().unwrap();
    let today = |time: &Value| time.as_str().unwrap().starts_with(day);
    assert!(today(&by_day["to"]) || by_day["data"].as_array().unwrap().len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_last_thirty_days_unless_it_is_named() {
    let app = App::new().await;
    let run = app.running("1").await;
    app.spend(&run, "0.1").await;
    let time = |answer: &Value, name: &str| {
        let text = answer[name].as_str().unwrap();
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    };
    let before = Utc::now();
    let default = usage(&app, "").await;
    let (from, to) = (time(&default, "from"), time(&default, "to"));
    assert_eq!(to - from, TimeDelta::days(30));
    assert!(to > before - TimeDelta::seconds(1) && to < Utc::now() + TimeDelta::seconds(1));

    let days = usage(&app, "?from=2026-01-31&to=2026-02-28T12:00:00.5%2B01:00").await;
    assert_eq!(days["from"], "2026-01-31T00:00:00Z");
    assert_eq!(days["to"], "2026-02-28T11:00:00.500Z");
    assert_eq!((&days["data"], &days["total"]), (&json!([]), &sums(0, "0")));

    let until = usage(&app, "?to=2026-02-28").await;
    assert_eq!(time(&until, "from"), time(&until, "to") - TimeDelta::days(30));
    let empty = usage(&app, "?from=2026-02-28&to=2026-02-28").await;
    assert_eq!(empty["total"], sums(0, "0"));
    let ever = usage(&app, "?from=0001-01-01&to=9999-12-31").await;
    assert_eq!(ever["total"], sums(1, "0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_the_one_before_ended_and_keep_its_time() {
    let app = App::new().await;
    let mut expected = Vec::new();
    for cents in ["0.03", "0.01", "0.02", "0.02", "0.05"] {
        let run = app.running("1").await;
        app.spend(&run, cents).await;
        expected.push((cents, run));
    }
    expected.sort_by(|(a, one), (b, two)| b.cmp(a).then(one.cmp(two)));
    let first = usage(&app, "?group_by=run&limit=2").await;
    let (mut page, mut found) = (first.clone(), Vec::new());
    loop {
        assert_eq!((&page["from"], &page["to"]), (&first["from"], &first["to"]));
        assert_eq!(page["total"], sums(5, "0.13"));
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 2);
        found.extend(rows.iter().map(|row| row["run_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        // Later calls are not part of the time that is read.
        app.spend(&expected[0].1, "0.1").await;
        page = usage(&app, &format!("?group_by=run&limit=2&after={next}")).await;
    }
    let runs: Vec<String> = expected.into_iter().map(|(_, run)| run).collect();
    assert_eq!(found, runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_named() {
    let app = App::new().await;
    let time = "must be an RFC 3339 instant such as 2026-01-31T12:00:00Z, or a day such as \
                2026-01-31";
    let cursor = "must be what `next` of the page before says";
    let limit = "must be a whole number from 1 to 1000";
    for (query, param, says) in [
        ("from=yesterday", "from", time),
        ("from=", "from", time),
        ("from=2026-02-30", "from", time),
        ("from=2026-2-3", "from", time),
        ("from=%2B2026-02-03", "from", time),
        ("to=2026-01-31T12:00:00", "to", time),
        ("to=1767225600", "to", time),
        ("from=2026-02-02&to=2026-02-01", "from", "must not be later than to"),
        ("group_by=color", "group_by", "must be one of model, provider, run, day"),
        ("group_by=run_id", "group_by", "must be one of model, provider, run, day"),
        ("limit=0", "limit", limit),
        ("limit=1001", "limit", limit),
        ("after=", "after", cursor),
        ("after=gpt-4o-mini", "after", cursor),
        // A name with a NUL character, and a year beyond all clocks.
        ("after=MSAyIDMgYQBi", "after", cursor),
        ("after=ODAwMDAwMDAwMDAwMDAwMDAwMCA4MDAwMDAwMDAwMDAwMDAwMDAwIDEgYQ", "after", cursor),
        ("run=1", "run", "is not a parameter of this request; leave it out"),
        ("from=2026-01-01&from=2026-01-01", "from", "is given twice; give it once"),
    ] {
        let answer = app.ask(&format!("GET /usage?{query}"), "").await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_can_be_summed_are_the_askers_to_divide() {
    let slow = Broken { is_slow: true, ..Broken::default() };
    let app = App::on(Arc::new(slow), Some(TOKEN)).await;
    app.ask("GET /usage", "").await.refuses(
        400,
        "invalid_request",
        Some("from"),
        "There are more calls between from and to than can be summed up in one request. Ask for a \
         shorter time.",
    );
}
