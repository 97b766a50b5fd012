//! `rungate credits`: what was put in, what was charged, and what is left.

use serde_json::json;

use crate::support::provider::ScriptedProvider;

use super::orgs::lab;
use super::shell::{Shell, without_the_moment};

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_put_in_once_for_an_id_and_shown() {
    let (gateway, shell) = lab().await;
    let none = shell.types("credits --org lab").await.ok();
    assert!(none.starts_with("prepaid       false\nbalance usd   0\n"), "{none}");
    let add = [
        "credits",
        "add",
        "25",
        "--org",
        "lab",
        "--kind",
        "grant",
        "--note",
        "the first one",
        "--id",
        "44444444-2222-7333-8444-555555555555",
    ];
    let added = shell.run(&add).await.ok();
    insta::assert_snapshot!(added, @r"
    ✓ Credits added

      Amount: $25.00
      Kind: grant
      Balance: $25.00
    ");
    assert_eq!(shell.run(&add).await.ok(), added, "the same id is booked once");
    let topped = shell.types("credits add 0.50 --org lab --json").await.json();
    assert_eq!(
        (&topped["credit"]["kind"], &topped["balance_usd"]),
        (&json!("top_up"), &json!("25.5"))
    );
    insta::assert_snapshot!(shell.types("credits show --org lab").await.ok(), @r"
    prepaid       true
    balance usd   25.5
    credited usd  25.5
    spent usd     0
    reserved usd  0
    ");
    for (words, code) in [("add 0", 1), ("add x", 2), ("add 1 --kind gift", 2), ("add 1 --id 7", 2)]
    {
        shell.types(&format!("credits {words} --org lab")).await.failed(code);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_signed_amounts_their_exact_sum_and_what_is_left() {
    let row = |kind: &str, amount: &str, note: &str| {
        json!({"id": "44444444-2222-7333-8444-555555555555", "kind": kind, "amount_usd": amount,
               "note": note, "run_id": null, "key_id": null, "model": null,
               "created_at": "2026-11-21T12:00:00.123456Z"})
    };
    let mut charge = row("charge", "-0.0000246", "");
    charge["model"] = json!("gpt-4o-mini");
    charge["run_id"] = json!("11111111-2222-4333-8444-555555555555");
    let answer = json!({
        "prepaid": true, "balance_usd": "24.9999654", "credited_usd": "25.5",
        "spent_usd": "0.5000346", "reserved_usd": "0", "unlisted_charges_usd": "0.50001",
        "data": [charge, row("top_up", "0.50", "invoice 7"), row("grant", "25", "")],
        "next": "44444444-2222-7333-8444-555555555555",
    });
    let server = ScriptedProvider::json(&answer.to_string()).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    let history = shell.types("credits history --limit 3").await.ok();
    insta::assert_snapshot!(history, @r"
    AT                    KIND          AMOUNT  MODEL        RUN                                   NOTE
    2026-11-21T12:00:00Z  charge   -$0.0000246  gpt-4o-mini  11111111-2222-4333-8444-555555555555
    2026-11-21T12:00:00Z  top_up   +$0.50                                                          invoice 7
    2026-11-21T12:00:00Z  grant   +$25.00
                                  ────────────
    Total of these                +$25.4999754

    credits: $24.9999654 left of $25.50; charges that are not kept as rows any more: $0.50001

    more: --after 44444444-2222-7333-8444-555555555555
    ");
    let path = "GET /organizations/default/credits?limit=3 HTTP/1.1\r\n";
    assert!(server.seen()[0].starts_with(path), "{:?}", server.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_in_stands_in_the_history() {
    let (gateway, shell) = lab().await;
    shell.types("credits add 25 --org lab --kind grant").await.ok();
    let history = shell.types("credits history --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&history), @r"
    AT                    KIND    AMOUNT  MODEL  RUN  NOTE
    2026-11-21T12:00:00Z  grant  +$25.00
                                 ───────
    Total                        +$25.00

    credits: $25.00 left of $25.00
    ");
    gateway.stop().await;
}
