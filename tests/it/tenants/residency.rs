//! An organization that is bound to the EU reaches only what is attested to be there.

use std::sync::Arc;
use std::time::Duration;

use rungate::domain::id::OrganizationId;
use rungate::domain::organization::SettingsPatch;
use serde_json::json;
use tokio::sync::Semaphore;

use super::stage::{ANSWER, bind, gateway, moving_run, openai, organization, put, run};
use crate::support::client::{Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::{ScriptedProvider, Then, response};

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_organization_reaches_attested_providers_only() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let gateway = gateway(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    put(client, org, &openai(&provider, "tenants-key")).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);

    bind(&gateway, org, true).await;
    refused(client, &tenant).await;
    // Nothing but the attestation counts, and what is not configured is told as that.
    let mut claude = prompt("Hi");
    claude["model"] = json!("claude-sonnet-4-5");
    assert_eq!(client.ask(&tenant, &claude).await.code(), "provider_not_configured");
    let mut unknown = prompt("Hi");
    unknown["model"] = json!("nobody");
    assert_eq!(client.ask(&tenant, &unknown).await.code(), "invalid_model");
    put(client, org, &json!({"provider": "openai", "eu_endpoint": true})).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    // Another of its targets is attested, which an unprefixed name then means.
    put(client, org, &json!({"provider": "openai", "eu_endpoint": false})).await;
    let azure = json!({"provider": "azure_openai", "api_key": "k", "eu_endpoint": true,
        "base_url": provider.base_url()});
    put(client, org, &azure).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    let mut prefixed = prompt("Hi");
    prefixed["model"] = json!("openai/gpt-4o-mini");
    assert_eq!(client.ask(&tenant, &prefixed).await.code(), "eu_residency_unavailable");
    assert_eq!(provider.seen().len(), 3);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_settings_are_answered_their_gateway_keeps_to_them() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let gateway = gateway(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    put(client, org, &openai(&provider, "tenants-key")).await;
    for bound in [true, false, true] {
        let patch = SettingsPatch { eu_only: Some(bound), ..SettingsPatch::default() };
        gateway.running.gateway.put_settings(org, patch).await.unwrap();
        let expected = if bound { 403 } else { 200 };
        assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, expected);
    }
    gateway.stop().await;
}

/// Asks until a change has come through; then it holds.
async fn refused(client: &Client, run: &Run) {
    for _ in 0..400 {
        let answer = client.ask(run, &prompt("Hi")).await;
        if answer.status == 403 {
            assert_eq!(answer.code(), "eu_residency_unavailable");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is never refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_providers_are_attested_by_a_setting() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let url = provider.base_url();
    for (attested, status) in [("false", 403), ("true", 200)] {
        let settings = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_EU_ENDPOINT", attested)];
        let gateway = gateway(&database().await, &settings).await;
        let limit = rungate::domain::money::Usd::parse("50").unwrap();
        let patch = rungate::domain::organization::SettingsPatch {
            monthly_cost_limit: Some(limit),
            eu_only: Some(true),
            ..Default::default()
        };
        let ledger = &gateway.running.gateway.ledger;
        ledger.put_settings(OrganizationId::DEFAULT, patch).await.unwrap();
        let single = run(ledger.as_ref(), OrganizationId::DEFAULT).await;
        let answer = gateway.client.ask(&single, &prompt("Hi")).await;
        assert_eq!(answer.status, status, "{answer:?}");
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_gateway_reaches_the_calls_of_another() {
    let (provider, database) = (ScriptedProvider::json(ANSWER).await, database().await);
    let (here, there) = (gateway(&database, &[]).await, gateway(&database, &[]).await);
    let org = organization(&here).await;
    let tenant = run(here.running.gateway.ledger.as_ref(), org).await;
    put(&here.client, org, &openai(&provider, "tenants-key")).await;
    assert_eq!(there.client.ask(&tenant, &prompt("Hi")).await.status, 200);
    bind(&here, org, true).await;
    refused(&there.client, &tenant).await;
    here.stop().await;
    there.stop().await;
}

/// The call is under way while its organization is bound: its next attempt is not made.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_not_made_again_where_its_organization_may_not_go_any_more() {
    let busy = response("503 Service Unavailable", "application/json", "{}");
    let provider = ScriptedProvider::answering(busy, Then::Close).await;
    let settings = [("UPSTREAM_RETRIES", "10"), ("UPSTREAM_RETRY_SECONDS", "60")];
    let gateway = gateway(&database().await, &settings).await;
    let (client, org) = (gateway.client.clone(), organization(&gateway).await);
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    put(&client, org, &openai(&provider, "tenants-key")).await;
    let (asking, asks) = (client.clone(), tenant.clone());
    let call = tokio::spawn(async move { asking.ask(&asks, &prompt("Hi")).await });
    wait_for(&provider).await;
    bind(&gateway, org, true).await;
    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "eu_residency_unavailable"));
    assert!(provider.seen().len() < 10, "the attempts ended before their number did");
    let usage = client.settled(&tenant).await;
    assert_eq!((&usage["spent_usd"], &usage["reserved_usd"]), (&json!("0"), &json!("0")));
    gateway.stop().await;
}

/// A call whose provider fails goes on to one that is attested when that happens, or to none.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_only_where_its_organization_may_go_at_that_moment() {
    let busy = response("503 Service Unavailable", "application/json", "{}");
    let gate = Arc::new(Semaphore::new(0));
    let first = ScriptedProvider::gated(busy, Arc::clone(&gate)).await;
    let second = ScriptedProvider::json(ANSWER).await;
    let gateway = gateway(&database().await, &[("UPSTREAM_RETRIES", "0")]).await;
    let (client, org) = (gateway.client.clone(), organization(&gateway).await);
    let tenant = moving_run(gateway.running.gateway.ledger.as_ref(), org).await;
    let patch = SettingsPatch { eu_only: Some(true), ..SettingsPatch::default() };
    gateway.running.gateway.put_settings(org, patch).await.unwrap();
    put(&client, org, &openai(&first, "tenants-key")).await;
    put(&client, org, &json!({"provider": "openai", "eu_endpoint": true})).await;
    let azure = json!({"provider": "azure_openai", "api_key": "k", "base_url": second.base_url()});
    put(&client, org, &azure).await;
    let mut expected = 0;
    // Whether the second is attested when the call begins, and when its provider fails.
    for (begins, fails) in [(false, false), (true, true), (true, false), (false, true)] {
        let attest = |attested: bool| {
            let attested = json!({"provider": "azure_openai", "eu_endpoint": attested});
            let client = client.clone();
            async move { put(&client, org, &attested).await }
        };
        attest(begins).await;
        let before = first.seen().len();
        let (asking, asks) = (client.clone(), tenant.clone());
        let call = tokio::spawn(async move { asking.ask(&asks, &prompt("Hi")).await });
        while first.seen().len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        attest(fails).await;
        gate.add_permits(1);
        let answer = call.await.unwrap();
        expected += usize::from(fails);
        assert_eq!(answer.status, if fails { 200 } else { 502 }, "{begins} {fails}: {answer:?}");
        assert_eq!(second.seen().len(), expected, "{begins} {fails}");
    }
    assert_eq!(client.settled(&tenant).await["reserved_usd"], "0");
    gateway.stop().await;
}

async fn wait_for(provider: &ScriptedProvider) {
    while provider.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_provider_serves_every_organization_by_its_own_rules() {
    let gateway = TestGateway::serve(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let tenant = run(gateway.running.gateway.ledger.as_ref(), org).await;
    assert_eq!(client.ask(&tenant, &prompt("Hi")).await.status, 200);
    bind(&gateway, org, true).await;
    refused(client, &tenant).await;
    gateway.stop().await;
}
