//! `rungate usage`: what was spent.

use serde_json::json;

use crate::support::provider::ScriptedProvider;

use super::shell::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_is_added_up_by_model() {
    let answer = json!({
        "from": "2026-10-22T16:00:00Z", "to": "2026-11-21T16:00:00Z", "group_by": "model",
        "data": [
            {"model": "llama-3.1-8b", "calls": 142, "input_tokens": 1_150_000,
             "cached_input_tokens": 1000, "output_tokens": 61_000, "cost_usd": "0.2200000246"},
            {"model": "llama-3.1-70b", "calls": 28, "input_tokens": 300_000,
             "cached_input_tokens": 0, "output_tokens": 40_000, "cost_usd": "10.3"},
        ],
        "total": {"calls": 170, "input_tokens": 1_450_000, "cached_input_tokens": 1000,
                  "output_tokens": 101_000, "cost_usd": "10.5200000246"},
        "next": null,
    })
    .to_string();
    let server = ScriptedProvider::json(&answer).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    insta::assert_snapshot!(shell.types("usage").await.ok(), @r"
    Usage (last 30 days):

    MODEL          REQUESTS  TOKENS            COST
    llama-3.1-8b        142    1.2M   $0.2200000246
    llama-3.1-70b        28    340K  $10.30
                                     ──────────────
    Total               170    1.6M  $10.5200000246
    ");
    assert!(server.seen()[0].starts_with("GET /usage?group_by=model HTTP/1.1\r\n"));
    assert_eq!(shell.types("usage --json").await.ok(), format!("{answer}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_and_a_grouping_are_asked_for_and_named() {
    let check = async |group: &str, member: &str, name: &str, head: &str| {
        let answer = json!({
            "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T12:00:00Z", "group_by": group,
            "data": [{member: name, "calls": 1, "input_tokens": 8, "cached_input_tokens": 0,
                      "output_tokens": 39, "cost_usd": "0.0000246"}],
            "total": {"calls": 1, "input_tokens": 8, "cached_input_tokens": 0, "output_tokens": 39,
                      "cost_usd": "0.0000246"},
            "next": null,
        });
        let server = ScriptedProvider::json(&answer.to_string()).await;
        let shell = Shell::at(&format!("http://{}", server.address));
        let window = "--from 2026-11-01 --to 2026-11-02T12:00:00+00:00";
        let shown = shell.types(&format!("usage {window} --group-by {group}")).await.ok();
        let path = format!(
            "GET /usage?from=2026-11-01&to=2026-11-02T12%3A00%3A00%2B00%3A00&group_by={group} HTTP"
        );
        assert!(server.seen()[0].starts_with(&path), "{:?}", server.seen());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "Usage (2026-11-01 to 2026-11-02T12:00:00Z):");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(2), [head, "REQUESTS", "TOKENS", "COST"]);
        assert_eq!(words(3), [name, "1", "47", "$0.0000246"]);
        assert_eq!(words(5), ["Total", "1", "47", "$0.0000246"]);
    };
    check("provider", "provider", "openai", "PROVIDER").await;
    check("run", "run_id", "11111111-2222-4333-8444-555555555555", "RUN").await;
    check("day", "day", "2026-11-01", "DAY").await;
    check("model", "model", "gpt-4o-mini", "MODEL").await;
}
