//! `rungate keys`: inference keys as their operator looks after them.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, prompt};
use crate::support::provider::ScriptedProvider;

use super::orgs::{LAB, answer, lab};
use super::shell::{Shell, without_the_moment};

/// What a call with this key is answered.
async fn call(client: &Client, secret: &str) -> Answer {
    let mut body = prompt("[[sim usage=1000:200]] Hello");
    body["model"] = json!("openai/gpt-4o-mini");
    let url = format!("{}/inference/v1/chat/completions", client.data);
    Answer::of(client.http.post(url).bearer_auth(secret).json(&body).send().await.unwrap()).await
}

async fn only_key(client: &Client) -> Value {
    let path = format!("/organizations/{LAB}/inference/keys");
    answer(client, &path).await.json()["data"][0].clone()
}

fn secret(printed: &str) -> String {
    let word = printed.split_whitespace().find(|word| word.starts_with("rg-key-"));
    word.unwrap_or_else(|| panic!("{printed}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_used_suspended_resumed_rotated_and_revoked() {
    let (gateway, shell) = lab().await;
    let client = &gateway.client;
    shell.types("orgs set lab --monthly-limit 5").await.ok();
    let words = ["keys", "create", "Lab notebook", "--org", "lab", "--monthly-token-limit", "5000"];
    let made = shell.run(&words).await.ok();
    insta::assert_snapshot!(without_the_moment(&made), @r"
    ✓ API key created

      Key: rg-key-…
      Name: Lab notebook

      ⚠ Store this key securely. It will not be shown again.
    ");
    let first = secret(&made);
    assert_eq!(call(client, &first).await.status, 200);
    let id = only_key(client).await["id"].as_str().unwrap().to_owned();
    let types = async |words: &str| {
        let line = format!("keys {words} --org lab").replace("ID", &id);
        shell.types(&line).await.ok()
    };
    for _ in 0..1200 {
        if only_key(client).await["tokens_used_cycle"] == 1200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    insta::assert_snapshot!(without_the_moment(&types("list").await), @r"
    ID                                    NAME          KEY          STATUS  TOKENS  OF MONTHLY  RPM
    0195a1b2-c3d4-7e5f-8a9b-000000000001  Lab notebook  rg-key-3f4a  active    1200        5000    -
                                                                             ──────
    Total                                                                      1200
    ");
    insta::assert_snapshot!(without_the_moment(&types("show ID").await), @r"
    id                   0195a1b2-c3d4-7e5f-8a9b-000000000001
    name                 Lab notebook
    key prefix           rg-key-3f4a
    status               active
    monthly token limit  5000
    tokens used cycle    1200
    require run          false
    created at           2026-11-21T12:00:00Z
    ");
    assert!(types("suspend ID").await.contains("suspended"));
    assert_eq!(call(client, &first).await.code(), "invalid_key");
    assert!(types("resume ID").await.contains("active"));
    let rotated = types("rotate ID").await;
    let second = secret(&rotated);
    assert!(rotated.starts_with("✓ API key rotated\n\n  Key: ") && first != second);
    assert_eq!(call(client, &first).await.code(), "invalid_key");
    assert_eq!(call(client, &second).await.status, 200);
    assert!(types("revoke ID").await.contains("revoked"));
    assert_eq!(call(client, &second).await.code(), "invalid_key");
    let line = shell.types(&format!("keys resume {id} --org lab")).await.failed(1);
    assert!(line.ends_with("(invalid_transition)"), "{line}");
    let other = shell.types(&format!("keys show {id}")).await.failed(3);
    assert!(other.ends_with("`rungate keys list --org ORG` shows its keys"), "{other}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_new_key_can_be_given() {
    let (gateway, shell) = lab().await;
    let made = shell
        .types(
            "keys create ci --org lab --monthly-token-limit 1000000 --daily-token-limit 50000 \
             --monthly-limit 2.50 --lifetime-limit 5 --rate-limit-rpm 60 --rate-limit-rps 3 \
             --tokens-per-minute 9000 --max-concurrency 4 --model gpt-4o-mini --model gpt-4o \
             --endpoint /v1/embeddings --endpoint /v1/chat/completions \
             --expires-at 2030-01-31T12:00:00Z --require-run true \
             --client-identity san:dns:agent.example --json",
        )
        .await
        .json();
    assert!(made["secret"].as_str().unwrap().starts_with("rg-key-"));
    let expected = json!({
        "name": "ci",
        "monthly_token_limit": 1_000_000,
        "daily_token_limit": 50_000,
        "monthly_limit_usd": "2.50",
        "lifetime_limit_usd": "5",
        "rate_limit_rpm": 60,
        "rate_limit_rps": 3,
        "tokens_per_minute": 9000,
        "max_concurrency": 4,
        "allowed_models": ["gpt-4o-mini", "gpt-4o"],
        "allowed_endpoints": ["/v1/embeddings", "/v1/chat/completions"],
        "expires_at": "2030-01-31T12:00:00Z",
        "require_run": true,
        "client_identity": "san:dns:agent.example",
    });
    for (name, value) in expected.as_object().unwrap() {
        let given = &made["key"][name];
        let amount = |value: &Value| {
            value.as_str().and_then(|text| text.parse::<rust_decimal::Decimal>().ok())
        };
        let same = given == value || amount(given).is_some() && amount(given) == amount(value);
        assert!(same, "{name}: {given}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_sends_what_it_names_and_null_for_what_it_clears() {
    let key =
        json!({"id": LAB, "name": "ci", "status": "active", "rate_limit_rpm": 30}).to_string();
    let server = ScriptedProvider::json(&key).await;
    let shell = Shell::at(&format!("http://{}", server.address));
    for (words, body) in [
        ("--rate-limit-rpm 30", json!({"rate_limit_rpm": 30})),
        ("--name nightly", json!({"name": "nightly"})),
        ("--monthly-token-limit 2000", json!({"monthly_token_limit": 2000})),
        ("--require-run false", json!({"require_run": false})),
        ("--model gpt-4o --model gpt-4", json!({"allowed_models": ["gpt-4o", "gpt-4"]})),
        ("--monthly-limit 2.50", json!({"monthly_limit_usd": "2.50"})),
        (
            "--clear model --clear endpoint",
            json!({"allowed_models": null, "allowed_endpoints": null}),
        ),
        (
            "--max-concurrency 2 --clear daily-token-limit --clear expires-at",
            json!({"max_concurrency": 2, "daily_token_limit": null, "expires_at": null}),
        ),
        (
            "--clear monthly-limit --clear lifetime-limit --clear rate-limit-rpm --clear \
             rate-limit-rps --clear tokens-per-minute --clear max-concurrency --clear \
             client-identity",
            json!({"monthly_limit_usd": null, "lifetime_limit_usd": null, "rate_limit_rpm": null,
                   "rate_limit_rps": null, "tokens_per_minute": null, "max_concurrency": null,
                   "client_identity": null}),
        ),
    ] {
        let printed = shell.types(&format!("keys update {LAB} {words}")).await.ok();
        assert!(printed.contains("rate limit rpm  30"), "{printed}");
        let seen = server.seen().pop().unwrap();
        let (head, sent) = seen.split_once("\r\n\r\n").unwrap();
        let line = format!("PATCH /organizations/default/inference/keys/{LAB} HTTP/1.1\r\n");
        assert!(head.starts_with(&line), "{head}");
        assert_eq!(serde_json::from_str::<Value>(sent).unwrap(), body, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_it_names_and_takes_away_what_it_clears() {
    let (gateway, shell) = lab().await;
    let create = "keys create ci --org lab --monthly-token-limit 1000 --daily-token-limit 500 \
                  --rate-limit-rpm 60 --model gpt-4o-mini --lifetime-limit 5 --require-run true \
                  --expires-at 2030-01-31T12:00:00Z --json";
    let mut key = shell.types(create).await.json()["key"].clone();
    let id = key["id"].as_str().unwrap().to_owned();
    for (words, member, becomes) in [
        ("--rate-limit-rpm 30", "rate_limit_rpm", json!(30)),
        ("--name nightly", "name", json!("nightly")),
        ("--monthly-token-limit 2000", "monthly_token_limit", json!(2000)),
        ("--require-run false", "require_run", json!(false)),
        ("--model gpt-4o --model gpt-4o-mini", "allowed_models", json!(["gpt-4o", "gpt-4o-mini"])),
        ("--max-concurrency 2", "max_concurrency", json!(2)),
        ("--clear max-concurrency", "max_concurrency", json!(null)),
        ("--clear rate-limit-rpm", "rate_limit_rpm", json!(null)),
        ("--clear model", "allowed_models", json!(null)),
        ("--clear expires-at", "expires_at", json!(null)),
    ] {
        let update = format!("keys update {id} --org lab {words} --json");
        let printed = shell.types(&update).await.json();
        key[member] = becomes;
        assert_eq!(printed, key, "{words}");
        assert_eq!(only_key(&gateway.client).await, key, "{words}");
    }
    let both = "--clear daily-token-limit --clear lifetime-limit --tokens-per-minute 9000";
    let card = shell.types(&format!("keys update {id} --org lab {both}")).await.ok();
    for gone in ["daily token limit", "lifetime limit usd"] {
        assert!(!card.contains(gone), "{card}");
    }
    assert!(card.contains("tokens per minute    9000\n"), "{card}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_says_nothing_or_two_things_is_2() {
    let shell = Shell::at("http://127.0.0.1:1");
    for (words, says) in [
        (
            format!("keys update {LAB}"),
            "there is nothing to change; see `rungate keys update --help`",
        ),
        (
            format!("keys update {LAB} --rate-limit-rpm 3 --clear rate-limit-rpm"),
            "--rate-limit-rpm and --clear rate-limit-rpm contradict each other; see `rungate keys \
             update --help`",
        ),
        ("orgs set lab".to_owned(), "there is nothing to change; see `rungate orgs set --help`"),
        (
            format!("orgs set {LAB} --rate-limit-rpm 3 --clear rate-limit-rpm"),
            "--rate-limit-rpm and --clear rate-limit-rpm contradict each other; see `rungate orgs \
             set --help`",
        ),
    ] {
        assert_eq!(shell.types(&words).await.failed(2), says, "{words}");
    }
}
