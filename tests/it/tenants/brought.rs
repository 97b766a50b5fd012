//! Runs that bring keys of their own for providers.

use reqwest::Method;
use rungate::domain::id::{OrganizationId, RunId};
use rungate::domain::seal::EncryptionKeys;
use rungate::ledger::postgres::connect_options;
use rungate::ledger::postgres::providers::reencrypt::{Reencrypted, reencrypt};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::stage::{ANSWER, KEYS, bind, gateway, openai, organization, put, run, shown};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::ScriptedProvider;

/// Registers a run as the operator does, or as whoever has this key.
async fn register(client: &Client, credential: Option<&str>, body: &Value) -> Answer {
    let request = match credential {
        None => client.operator(Method::POST, "/runs"),
        Some(key) => client.http.post(format!("{}/runs", client.admin)).bearer_auth(key),
    };
    Answer::of(request.json(body).send().await.unwrap()).await
}

fn with_own(organization: OrganizationId, own: &Value) -> Value {
    json!({"id": RunId::random(), "organization_id": organization, "cost_limit_usd": "1",
           "status": "running", "providers": [own]})
}

fn opened(answer: &Answer) -> Run {
    assert_eq!(answer.status, 201, "{}", answer.text);
    let run = answer.json();
    let text = |name: &str| run[name].as_str().unwrap().to_owned();
    Run { id: text("id"), token: text("token") }
}

/// The gateway, an organization whose key is `tenants-key`, and its provider.
async fn stage(database: &str) -> (TestGateway, OrganizationId, ScriptedProvider) {
    let provider = ScriptedProvider::json(ANSWER).await;
    let gateway = gateway(database, &[]).await;
    let org = organization(&gateway).await;
    assert_eq!(put(&gateway.client, org, &openai(&provider, "tenants-key")).await.status, 200);
    (gateway, org, provider)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_calls_with_the_key_that_it_brought_and_others_do_not() {
    let database = database().await;
    let (gateway, org, provider) = stage(&database).await;
    let there = super::stage::gateway(&database, &[]).await;
    let client = &gateway.client;
    let plain = run(gateway.running.gateway.ledger.as_ref(), org).await;
    let body = with_own(org, &openai(&provider, "runs-key"));
    let registered = register(client, None, &body).await;
    let own = opened(&registered);
    assert_eq!(registered.json()["own_providers"], json!(["openai"]));
    for client in [client, &there.client] {
        let answer = client.ask(&own, &prompt("Hi")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(client.ask(&plain, &prompt("Hi")).await.status, 200);
    }
    let (runs, tenants) = ("Bearer runs-key", "Bearer tenants-key");
    assert_eq!(shown(&provider), [runs, tenants, runs, tenants]);
    // It is charged like any other call.
    let usage = client.settled(&own).await;
    assert_eq!(usage["calls"], 2);
    assert_ne!(usage["spent_usd"], "0");

    // The key is part of the registration, and in no answer and no row.
    let again = register(client, None, &body).await;
    assert_eq!(again.status, 200, "{}", again.text);
    let mut other = body.clone();
    other["providers"][0]["api_key"] = json!("another-key");
    assert_eq!(register(client, None, &other).await.code(), "run_conflict");
    let pool = PgPool::connect_with(connect_options(&database).unwrap()).await.unwrap();
    let kept: String = sqlx::query_scalar(
        "SELECT (SELECT string_agg(r::text, ' ') FROM run_providers r) || ' ' || \
         (SELECT string_agg(r::text, ' ') FROM runs r) || ' ' || \
         (SELECT string_agg(a::text, ' ') FROM audit_log a)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    for (what, text) in [("row", &kept), ("answer", &registered.text), ("answer", &again.text)] {
        assert!(!text.contains("runs-key"), "a {what} has the key: {text}");
        assert!(!text.contains(&hex::encode("runs-key")), "a {what} has the key: {text}");
    }
    assert!(!registered.text.contains(&provider.base_url()), "{}", registered.text);
    let audit = client.operator(Method::GET, &format!("/organizations/{org}/audit"));
    let booked = Answer::of(audit.send().await.unwrap()).await.json();
    let booked = booked["data"].as_array().unwrap().iter();
    let booked: Vec<_> = booked.filter(|one| one["object"]["kind"] == "run_provider").collect();
    assert_eq!(booked.len(), 1, "{booked:#?}");
    assert_eq!(booked[0]["object"]["id"], own.id);
    assert_eq!(booked[0]["new"]["provider"], "openai");
    assert_eq!(booked[0]["new"]["base_url"], provider.base_url());
    assert_eq!(booked[0]["new"]["key_ciphertext"], "(redacted)");
    pool.close().await;
    there.stop().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_run_brings_reaches_no_further_than_its_organization_may() {
    let database = database().await;
    let (gateway, org, provider) = stage(&database).await;
    let client = &gateway.client;
    let mut own = openai(&provider, "runs-key");
    let unattested = opened(&register(client, None, &with_own(org, &own)).await);
    own["eu_endpoint"] = json!(true);
    let attested = opened(&register(client, None, &with_own(org, &own)).await);
    bind(&gateway, org, true).await;
    let refused = client.ask(&unattested, &prompt("Hi")).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "eu_residency_unavailable"));
    assert_eq!(client.ask(&attested, &prompt("Hi")).await.status, 200);
    // What its organization has switched off stays off, and what it never had is the run's own.
    put(client, org, &json!({"provider": "openai", "enabled": false})).await;
    assert_eq!(client.ask(&attested, &prompt("Hi")).await.code(), "provider_not_configured");
    let bare = organization(&gateway).await;
    let alone = opened(&register(client, None, &with_own(bare, &own)).await);
    assert_eq!(client.ask(&alone, &prompt("Hi")).await.status, 200);
    assert_eq!(shown(&provider), ["Bearer runs-key", "Bearer runs-key"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_may_not_bring_is_refused_with_its_place() {
    let database = database().await;
    let (gateway, org, provider) = stage(&database).await;
    let client = &gateway.client;
    let minted = client.operator(Method::POST, &format!("/organizations/{org}/orchestrator-keys"));
    let minted = Answer::of(minted.json(&json!({"name": "ci"})).send().await.unwrap()).await.json();
    let orchestrator = minted["secret"].as_str().unwrap();
    let good = json!({"provider": "openai", "api_key": "k"});
    let check = async |credential: Option<&str>, own: Value, status: u16, param: &str| {
        let mut body = with_own(org, &good);
        body["providers"] = own.clone();
        let refused = register(client, credential, &body).await;
        assert_eq!(refused.status, status, "{own}: {}", refused.text);
        assert_eq!(refused.json()["error"]["param"], param, "{own}");
    };
    let one = |own: Value| json!([own]);
    check(None, json!({}), 400, "providers").await;
    check(None, one(json!({"provider": "nobody", "api_key": "k"})), 400, "providers[0].provider")
        .await;
    check(None, one(json!({"provider": "openai"})), 400, "providers[0].api_key").await;
    check(None, one(json!({"provider": "openai", "api_key": "a b"})), 400, "providers[0].api_key")
        .await;
    check(None, json!([good, good]), 400, "providers[1].provider").await;
    let azure = json!({"provider": "azure_openai", "api_key": "k"});
    check(None, json!([good, azure]), 400, "providers[0].base_url").await;
    let enabled = json!({"provider": "openai", "api_key": "k", "enabled": true});
    check(None, one(enabled), 400, "providers[0].enabled").await;
    // A private address is the operator's to choose, not an organization's.
    let inside = openai(&provider, "k");
    check(Some(orchestrator), one(inside.clone()), 400, "providers[0].base_url").await;
    assert_eq!(register(client, None, &with_own(org, &inside)).await.status, 201);
    let many = json!([
        with_own(org, &good),
        with_own(
            org,
            &json!({"provider": "openai",
        "api_key": "\u{7f}"})
        )
    ]);
    let refused = register(client, None, &many).await;
    assert_eq!(refused.json()["error"]["param"], "[1].providers[0].api_key", "{}", refused.text);
    gateway.stop().await;

    let bare = super::stage::gateway(&database, &[("ENCRYPTION_KEY", "")]).await;
    let refused = register(&bare.client, None, &with_own(org, &good)).await;
    assert_eq!((refused.status, refused.code().as_str()), (412, "provider_not_configured"));
    bare.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_runs_are_encrypted_anew_too_and_open_for_their_run_alone() {
    let database = database().await;
    let (gateway, org, provider) = stage(&database).await;
    let client = &gateway.client;
    let own = openai(&provider, "runs-key");
    let first = opened(&register(client, None, &with_own(org, &own)).await);
    let second = opened(&register(client, None, &with_own(org, &own)).await);
    gateway.stop().await;
    let pool = PgPool::connect_with(connect_options(&database).unwrap()).await.unwrap();
    let keys = EncryptionKeys::parse(&format!("{},{}", KEYS[1], KEYS[0])).unwrap();
    let Reencrypted { current, changed, unreadable } = reencrypt(&pool, &keys).await.unwrap();
    assert_eq!((current, changed, unreadable.len()), (0, 3, 0));

    // Somebody gives the second run the ciphertext of the first.
    let swap = "UPDATE run_providers t SET key_ciphertext = o.key_ciphertext FROM run_providers o \
        WHERE o.run_id = $1 AND t.run_id = $2";
    let ids = [&first, &second].map(|run| run.id.parse::<uuid::Uuid>().unwrap());
    sqlx::query(swap).bind(ids[0]).bind(ids[1]).execute(&pool).await.unwrap();
    let Reencrypted { unreadable, .. } = reencrypt(&pool, &keys).await.unwrap();
    let told: Vec<_> = unreadable.iter().filter_map(|left| left.run).collect();
    assert_eq!(told, [RunId::parse(&second.id).unwrap()]);
    let gateway = super::stage::gateway(&database, &[("ENCRYPTION_KEY", KEYS[1])]).await;
    assert_eq!(gateway.client.ask(&first, &prompt("Hi")).await.status, 200);
    // Never with its organization's key instead.
    let refused = gateway.client.ask(&second, &prompt("Hi")).await;
    assert_eq!(refused.code(), "provider_not_configured");
    assert_eq!(shown(&provider), ["Bearer runs-key"]);
    pool.close().await;
    gateway.stop().await;
}
