//! What a good signed token is good for.

use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{AUDIENCE, Signer, claims, now, set, trusting};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// The organization of a single operator.
const DEFAULT: &str = "00000000-0000-0000-0000-000000000001";

struct Scene {
    gateway: TestGateway,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(algorithm: Algorithm, settings: &[(&str, &str)]) -> Self {
        let signer = Signer::new("a", algorithm);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, set(&[&signer])).unwrap();
        let mut all = trusting(("JWT_JWKS_FILE", file.to_str().unwrap()));
        all.extend_from_slice(settings);
        let gateway = TestGateway::serve(&database().await, &all).await;
        Self { gateway, signer, _folder: folder }
    }

    fn client(&self) -> &Client {
        &self.gateway.client
    }

    async fn run(&self, body: Value) -> Run {
        let mut whole = json!({"cost_limit_usd": "1"});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        self.client().register(whole).await
    }

    /// A call with a token of these claims.
    async fn ask(&self, more: Value, named: Option<&str>) -> Answer {
        ask(self.client(), &self.signer.sign(&claims(more)), named).await
    }
}

async fn ask(client: &Client, token: &str, named: Option<&str>) -> Answer {
    let request = client.http.post(format!("{}/v1/chat/completions", client.data));
    let mut request = request.bearer_auth(token).json(&prompt("hello"));
    if let Some(run) = named {
        request = request.header("x-run-id", run);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_names_its_run_spends_for_it_whichever_way_it_is_signed() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let scene = Scene::new(algorithm, &[]).await;
        let run = scene.run(json!({"require_token": true})).await;
        let token = scene.signer.sign(&claims(json!({"run_id": run.id})));
        for _ in 0..2 {
            let told = ask(scene.client(), &token, None).await;
            assert_eq!(told.status, 200, "{algorithm:?}: {}", told.text);
            assert_eq!(told.header("x-run-id"), Some(run.id.as_str()));
        }
        assert_eq!(scene.client().settled(&run).await["calls"], 2, "{algorithm:?}");
        scene.gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_organization_spends_for_the_run_that_the_request_names() {
    let scene = Scene::new(Algorithm::ES256, &[]).await;
    let run = scene.run(json!({})).await;
    for organization in [json!({}), json!({"organization_id": DEFAULT})] {
        let told = scene.ask(organization, Some(&run.id)).await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
    let nothing = scene.ask(json!({}), None).await;
    assert_eq!((nothing.status, nothing.code().as_str()), (400, "run_id_required"));
    // What is another organization's is not there.
    let other = json!({"organization_id": Uuid::new_v4()});
    let foreign = scene.ask(other.clone(), Some(&run.id)).await;
    let unknown = scene.ask(other, Some(&Uuid::new_v4().to_string())).await;
    for told in [&foreign, &unknown] {
        assert_eq!((told.status, told.code().as_str()), (404, "run_not_found"), "{}", told.text);
    }
    let strict = scene.run(json!({"require_token": true})).await;
    assert_eq!(scene.ask(json!({}), Some(&strict.id)).await.code(), "invalid_key");
    assert_eq!(scene.client().settled(&run).await["calls"], 2);
    assert_eq!(scene.client().settled(&strict).await["calls"], 0);
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_and_the_request_name_the_same_run_and_there_is_one_credential() {
    let scene = Scene::new(Algorithm::ES256, &[]).await;
    let (run, other) = (scene.run(json!({})).await, scene.run(json!({})).await);
    let of_run = json!({"run_id": run.id});
    assert_eq!(scene.ask(of_run.clone(), Some(&run.id)).await.status, 200);
    assert_eq!(scene.ask(of_run.clone(), Some(&other.id)).await.code(), "run_id_mismatch");
    let signed = scene.signer.sign(&claims(of_run));
    for (second, status) in [(signed.as_str(), 200), (run.token.as_str(), 400)] {
        let request = scene.client().http.post(format!("{}/v1/messages", scene.client().data));
        let body = json!({
            "model": "gpt-4o-mini", "max_tokens": 9, "messages": prompt("hello")["messages"],
        });
        let request = request.bearer_auth(&signed).header("x-api-key", second).json(&body);
        let told = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_run_reaches_that_run_through_every_change_of_its_own_token() {
    let scene = Scene::new(Algorithm::EdDSA, &[]).await;
    let run = scene.run(json!({"require_token": true})).await;
    let told = scene.ask(json!({"run_id": run.id}), None).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let path = format!("/runs/{}/token", run.id);
    let rotated = scene.client().operator(Method::POST, &path).json(&json!({}));
    assert_eq!(rotated.send().await.unwrap().status(), 200);
    // The gateway hears of it a moment later.
    while scene.ask(json!({"run_id": run.id}), None).await.status == 401 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let closed = scene.client().close(&run, &json!({"mode": "drain"})).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
    assert_eq!(scene.ask(json!({"run_id": run.id}), None).await.code(), "run_closed");
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_have_the_names_that_the_settings_give_them() {
    let settings = [
        ("JWT_ORGANIZATION_CLAIM", "https://example.com/org"),
        ("JWT_RUN_CLAIM", "evaluation"),
        ("JWT_SCOPE_CLAIM", "scp"),
        ("JWT_SCOPE", "models:call"),
        ("JWT_LEEWAY_SECONDS", "120"),
    ];
    let scene = Scene::new(Algorithm::ES256, &settings).await;
    let run = scene.run(json!({})).await;
    let good = json!({
        "https://example.com/org": DEFAULT, "evaluation": run.id, "scp": ["other", "models:call"],
        "aud": ["somebody", AUDIENCE], "exp": now() - 60, "nbf": now() + 60,
    });
    let told = scene.ask(good.clone(), None).await;
    assert_eq!(told.status, 200, "{}", told.text);
    for (name, value) in [
        ("https://example.com/org", json!(Uuid::new_v4())),
        ("scp", json!(["inference"])),
        ("scp", json!("models:call:not")),
        ("exp", json!(now() - 130)),
        ("nbf", json!(now() + 130)),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(scene.ask(bad, None).await.code(), "invalid_key", "{name}");
    }
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_dev_mode_a_signed_token_is_ignored_as_every_credential_is() {
    let signer = Signer::new("a", Algorithm::ES256);
    let gateway = TestGateway::dev(&[]).await;
    let told = ask(&gateway.client, &signer.sign(&claims(json!({}))), None).await;
    assert_eq!(told.status, 200, "{}", told.text);
    gateway.stop().await;
}
