//! Whose calls go to which provider, with whose key.

use reqwest::Method;
use rungate::domain::id::OrganizationId;
use serde_json::json;

use super::stage::{ANSWER, gateway, openai, organization, path, put, run, shown};
use crate::support::client::prompt;
use crate::support::postgres::{connect, database};
use crate::support::provider::{ScriptedProvider, Then, response};

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_spends_its_own_keys_and_never_the_operators() {
    let (operators, own) =
        (ScriptedProvider::json(ANSWER).await, ScriptedProvider::json(ANSWER).await);
    let url = operators.base_url();
    let settings = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "operators-key")];
    let gateway = gateway(&database().await, &settings).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let ledger = gateway.running.gateway.ledger.as_ref();
    let tenant = run(ledger, org).await;
    let single = run(ledger, OrganizationId::DEFAULT).await;

    assert_eq!(client.ask(&single, &prompt("Hi")).await.status, 200);
    let refused = client.ask(&tenant, &prompt("Hi")).await;
    assert_eq!((refused.status, refused.code().as_str()), (412, "provider_not_configured"));
    let models = || async {
        let url = format!("{}/v1/models", client.data);
        let asked = client.http.get(url).bearer_auth(&tenant.token).send().await.unwrap();
        let listed: serde_json::Value = asked.json().await.unwrap();
        listed["data"].as_array().unwrap().len()
    };
    assert_eq!(models().await, 0);

    assert_eq!(put(client, org, &openai(&own, "tenants-key")).await.status, 200);
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    assert!(models().await > 0);
    assert_eq!(shown(&own), ["Bearer tenants-key"]);
    assert_eq!(shown(&operators), ["Bearer operators-key"]);

    // Disabled is not configured; and what is gone is gone.
    put(client, org, &json!({"provider": "openai", "enabled": false})).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 412);
    put(client, org, &json!({"provider": "openai", "enabled": true})).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    let gone = client.operator(Method::DELETE, &format!("{}/openai", path(org)));
    gone.send().await.unwrap();
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 412);
    assert_eq!(shown(&operators).len(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_providers_are_everybodys_who_has_none_of_that_name() {
    let (operators, own) =
        (ScriptedProvider::json(ANSWER).await, ScriptedProvider::json(ANSWER).await);
    let url = operators.base_url();
    let settings = [("OPENAI_BASE_URL", url.as_str()), ("SHARE_PROVIDERS", "true")];
    let gateway = gateway(&database().await, &settings).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    put(client, org, &openai(&own, "tenants-key")).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    put(client, org, &json!({"provider": "openai", "enabled": false})).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 412, "no is no");
    assert_eq!((operators.seen().len(), own.seen().len()), (1, 1));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_organization_may_configure_over_the_environment() {
    let (environment, own) =
        (ScriptedProvider::json(ANSWER).await, ScriptedProvider::json(ANSWER).await);
    let url = environment.base_url();
    let gateway = gateway(&database().await, &[("OPENAI_BASE_URL", url.as_str())]).await;
    let client = &gateway.client;
    let single = run(gateway.running.gateway.ledger.as_ref(), OrganizationId::DEFAULT).await;
    put(client, OrganizationId::DEFAULT, &openai(&own, "stored-key")).await;
    assert_eq!(client.ask(&single, &prompt("Hi")).await.status, 200);
    assert_eq!((environment.seen().len(), shown(&own)), (0, vec!["Bearer stored-key".to_owned()]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_in_another_row_opens_nothing() {
    let (provider, database) = (ScriptedProvider::json(ANSWER).await, database().await);
    let gateway = gateway(&database, &[]).await;
    let client = &gateway.client;
    let (victim, thief) = (organization(&gateway).await, organization(&gateway).await);
    put(client, victim, &openai(&provider, "victims-key")).await;
    put(client, thief, &openai(&provider, "thiefs-key")).await;
    let mut sql = connect(&database).await;
    let moved = sqlx::query(
        "UPDATE provider_configurations t SET key_ciphertext = v.key_ciphertext \
         FROM provider_configurations v WHERE t.organization_id = $1 AND v.organization_id = $2",
    );
    moved.bind(thief.uuid()).bind(victim.uuid()).execute(&mut sql).await.unwrap();
    let (ledger, hi) = (gateway.running.gateway.ledger.as_ref(), prompt("Hi"));
    assert_eq!(client.ask(&run(ledger, thief).await, &hi).await.status, 412);
    assert_eq!(client.ask(&run(ledger, victim).await, &hi).await.status, 200);
    assert_eq!(shown(&provider), ["Bearer victims-key"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizations_key_that_its_provider_repeats_reaches_no_client() {
    let says = r#"{"error":{"message":"bad tenants-sentinel-7 at 127.0.0.1","code":"nope"}}"#;
    let whole = response("400 Bad Request", "application/json", says);
    let provider = ScriptedProvider::answering(whole, Then::Close).await;
    let gateway = gateway(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    put(client, org, &openai(&provider, "tenants-sentinel-7")).await;
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    let answer = client.ask(&tenant, &prompt("Hi")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text.contains("bad [redacted] at [redacted]"), "{answer:?}");
    gateway.stop().await;
}
