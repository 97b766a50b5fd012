//! A gateway, organizations on it, and runs of theirs.

use reqwest::Method;
use rungate::domain::id::{OrganizationId, RunId};
use rungate::domain::key::NewRunToken;
use rungate::domain::money::Usd;
use rungate::domain::organization::SettingsPatch;
use rungate::ledger::Ledger;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::ledger_contract::fixture::registration;
use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::provider::ScriptedProvider;

/// 32 bytes in base64, one key after the other.
pub(super) const KEYS: [&str; 2] = [
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
];

/// What a provider answers.
pub(super) const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,
    "model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},
    "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

/// A gateway on `database` that calls real providers.
pub(super) async fn gateway(database: &str, settings: &[(&str, &str)]) -> TestGateway {
    let mut all = vec![("SIMULATE_PROVIDERS", "false"), ("ENCRYPTION_KEY", KEYS[0])];
    all.extend_from_slice(settings);
    TestGateway::serve(database, &all).await
}

/// A configured organization.
pub(super) async fn organization(gateway: &TestGateway) -> OrganizationId {
    let id = OrganizationId::generate();
    let ledger = &gateway.running.gateway.ledger;
    ledger.create_organization(id, format!("tenant {id}")).await.unwrap();
    let limit = Some(Usd::parse("50").unwrap());
    let patch = SettingsPatch { monthly_cost_limit: limit, ..SettingsPatch::default() };
    ledger.put_settings(id, patch).await.unwrap();
    id
}

/// Binds an organization to the EU, or sets it free.
pub(super) async fn bind(gateway: &TestGateway, organization: OrganizationId, eu_only: bool) {
    let patch = SettingsPatch { eu_only: Some(eu_only), ..SettingsPatch::default() };
    gateway.running.gateway.ledger.put_settings(organization, patch).await.unwrap();
}

/// A running run of an organization.
pub(super) async fn run(ledger: &dyn Ledger, organization: OrganizationId) -> Run {
    run_of(ledger, organization, false).await
}

/// The same, whose calls may go on to other providers.
pub(super) async fn moving_run(ledger: &dyn Ledger, organization: OrganizationId) -> Run {
    run_of(ledger, organization, true).await
}

async fn run_of(ledger: &dyn Ledger, organization: OrganizationId, fallback: bool) -> Run {
    let mut wanted = registration("1");
    wanted.id = RunId::random();
    wanted.terms.organization = organization;
    wanted.terms.allowed_models = None;
    wanted.terms.control.fallback = fallback;
    let (id, token) = (wanted.id.to_string(), NewRunToken::generate().unwrap());
    ledger.register(vec![(wanted, token.hash)]).await.unwrap();
    Run { id, token: token.secret.expose_secret().to_owned() }
}

/// The path of an organization's providers.
pub(super) fn path(organization: OrganizationId) -> String {
    format!("/organizations/{organization}/inference/providers")
}

/// Configures a provider as the operator does.
pub(super) async fn put(client: &Client, organization: OrganizationId, body: &Value) -> Answer {
    let request = client.operator(Method::PUT, &path(organization)).json(body);
    Answer::of(request.send().await.unwrap()).await
}

/// Lists the providers of an organization.
pub(super) async fn list(client: &Client, organization: OrganizationId) -> Answer {
    Answer::of(client.operator(Method::GET, &path(organization)).send().await.unwrap()).await
}

/// OpenAI, at a scripted provider's address.
pub(super) fn openai(at: &ScriptedProvider, key: &str) -> Value {
    json!({"provider": "openai", "api_key": key, "base_url": at.base_url()})
}

/// The credentials that a provider was shown.
pub(super) fn shown(provider: &ScriptedProvider) -> Vec<String> {
    let requests = provider.seen();
    let lines = requests.iter().flat_map(|request| request.lines());
    let shown = lines.filter_map(|line| line.split_once(": "));
    let shown = shown.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    shown.map(|(_, value)| value.trim().to_owned()).collect()
}
