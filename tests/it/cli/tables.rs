//! Runs and calls as people read them, and as programs do.

use serde_json::{Value, json};

use crate::support::client::{Run, prompt};
use crate::support::gateway::TestGateway;

use super::shell::Shell;

const FIRST: &str = "11111111-2222-4333-8444-555555555555";
const SECOND: &str = "22222222-2222-4333-8444-555555555555";

/// Two runs: one has called two models, one nothing.
async fn two_runs() -> (TestGateway, Shell) {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let first = client.register(json!({"id": FIRST, "cost_limit_usd": "0.25"})).await;
    client.register(json!({"id": SECOND, "cost_limit_usd": "12.50", "status": "pending"})).await;
    call(&gateway, &first, "gpt-4o-mini").await;
    call(&gateway, &first, "gpt-4o").await;
    let shell = Shell::before(&gateway);
    (gateway, shell)
}

async fn call(gateway: &TestGateway, run: &Run, model: &str) {
    let mut body = prompt("[[sim usage=1000:200]] Hello");
    body["model"] = json!(model);
    let answer = gateway.client.ask(run, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What differs from one time to the next is blanked, where it stands.
fn without_times(text: &str) -> String {
    let blank = |word: &str| match chrono::DateTime::parse_from_rfc3339(word) {
        Ok(_) => "(time)".to_owned(),
        Err(_) => word.to_owned(),
    };
    let lines = text.lines().map(|line| line.split(' ').map(blank).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_stand_in_a_table_with_their_sums() {
    let (gateway, shell) = two_runs().await;
    insta::assert_snapshot!(shell.types("runs list").await.ok(), @r"
    ID                                    STATUS   ATTEMPT  LIMIT USD    SPENT  RESERVED  IN FLIGHT  CALLS
    11111111-2222-4333-8444-555555555555  running        1       0.25  0.00477         0          0      2
    22222222-2222-4333-8444-555555555555  pending        1      12.50  0               0          0      0
                                                                       ───────  ────────  ─────────  ─────
    Total                                                              0.00477         0          0      2
    ");
    insta::assert_snapshot!(shell.types("runs list --limit 1").await.ok(), @r"
    ID                                    STATUS   ATTEMPT  LIMIT USD    SPENT  RESERVED  IN FLIGHT  CALLS
    11111111-2222-4333-8444-555555555555  running        1       0.25  0.00477         0          0      2
                                                                       ───────  ────────  ─────────  ─────
    Total of these                                                     0.00477         0          0      2

    more: --after 11111111-2222-4333-8444-555555555555
    ");
    let none = shell.types("runs list --status failed").await.ok();
    let head = "ID  STATUS  ATTEMPT  LIMIT USD  SPENT  RESERVED  IN FLIGHT  CALLS\n";
    assert_eq!(none, head);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_its_bill_show_the_models_with_their_sums() {
    let (gateway, shell) = two_runs().await;
    let shown = shell.types(&format!("runs show {FIRST}")).await.ok();
    insta::assert_snapshot!(without_times(&shown), @r"
    id               11111111-2222-4333-8444-555555555555
    status           running
    attempt          1
    cost limit usd   0.25
    spent usd        0.00477
    total spent usd  0.00477
    reserved usd     0
    remaining usd    0.24523
    in flight        0
    calls            2
    settlement       provisional
    on cap           clamp
    require token    false
    fallback         false
    attempt budget   shared
    created at       (time)
    metadata         {}

    MODEL        CALLS  INPUT  CACHED  OUTPUT  COST USD
    gpt-4o           1   1000       0     200   0.0045
    gpt-4o-mini      1   1000       0     200   0.00027
                 ─────  ─────  ──────  ──────  ────────
    Total            2   2000       0     400   0.00477
    ");
    let bill = shell.types(&format!("runs close {FIRST} --reason done")).await.ok();
    insta::assert_snapshot!(bill, @r"
    run id               11111111-2222-4333-8444-555555555555
    status               finished
    attempt              1
    settlement           final
    cost limit usd       0.25
    spent usd            0.00477
    total spent usd      0.00477
    reserved usd         0
    remaining usd        0.24523
    in flight            0
    calls                2
    input tokens         2000
    cached input tokens  0
    output tokens        400

    MODEL        CALLS  INPUT  CACHED  OUTPUT  COST USD
    gpt-4o           1   1000       0     200   0.0045
    gpt-4o-mini      1   1000       0     200   0.00027
                 ─────  ─────  ──────  ──────  ────────
    Total            2   2000       0     400   0.00477
    ");
    assert_eq!(shell.types(&format!("runs usage {FIRST} --wait-final 5")).await.ok(), bill);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_stand_in_a_table_with_their_cost_or_a_row_on_each_line() {
    let (gateway, shell) = two_runs().await;
    let calls = shell.types(&format!("runs calls {FIRST}")).await.ok();
    let lines: Vec<Vec<&str>> =
        calls.lines().map(|line| line.split_whitespace().collect()).collect();
    let head =
        ["AT", "MODEL", "PROVIDER", "STATUS", "INPUT", "OUTPUT", "COST", "USD", "SOURCE", "MS"];
    assert_eq!(lines[0], head);
    let row = ["gpt-4o-mini", "openai", "200", "1000", "200", "0.00027", "usage"];
    assert_eq!(lines[1][1..8], row);
    assert_eq!(lines[4], ["Total", "2000", "400", "0.00477"]);
    let page = shell.types(&format!("runs calls {FIRST} --limit 1")).await.ok();
    assert!(page.contains("Total of these") && page.contains("\n\nmore: --after "), "{page}");

    let rows = shell.types(&format!("runs calls {FIRST} --json")).await.ok();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let costs: Vec<&Value> = rows.iter().map(|row| &row["cost_usd"]).collect();
    assert_eq!(costs, ["0.00027", "0.0045"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_the_answer_as_it_came() {
    let (gateway, shell) = two_runs().await;
    let client = &gateway.client;
    for (command, path) in [
        ("runs list --json".to_owned(), "/runs?limit=100".to_owned()),
        (format!("runs show {FIRST} --json"), format!("/runs/{FIRST}")),
        (format!("runs usage {FIRST} --json"), format!("/runs/{FIRST}/usage")),
    ] {
        let answer = client.operator(reqwest::Method::GET, &path).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert_eq!(shell.types(&command).await.ok(), format!("{text}\n"), "{command}");
    }
    let moving = shell.types("runs create --cost-limit 1 --fallback --json").await.json();
    assert_eq!((&moving["fallback"], &moving["provider"]), (&json!(true), &json!(null)));
    let made = shell.types("runs create --cost-limit 0.10 --json").await.json();
    assert_eq!(made["fallback"], false);
    assert_eq!(made["cost_limit_usd"], "0.10");
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let rotated = shell.types(&format!("runs token {id} --json")).await.json();
    assert!(rotated["token"].as_str().unwrap() != token, "{rotated}");
    let next = shell.types(&format!("runs attempt {id} --json --status running")).await.json();
    assert_eq!((&next["attempt"], &next["status"]), (&json!(2), &json!("running")));
    let changed = shell.types(&format!("runs patch {id} --json --cost-limit 2")).await.json();
    assert_eq!(changed["cost_limit_usd"], "2");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn colour_is_for_terminals_or_on_demand() {
    let (gateway, shell) = two_runs().await;
    let plain = shell.types("runs list").await.ok();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert_eq!(shell.types("runs list --color never").await.ok(), plain);
    let coloured = shell.types("--color always runs list").await.ok();
    let running = "\u{1b}[32mrunning\u{1b}[0m";
    assert!(coloured.starts_with("\u{1b}[1mID ") && coloured.contains(running), "{coloured:?}");
    assert_eq!(console::strip_ansi_codes(&coloured), plain, "colour moves nothing");
    gateway.stop().await;
}
