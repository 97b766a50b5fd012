//! `rungate orgs`: what an organization has set, shown and changed.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::ScriptedProvider;

use super::shell::{Shell, without_the_moment};

/// An organization's id.
pub(super) const LAB: &str = "33333333-2222-7333-8444-555555555555";

/// A gateway, its operator, and an organization that is called `lab`.
pub(super) async fn lab() -> (TestGateway, Shell) {
    let settings = [("ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let shell = Shell::operating(&gateway);
    shell.types(&format!("orgs create lab --id {LAB}")).await.ok();
    (gateway, shell)
}

/// What the control plane answers at this path.
pub(super) async fn answer(client: &Client, path: &str) -> Answer {
    let answer = client.operator(reqwest::Method::GET, path).send().await.unwrap();
    Answer::of(answer).await
}

async fn settings(client: &Client) -> Value {
    answer(client, &format!("/organizations/{LAB}/inference/settings")).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_made_configured_and_shown_by_its_name() {
    let gateway = TestGateway::serve(&database().await, &[]).await;
    let shell = Shell::operating(&gateway);
    let made = shell.types(&format!("orgs create lab --id {LAB}")).await.ok();
    insta::assert_snapshot!(made, @r"
    ✓ Organization created

      ID: 33333333-2222-7333-8444-555555555555
      Name: lab
    ");
    insta::assert_snapshot!(without_the_moment(&shell.types("orgs show lab").await.ok()), @r"
    id             0195a1b2-c3d4-7e5f-8a9b-000000000001
    name           lab
    created at     2026-11-21T12:00:00Z
    monthly limit  none; it was never configured
    spent          $0.00 since 2026-11-01
    reserved       $0.00
    circuit        closed
    eu only        false
    service tier   default
    run defaults   none
    rates          none
    credits        none; it does not pay in advance
    ");
    let set = "orgs set lab --monthly-limit 12.5 --eu-only true --service-tier flex \
               --default-cost-limit 0.75 --default-call-limit 7 --rate-limit-rpm 600";
    insta::assert_snapshot!(without_the_moment(&shell.types(set).await.ok()), @r"
    monthly limit  $12.50
    spent          $0.00 since 2026-11-01
    reserved       $0.00
    circuit        closed
    eu only        true
    service tier   flex
    run defaults   call limit 7, cost limit usd 0.75
    rates          rate limit rpm 600
    ");
    shell.types("credits add 25 --org lab").await.ok();
    let shown = shell.types("orgs show --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&shown), @r"
    id             0195a1b2-c3d4-7e5f-8a9b-000000000001
    name           lab
    created at     2026-11-21T12:00:00Z
    monthly limit  $12.50
    spent          $0.00 since 2026-11-01
    reserved       $0.00
    circuit        closed
    eu only        true
    service tier   flex
    run defaults   call limit 7, cost limit usd 0.75
    rates          rate limit rpm 600
    credits        $25.00 left of $25.00
    ");
    assert_eq!(shell.types(&format!("orgs show {LAB}")).await.ok(), shown);
    insta::assert_snapshot!(without_the_moment(&shell.types("orgs list").await.ok()), @r"
    ID                                    NAME     CONFIGURED  CIRCUIT  CREATED
    0195a1b2-c3d4-7e5f-8a9b-000000000001  default  false       -        2026-11-21T12:00:00Z
    0195a1b2-c3d4-7e5f-8a9b-000000000002  lab      true        closed   2026-11-21T12:00:00Z
    ");
    let page = shell.types("orgs list --limit 1").await.ok();
    assert!(page.contains("\n\nmore: --after "), "{page}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_can_be_put_and_what_is_not_named_stays() {
    let (gateway, shell) = lab().await;
    let client = &gateway.client;
    let all = "orgs set lab --monthly-limit-cents 5000 --eu-only true --service-tier flex \
               --default-cost-limit 0.75 --default-token-limit 9007199254740991 \
               --default-call-limit 7 --default-max-concurrency 2 --default-requests-per-minute 30 \
               --default-max-output-tokens 512 --rate-limit-rps 10 --rate-limit-rpm 600 \
               --tokens-per-minute 90000 --max-concurrency 4";
    let printed = shell.types(&format!("{all} --json")).await.json();
    let mut expected = settings(client).await;
    assert_eq!(printed, expected);
    let members = [
        ("monthly_cost_limit_cents", json!(5000)),
        ("eu_only", json!(true)),
        ("service_tier", json!("flex")),
        (
            "run_defaults",
            json!({"cost_limit_usd": "0.75", "token_limit": 9_007_199_254_740_991_u64,
                   "call_limit": 7, "max_concurrency": 2, "requests_per_minute": 30,
                   "max_output_tokens_per_call": 512}),
        ),
        (
            "limits",
            json!({"rate_limit_rps": 10, "rate_limit_rpm": 600, "tokens_per_minute": 90_000,
                   "max_concurrency": 4}),
        ),
    ];
    for (name, value) in members {
        assert_eq!(expected[name], value, "{name}");
    }
    for (words, object, member, becomes) in [
        ("--default-call-limit 9", "run_defaults", "call_limit", json!(9)),
        ("--clear default-cost-limit", "run_defaults", "cost_limit_usd", json!(null)),
        (
            "--clear default-max-output-tokens",
            "run_defaults",
            "max_output_tokens_per_call",
            json!(null),
        ),
        ("--clear rate-limit-rps", "limits", "rate_limit_rps", json!(null)),
        ("--max-concurrency 8", "limits", "max_concurrency", json!(8)),
    ] {
        shell.types(&format!("orgs set lab {words}")).await.ok();
        expected[object][member] = becomes;
        assert_eq!(settings(client).await, expected, "{words}");
    }
    // 0 is a limit; at once it is reached.
    shell.types("orgs set lab --monthly-limit 0").await.ok();
    assert_eq!(settings(client).await["circuit"], "open");
    shell.types("orgs set lab --monthly-limit 5 --reset-circuit").await.ok();
    assert_eq!(settings(client).await["circuit"], "closed");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_the_default_organization_is_meant() {
    let gateway = TestGateway::serve(&database().await, &[]).await;
    let shell = Shell::operating(&gateway);
    let shown = shell.types("orgs show").await.ok();
    assert_eq!(shell.types("orgs show default").await.ok(), shown);
    assert!(shown.starts_with("id             00000000-0000-0000-0000-000000000001\n"), "{shown}");
    let set = shell.types("orgs set --monthly-limit 3 --json").await.json();
    assert_eq!(set["organization_id"], "00000000-0000-0000-0000-000000000001");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_the_answer_as_it_came() {
    let (gateway, shell) = lab().await;
    let org = format!("/organizations/{LAB}");
    for (command, path) in [
        ("orgs list --json", "/organizations?limit=100".to_owned()),
        ("orgs members list --org lab --json", format!("{org}/members")),
        ("orgs orchestrator-keys list --org lab --json", format!("{org}/orchestrator-keys")),
        ("orgs audit --org lab --json", format!("{org}/audit")),
        ("orgs audit --all --json", "/audit".to_owned()),
        ("keys list --org lab --json", format!("{org}/inference/keys")),
        ("credits --org lab --json", format!("{org}/credits?limit=1")),
        ("credits show --org lab --json", format!("{org}/credits?limit=1")),
        ("credits history --org lab --json", format!("{org}/credits")),
        ("providers list --org lab --json", format!("{org}/inference/providers")),
    ] {
        let text = answer(&gateway.client, &path).await.text;
        assert_eq!(shell.types(command).await.ok(), format!("{text}\n"), "{command}");
    }
    let whole = shell.types("orgs show lab --json").await.ok();
    for (name, below) in [("organization", ""), ("settings", "/inference/settings")] {
        let text = answer(&gateway.client, &format!("{org}{below}")).await.text;
        assert!(whole.contains(&format!("\"{name}\":{text}")), "{name}: {whole}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_by_who_made_them_and_what_differs() {
    let (gateway, shell) = lab().await;
    shell.types("orgs set lab --monthly-limit 50").await.ok();
    shell.types("orgs set lab --monthly-limit 12.5 --eu-only true").await.ok();
    let audit = shell.types("orgs audit --org lab --limit 2").await.ok();
    insta::assert_snapshot!(without_the_moment(&audit.replace("before:", "")), @r"
    AT                    WHO       FROM       DID     TO                                             CHANGE
    2026-11-21T12:00:00Z  operator  127.0.0.1  change  settings 0195a1b2-c3d4-7e5f-8a9b-000000000001  eu_only false → true
    2026-11-21T12:00:00Z  operator  127.0.0.1  change  budget 0195a1b2-c3d4-7e5f-8a9b-000000000001    organization usd month: limit 50 → 12.5

    more: --after 5
    ");
    let all = shell.types("orgs audit --all").await.ok();
    assert!(all.contains("organization 33333333-2222-7333-8444-555555555555  "), "{all}");
    assert!(all.contains("name lab"), "{all}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_several_organizations_is_refused_with_their_ids() {
    let ids = ["33333333-2222-7333-8444-555555555551", "33333333-2222-7333-8444-555555555552"];
    let data = ids.map(|id| json!({"id": id, "name": "lab", "configured": false, "circuit": null}));
    let server = ScriptedProvider::json(&json!({"data": data, "next": null}).to_string()).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let line = shell.types("keys list --org lab").await.failed(2);
    let ids = ids.join(", ");
    assert_eq!(line, format!("2 organizations are called 'lab'; name one by its id: {ids}"));
    assert_eq!(server.seen().len(), 1, "nothing else is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_lead_to_themselves_are_not_read_for_ever() {
    let answer = json!({"data": [], "next": "33333333-2222-7333-8444-555555555551"}).to_string();
    let server = ScriptedProvider::json(&answer).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let line = shell.types("keys list --org lab").await.failed(1);
    assert!(line.starts_with("the pages of the answer do not end"), "{line}");
}
