//! `rungate usage`: what was spent, by all and by an organization.

use serde_json::{Value, json};

use crate::support::provider::{ScriptedProvider, Then, response};

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

/// The report of an organization: two pages, as a gateway writes them.
async fn two_pages(group: &str, rows: [Value; 2]) -> (ScriptedProvider, [String; 2]) {
    let page = |row: &Value, next: Option<&str>| {
        json!({"from": "2026-11-01T00:00:00Z", "to": "2026-11-21T12:00:00Z", "group_by": group,
               "rows": [row], "next": next})
        .to_string()
    };
    let pages = [page(&rows[0], Some("there")), page(&rows[1], None)];
    let answers =
        pages.clone().map(|page| (response("200 OK", "application/json", &page), Then::Close));
    (ScriptedProvider::in_turn(answers).await, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_organization_used_is_added_up_exactly_over_all_pages() {
    let key = "44444444-2222-7333-8444-555555555555";
    let rows = [
        json!({"group_key": key, "name": "Lab notebook", "provider": "openai", "calls": 1420,
               "input_tokens": 89_340, "cached_input_tokens": 0, "output_tokens": 14_200,
               "total_tokens": 103_540, "cost_microcents": 2_192_100,
               "cost_usd": "10.000000000000000001"}),
        json!({"group_key": "none", "name": null, "provider": "mistral", "calls": 1,
               "input_tokens": 8, "cached_input_tokens": 0, "output_tokens": 39,
               "total_tokens": 47, "cost_microcents": 2460, "cost_usd": "0.0000246"}),
    ];
    let (server, pages) = two_pages("key", rows).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    insta::assert_snapshot!(shell.types("usage --org default --group-by key").await.ok(), @r"
    Usage of default (this month):

    KEY                                   NAME          PROVIDER  REQUESTS  TOKENS                    COST
    44444444-2222-7333-8444-555555555555  Lab notebook  openai        1420    103K  $10.000000000000000001
    none                                  -             mistral          1      47   $0.0000246
                                                                                    ──────────────────────
    Total                                                             1421    103K  $10.000024600000000001
    ");
    let asked = |at: usize, query: &str| {
        let start = format!("GET /organizations/default/inference/usage?{query} HTTP/1.1\r\n");
        assert!(server.seen()[at].starts_with(&start), "{:?}", server.seen());
    };
    asked(0, "group_by=key&limit=1000");
    asked(1, "group_by=key&limit=1000&after=there");

    let (server, _) = two_pages("key", [json!({}), json!({})]).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let shown = shell.types("usage --org default --from 2026-11-01 --group-by day").await.ok();
    assert!(
        shown.starts_with("Usage of default (2026-11-01 to 2026-11-21T12:00:00Z):\n"),
        "{shown}"
    );

    let answers =
        pages.clone().map(|page| (response("200 OK", "application/json", &page), Then::Close));
    let server = ScriptedProvider::in_turn(answers).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let lines = shell.types("usage --org default --group-by key --json").await.ok();
    assert_eq!(lines, format!("{}\n{}\n", pages[0], pages[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_for_a_spreadsheet_is_printed_as_it_comes_and_whole_or_not_at_all() {
    let csv = "group_key,provider,cost_usd\r\nopenai/gpt-4o-mini,openai,0.0000246\r\n";
    let answer = response("200 OK", "text/csv", csv);
    let server = ScriptedProvider::answering(answer.clone(), Then::Close).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let command = "usage --org default --from 2026-11-01 --csv";
    assert_eq!(shell.types(command).await.ok(), csv);
    let seen = server.seen()[0].to_lowercase();
    assert!(seen.contains("/usage?from=2026-11-01&group_by=model http/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\naccept: text/csv\r\n"), "{seen}");
    let cut = answer.strip_suffix("246\r\n").unwrap().to_owned();
    let server = ScriptedProvider::answering(cut, Then::Close).await;
    let said = Shell::at(&format!("http://{}", server.address)).types(command).await;
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains("broke off; try again"), "{said:?}");
}
