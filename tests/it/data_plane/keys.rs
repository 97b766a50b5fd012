//! Calls with inference keys, over HTTP.

use rungate::domain::budget::Window;
use rungate::domain::id::{CreditId, OrganizationId};
use rungate::domain::key::TokenHash;
use rungate::domain::money::Usd;
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, SettingsPatch};
use rungate::domain::usage::Tokens;
use rungate::ledger::credits::CreditKind;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::ledger_contract::fixture::registration;
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres;

const LIMITS: KeyLimits = KeyLimits {
    monthly_tokens: Tokens::new(100_000),
    daily_tokens: None,
    monthly_usd: None,
    lifetime_usd: None,
};

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn monthly(limit: &str) -> SettingsPatch {
    SettingsPatch { monthly_cost_limit: Some(usd(limit)), ..SettingsPatch::default() }
}

async fn ask(client: &Client, key: &str, run: Option<&str>) -> Answer {
    let mut call = client.http.post(format!("{}/v1/chat/completions", client.data));
    call = call.bearer_auth(key).json(&prompt("hello"));
    if let Some(run) = run {
        call = call.header("x-run-id", run);
    }
    Answer::of(call.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_good_with_a_run_or_without_until_it_is_not() {
    let database = postgres::database().await;
    let gateways =
        [TestGateway::serve(&database, &[]).await, TestGateway::serve(&database, &[]).await];
    let [here, there] = &gateways;
    let organizations = &here.running.gateway;
    let org = organizations
        .create_organization(OrganizationId::generate(), "lab".to_owned())
        .await
        .unwrap()
        .organization
        .id;
    let (minted, secret) = organizations.mint_key(org, KeyTerms::default(), LIMITS).await.unwrap();
    let (key, secret) = (minted.key.id, secret.expose_secret().to_owned());
    assert!(secret.starts_with(&minted.prefix) && minted.prefix.starts_with("rg-key-"));

    let early = ask(&here.client, &secret, None).await;
    assert_eq!((early.status, early.code().as_str()), (402, "cost_circuit_open"));
    organizations.put_settings(org, monthly("5")).await.unwrap();
    for gateway in &gateways {
        let alone = ask(&gateway.client, &secret, None).await;
        assert_eq!(alone.status, 200, "{}", alone.text);
        assert_eq!(alone.header("x-run-id"), None);
        assert_eq!(alone.header("x-run-remaining-usd"), None);
    }
    let foreign = here.client.register(json!({"cost_limit_usd": "1"})).await;
    let refused = ask(&here.client, &secret, Some(&foreign.id)).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "run_not_found"));
    let mut own = registration("1");
    own.terms.organization = org;
    own.terms.allowed_models = None;
    let id = own.id.to_string();
    let token = organizations.register(vec![own]).await.unwrap().pop().unwrap().token.unwrap();
    let run = Run { id, token: token.expose_secret().to_owned() };
    assert_eq!(here.client.ask(&run, &prompt("hello")).await.status, 200, "by its own token");
    let with_run = ask(&there.client, &secret, Some(&run.id)).await;
    assert_eq!(with_run.status, 200, "{}", with_run.text);
    assert_eq!(with_run.header("x-run-id"), Some(run.id.as_str()));

    let unknown = ask(&there.client, "rg-key-unknown", None).await;
    let told = |answer: &Answer| {
        let mut error = answer.json();
        error["error"]["request_id"].take();
        (answer.status, error)
    };
    assert_eq!(unknown.status, 401);
    for status in [KeyStatus::Suspended, KeyStatus::Active, KeyStatus::Revoked] {
        organizations.set_key_status(org, key, status).await.unwrap();
        for gateway in &gateways {
            for run in [None, Some(run.id.as_str())] {
                let answer = ask(&gateway.client, &secret, run).await;
                if status == KeyStatus::Active {
                    assert_eq!(answer.status, 200, "{}", answer.text);
                } else {
                    assert_eq!(told(&answer), told(&unknown), "{status:?}");
                }
            }
        }
    }
    for gateway in gateways {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_may_not_is_refused_by_name() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[("ADMISSION_WAIT_SECONDS", "1")]).await;
    let (client, organizations) = (&gateway.client, &gateway.running.gateway);
    let org = organizations
        .create_organization(OrganizationId::generate(), "lab".to_owned())
        .await
        .unwrap()
        .organization
        .id;
    organizations.put_settings(org, monthly("5")).await.unwrap();
    let check = async |terms: KeyTerms, limits: KeyLimits, expected: (u16, &str)| {
        let (_, secret) = organizations.mint_key(org, terms, limits).await.unwrap();
        let answer = ask(client, secret.expose_secret(), None).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{}", answer.text);
    };
    let terms = KeyTerms::default;
    let only = |name: &str| Some(vec![name.to_owned()]);
    let models = KeyTerms { allowed_models: only("gpt-4o"), ..terms() };
    check(models, LIMITS, (403, "model_not_allowed")).await;
    let endpoints = KeyTerms { allowed_endpoints: only("embeddings"), ..terms() };
    check(endpoints, LIMITS, (403, "endpoint_not_allowed")).await;
    let endpoints = KeyTerms { allowed_endpoints: only("/v1/chat/completions"), ..terms() };
    check(endpoints, LIMITS, (200, "")).await;
    let runs = KeyTerms { require_run: true, ..terms() };
    check(runs, LIMITS, (400, "run_id_required")).await;
    let past = chrono::Utc::now() - chrono::Duration::hours(1);
    let expired = KeyTerms { expires_at: Some(past), ..terms() };
    check(expired, LIMITS, (401, "invalid_key")).await;
    let none = usd("0.000000000001");
    let limits = KeyLimits { lifetime_usd: Some(none), ..LIMITS };
    check(terms(), limits, (402, "key_budget_exceeded")).await;
    let limits = KeyLimits { monthly_tokens: Tokens::new(2), ..LIMITS };
    check(terms(), limits, (429, "token_ceiling_exceeded")).await;
    organizations
        .add_credit(org, (CreditId::generate(), CreditKind::Grant, none), String::new())
        .await
        .unwrap();
    check(terms(), LIMITS, (402, "insufficient_credits")).await;
    organizations.put_settings(org, monthly("0")).await.unwrap();
    check(terms(), LIMITS, (402, "cost_circuit_open")).await;

    // A rotated key's old secret is good nowhere, and an orchestrator key is none of these.
    let (minted, old) = organizations.mint_key(org, terms(), LIMITS).await.unwrap();
    let (_, new) = organizations.rotate_key(org, minted.key.id).await.unwrap();
    assert_eq!(ask(client, old.expose_secret(), None).await.status, 401);
    assert_eq!(ask(client, new.expose_secret(), None).await.status, 402);
    let named = "ci".to_owned();
    let (made, secret) = organizations.mint_orchestrator_key(org, named).await.unwrap();
    assert_eq!(ask(client, secret.expose_secret(), None).await.status, 401);
    let hash = TokenHash::of(secret.expose_secret());
    let found = organizations.find_orchestrator(hash, None).await.unwrap();
    assert_eq!(found.map(|key| key.id), Some(made.id));
    let ledger = &organizations.ledger;
    ledger.revoke_orchestrator_key(org, made.id).await.unwrap();
    assert!(ledger.find_orchestrator_key(hash).await.unwrap().is_none());
    gateway.stop().await;
}

/// The default organization has a circuit once its operator sets one, also for runs of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_of_the_default_organization_holds_for_its_runs() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let (client, organizations) = (&gateway.client, &gateway.running.gateway);
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    let default = rungate::domain::id::OrganizationId::DEFAULT;
    organizations.put_settings(default, monthly("0")).await.unwrap();
    let refused = client.ask(&run, &prompt("hello")).await;
    assert_eq!((refused.status, refused.code().as_str()), (402, "cost_circuit_open"));
    let patch = SettingsPatch { reset_circuit: true, ..monthly("1") };
    organizations.put_settings(default, patch).await.unwrap();
    assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceiling_of_the_month_says_when_the_month_is_over() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let organizations = &gateway.running.gateway;
    let default = OrganizationId::DEFAULT;
    for (window, limits) in [
        (Window::Month, KeyLimits { monthly_tokens: Tokens::new(2), ..LIMITS }),
        (Window::Day, KeyLimits { daily_tokens: Some(Tokens::new(2)), ..LIMITS }),
    ] {
        let (_, secret) =
            organizations.mint_key(default, KeyTerms::default(), limits).await.unwrap();
        let left = |now| (window.end(now).unwrap() - now).num_seconds();
        let before = left(chrono::Utc::now());
        let answer = ask(&gateway.client, secret.expose_secret(), None).await;
        assert_eq!(answer.code(), "token_ceiling_exceeded", "{}", answer.text);
        let seconds: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        let after = left(chrono::Utc::now());
        // Unless it ended meanwhile.
        assert!(after > before || (after..=before + 1).contains(&seconds), "{window:?} {seconds}");
    }
    gateway.stop().await;
}

/// A run that names no limit has one; a key has those that it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_names_no_limit_may_have_any_number_of_calls_under_way() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[("MAX_CONCURRENCY_PER_RUN", "2")]).await;
    let client = &gateway.client;
    let minted =
        gateway.running.gateway.mint_key(OrganizationId::DEFAULT, KeyTerms::default(), LIMITS);
    let (_, secret) = minted.await.unwrap();
    let mut body = prompt("[[sim delay_ms=500]]");
    body["max_tokens"] = json!(16);
    let calls = (0..8).map(|_| {
        let call = client.http.post(format!("{}/v1/chat/completions", client.data));
        let call = call.bearer_auth(secret.expose_secret()).json(&body);
        async move { Answer::of(call.send().await.unwrap()).await }
    });
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    gateway.stop().await;
}
