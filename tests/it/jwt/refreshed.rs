//! Where the keys come from, and how they change.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use rungate::gateway::jwt::Keys;
use serde_json::json;

use super::issuer::{AUDIENCE, ISSUER, KeyServer, Signer, claims, set, trusting};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::{TestGateway, config};
use crate::support::postgres::database;
use crate::support::process::GatewayProcess;

async fn ask(client: &Client, run: &Run, signer: &Signer) -> Answer {
    let token = signer.sign(&claims(json!({"run_id": run.id})));
    let request = client.http.post(format!("{}/v1/chat/completions", client.data));
    Answer::of(request.bearer_auth(token).json(&prompt("hello")).send().await.unwrap()).await
}

async fn until(client: &Client, run: &Run, signer: &Signer, status: u16) {
    for _ in 0..400 {
        if ask(client, run, signer).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never comes to {status}");
}

async fn scene(settings: &[(&str, &str)]) -> (TestGateway, Run) {
    let gateway = TestGateway::serve(&database().await, settings).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    (gateway, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_at_its_first_token_and_unknown_ones_do_not_flood_the_issuer() {
    let (old, new) = (Signer::new("1", Algorithm::ES256), Signer::new("2", Algorithm::EdDSA));
    let server = KeyServer::start(200, set(&[&old])).await;
    let mut settings = trusting(("JWT_JWKS_URL", &server.url));
    settings.push(("JWT_JWKS_REFRESH_SECONDS", "3600"));
    let (gateway, run) = scene(&settings).await;
    assert_eq!(ask(&gateway.client, &run, &old).await.status, 200);
    let before = server.asked();
    server.answer(200, set(&[&old, &new]));
    assert_eq!(ask(&gateway.client, &run, &new).await.status, 200, "without a second attempt");
    assert_eq!(server.asked(), before + 1);
    let unknown = Signer::new("3", Algorithm::ES256);
    for _ in 0..20 {
        assert_eq!(ask(&gateway.client, &run, &unknown).await.status, 401);
    }
    // Once every ten seconds at most, however slow this is.
    assert!(server.asked() <= before + 4, "{}", server.asked());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_refresh_keeps_the_old_keys_and_a_withdrawn_key_is_dead_after_the_next() {
    let (old, new) = (Signer::new("1", Algorithm::ES256), Signer::new("2", Algorithm::ES256));
    let server = KeyServer::start(200, set(&[&old])).await;
    let mut settings = trusting(("JWT_JWKS_URL", &server.url));
    settings.push(("JWT_JWKS_REFRESH_SECONDS", "1"));
    let (gateway, run) = scene(&settings).await;
    let client = &gateway.client;
    assert_eq!(ask(client, &run, &old).await.status, 200);
    for (status, body) in [(500, String::new()), (302, set(&[&new])), (200, "none".to_owned())] {
        let asked = server.asked();
        server.answer(status, body);
        // The one before was looked at by the time that the next is asked for.
        while server.asked() == asked {
            assert_eq!(ask(client, &run, &old).await.status, 200, "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    server.answer(200, set(&[&new]));
    until(client, &run, &old, 401).await;
    assert_eq!(ask(client, &run, &new).await.status, 200);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_keys_were_ever_read_a_signed_token_is_nobodys_fault() {
    let signer = Signer::new("1", Algorithm::ES256);
    let server = KeyServer::start(503, String::new()).await;
    let mut settings = trusting(("JWT_JWKS_URL", &server.url));
    settings.push(("JWT_JWKS_REFRESH_SECONDS", "1"));
    let (gateway, run) = scene(&settings).await;
    let told = ask(&gateway.client, &run, &signer).await;
    assert_eq!((told.status, told.code().as_str()), (503, "unavailable"), "{}", told.text);
    assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200, "its own token is");
    server.answer(200, set(&[&signer]));
    until(&gateway.client, &run, &signer, 200).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let (old, new) = (Signer::new("1", Algorithm::ES256), Signer::new("1", Algorithm::ES256));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, set(&[&old])).unwrap();
    let (gateway, run) = scene(&trusting(("JWT_JWKS_FILE", file.to_str().unwrap()))).await;
    assert_eq!(ask(&gateway.client, &run, &old).await.status, 200);
    std::fs::write(&file, set(&[&new])).unwrap();
    until(&gateway.client, &run, &new, 200).await;
    assert_eq!(ask(&gateway.client, &run, &old).await.status, 401);
    gateway.stop().await;
}

#[test]
fn a_set_of_keys_is_small_and_holds_a_key_of_use() {
    let signer = Signer::new("1", Algorithm::ES256);
    let with = |name: &str, value: serde_json::Value| {
        let mut jwk = signer.jwk.clone();
        jwk[name] = value;
        json!({"keys": [jwk]}).to_string()
    };
    assert!(Keys::parse(set(&[&signer]).as_bytes()).is_ok());
    assert!(Keys::parse(with("alg", json!("ES256")).as_bytes()).is_ok());
    for useless in [
        with("alg", json!("ES384")),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("crv", json!("P-384")),
        with("kid", json!(null)),
        json!({"keys": []}).to_string(),
        json!({"keys": vec![signer.jwk.clone(); 65]}).to_string(),
        json!([signer.jwk]).to_string(),
        "none".to_owned(),
    ] {
        assert!(Keys::parse(useless.as_bytes()).is_err(), "{useless}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_key_of_use_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, json!({"keys": [{"kty": "oct", "kid": "h", "k": "AA"}]}).to_string())
        .unwrap();
    let settings = trusting(("JWT_JWKS_FILE", file.to_str().unwrap()));
    let said = GatewayProcess::try_serve(&database().await, &settings).err().unwrap();
    assert!(said.err.contains("JWT_JWKS_FILE cannot be used"), "{said:?}");
}

#[test]
fn settings_that_would_mean_nothing_or_trust_everybody_stop_the_start() {
    let wrong = |settings: &[(&str, &str)]| -> Vec<String> {
        let get = |name: &str| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let read = rungate::config::Config::read(&get);
        read.err().unwrap_or_default().into_iter().map(|error| error.name).collect()
    };
    let issuer = [("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE)];
    for (given, named) in [
        (vec![("JWT_JWKS_URL", "http://issuer.example/keys")], "JWT_JWKS_URL"),
        (vec![("JWT_JWKS_URL", "https://user:word@issuer.example/")], "JWT_JWKS_URL"),
        (vec![("JWT_JWKS_URL", "https://i/"), ("JWT_JWKS_FILE", "f")], "JWT_JWKS_URL"),
        (
            vec![("JWT_JWKS_FILE", "f"), ("JWT_JWKS_REFRESH_SECONDS", "9")],
            "JWT_JWKS_REFRESH_SECONDS",
        ),
    ] {
        let all = [given, issuer.to_vec()].concat();
        assert_eq!(wrong(&all), [named], "{all:?}");
    }
    assert_eq!(wrong(&[("JWT_JWKS_FILE", "f")]), ["JWT_ISSUER", "JWT_AUDIENCE"]);
    assert_eq!(wrong(&[("JWT_SCOPE", "s")]), ["JWT_SCOPE"]);
    for alone in ["TLS_CERT_FILE", "ADMIN_TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"] {
        assert_eq!(wrong(&[(alone, "file")]), [alone]);
    }
    let tls = [("TLS_CERT_FILE", "c"), ("TLS_KEY_FILE", "k")];
    for alone in ["TLS_CLIENT_AUTH", "TLS_CLIENT_CRL_FILE"] {
        assert_eq!(wrong(&[&tls[..], &[(alone, "optional")]].concat()), [alone]);
    }
    assert_eq!(wrong(&tls), [""; 0]);
    let local: Vec<_> = [&issuer[..], &[("JWT_JWKS_URL", "http://127.0.0.1:1/k")]].concat();
    assert!(config(&local).jwt.is_some());
}
