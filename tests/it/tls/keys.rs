//! A name in a client's certificate as a credential: it stands for an inference key.

use rcgen::SanType;
use reqwest::header::AUTHORIZATION;
use rungate::domain::id::OrganizationId;
use rungate::domain::money::Usd;
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, SettingsPatch};
use rungate::domain::usage::Tokens;
use rungate::gateway::Gateway;
use rungate::ledger::organizations::KeyRecord;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::authority::{Authority, Certified};
use crate::support::client::{Answer, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::{connect, database, execute};

const LIMITS: KeyLimits = KeyLimits {
    monthly_tokens: Tokens::new(1_000_000),
    daily_tokens: None,
    monthly_usd: None,
    lifetime_usd: None,
};

/// A gateway under TLS that may see certificates, and an organization.
struct Scene {
    authority: Authority,
    gateway: TestGateway,
    database: String,
    organization: OrganizationId,
}

impl Scene {
    async fn new() -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.put(&authority.listener(1));
        let authorities = authority.write("clients.pem", &authority.pem);
        let settings = [
            ("TLS_CERT_FILE", certificate.as_str()),
            ("TLS_KEY_FILE", key.as_str()),
            ("TLS_CLIENT_CA_FILE", authorities.as_str()),
            ("RUN_AUTH", "token"),
        ];
        let database = database().await;
        let gateway = TestGateway::serve(&database, &settings).await;
        let uses = &gateway.running.gateway;
        let organization =
            uses.create_organization(OrganizationId::generate(), "one".to_owned()).await.unwrap();
        let organization = organization.organization.id;
        let limit = Usd::parse("1").unwrap();
        let patch = SettingsPatch { monthly_cost_limit: Some(limit), ..SettingsPatch::default() };
        uses.put_settings(organization, patch).await.unwrap();
        Self { authority, gateway, database, organization }
    }

    fn uses(&self) -> &Gateway {
        &self.gateway.running.gateway
    }

    async fn key(&self, identity: Option<&str>) -> (KeyRecord, SecretString) {
        let client_identity = identity.map(str::to_owned);
        let terms = KeyTerms { client_identity, ..KeyTerms::default() };
        self.uses().mint_key(self.organization, terms, LIMITS).await.unwrap()
    }

    /// A call on a connection of this certificate, with what may stand beside it.
    async fn ask(&self, own: &Certified, beside: Option<&str>) -> Answer {
        let http = self.authority.client(Some(own));
        let url = format!("https://{}/v1/chat/completions", self.gateway.running.data_addr);
        let mut request = http.post(url).json(&prompt("hello"));
        if let Some(credential) = beside {
            request = request.header(AUTHORIZATION, format!("Bearer {credential}"));
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Changes a key as another gateway does whose notification gets lost.
    async fn change(&self, key: &KeyRecord, set: &str) {
        let mut elsewhere = connect(&self.database).await;
        let (id, set) = (key.key.id, format!("version = version + 1, {set}"));
        let change = format!("UPDATE inference_keys SET {set} WHERE id = '{id}'");
        execute(&mut elsewhere, &change).await;
    }

    async fn until(&self, own: &Certified, status: u16) {
        while self.ask(own, None).await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }
}

fn dns(name: &str) -> Vec<SanType> {
    vec![SanType::DnsName(name.try_into().unwrap())]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_name_stands_for_the_key_that_it_was_given_to() {
    let scene = Scene::new().await;
    let uri = SanType::URI("spiffe://example/agent".try_into().unwrap());
    let email = SanType::Rfc822Name("agent@example".try_into().unwrap());
    for (identity, names) in [
        ("san:dns:Agent.Example", dns("agent.example")),
        ("san:uri:spiffe://example/agent", vec![uri]),
        ("san:email:agent@example", vec![email]),
        ("subject:CN=number 40", Vec::new()),
    ] {
        let own = scene.authority.issue(40, names);
        // The subject is the same in all, and stands for nothing before its turn.
        let before = scene.ask(&own, None).await;
        assert_eq!((before.status, before.code().as_str()), (401, "invalid_key"), "{identity}");
        let (minted, _) = scene.key(Some(identity)).await;
        scene.until(&own, 200).await;
        let key = scene.uses().key_record(scene.organization, minted.key.id).await.unwrap();
        let spent = |key: &KeyRecord| {
            key.standings.iter().any(|standing| !standing.balance.spent.is_zero())
        };
        let mut key = key;
        while !spent(&key) {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            key = scene.uses().key_record(scene.organization, minted.key.id).await.unwrap();
        }
        let revoked = KeyStatus::Revoked;
        scene.uses().set_key_status(scene.organization, minted.key.id, revoked).await.unwrap();
        scene.until(&own, 401).await;
    }
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_certificate_there_is_its_own_key_or_nothing() {
    let scene = Scene::new().await;
    let (minted, own_key) = scene.key(Some("san:dns:agent.example")).await;
    let (_, other_key) = scene.key(None).await;
    let run = scene.gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mapped = scene.authority.issue(10, dns("agent.example"));
    let unmapped = scene.authority.issue(11, dns("other.example"));
    let (own_key, other_key) = (own_key.expose_secret(), other_key.expose_secret());
    for (own, beside, wanted) in [
        (&mapped, None, 200),
        (&mapped, Some(own_key), 200),
        (&mapped, Some(other_key), 400),
        (&mapped, Some(run.token.as_str()), 400),
        (&mapped, Some("rg-key-nobodys"), 400),
        (&unmapped, None, 401),
        (&unmapped, Some(other_key), 200),
        (&unmapped, Some(run.token.as_str()), 200),
    ] {
        let told = scene.ask(own, beside).await;
        assert_eq!(told.status, wanted, "{}", told.text);
        if wanted == 400 {
            assert!(told.text.contains("two different credentials"), "{}", told.text);
        }
    }
    // Suspended, it is a credential that is not good; resumed, it is one again.
    let set = async |status| {
        scene.uses().set_key_status(scene.organization, minted.key.id, status).await.unwrap();
    };
    set(KeyStatus::Suspended).await;
    scene.until(&mapped, 401).await;
    set(KeyStatus::Active).await;
    scene.until(&mapped, 200).await;
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_one_key_and_is_one_that_a_certificate_may_have() {
    let scene = Scene::new().await;
    let mint = async |identity: &str| {
        let client_identity = Some(identity.to_owned());
        let terms = KeyTerms { client_identity, ..KeyTerms::default() };
        scene.uses().mint_key(scene.organization, terms, LIMITS).await
    };
    assert!(mint("san:dns:agent.example").await.is_ok());
    assert!(mint("san:dns:AGENT.example").await.is_err(), "it is taken");
    let long = format!("san:uri:{}", "a".repeat(600));
    for wrong in ["agent.example", "san:dns:", "san:ip:10.0.0.1", "subject:CN=a\nb", &long] {
        assert!(mint(wrong).await.is_err(), "{wrong:?}");
    }
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_its_key_until_the_name_is_taken_from_it_whoever_was_told() {
    let scene = Scene::new().await;
    let name = "san:dns:agent.example";
    let own = scene.authority.issue(10, dns("agent.example"));
    let (first, _) = scene.key(Some(name)).await;
    assert_eq!(scene.ask(&own, None).await.status, 200);
    // Whatever its secret is: the certificate shows none.
    scene.change(&first, "secret_hash = sha256('another')").await;
    assert_eq!(scene.ask(&own, None).await.status, 200);
    scene.change(&first, "client_identity = NULL").await;
    for _ in 0..3 {
        assert_eq!(scene.ask(&own, None).await.code(), "invalid_key");
    }
    // Given to another key here, and moved to a third elsewhere.
    let (second, _) = scene.key(Some(name)).await;
    scene.until(&own, 200).await;
    let (third, _) = scene.key(None).await;
    scene.change(&second, "client_identity = NULL").await;
    scene.change(&third, &format!("client_identity = '{name}'")).await;
    scene.until(&own, 200).await;
    scene
        .uses()
        .set_key_status(scene.organization, third.key.id, KeyStatus::Revoked)
        .await
        .unwrap();
    scene.until(&own, 401).await;
    let second = scene.uses().key_record(scene.organization, second.key.id).await.unwrap();
    assert_eq!(second.key.status, KeyStatus::Active);
    scene.gateway.stop().await;
}
