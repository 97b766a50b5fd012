//! Tokens that are not good: one answer, whatever is wrong.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{Signer, claims, now, set, text, trusting};
use crate::support::client::{Answer, Client, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

async fn ask(client: &Client, token: &str) -> Answer {
    let request = client.http.post(format!("{}/v1/chat/completions", client.data));
    let request = request.bearer_auth(token).header("x-request-id", "same");
    Answer::of(request.json(&prompt("hello")).send().await.unwrap()).await
}

/// A token put together by hand.
fn by_hand(header: &Value, claims: &Value, signature: &str) -> String {
    format!("{}.{}.{signature}", text(header.to_string()), text(claims.to_string()))
}

/// Tokens that differ from a good one in one thing each.
fn altered(good: &Signer, run: &str) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut all = claims(json!({"run_id": run}));
        all[name] = value;
        good.sign(&all)
    };
    let without = |name: &str| {
        let mut all = claims(json!({"run_id": run}));
        all.as_object_mut().unwrap().remove(name);
        good.sign(&all)
    };
    vec![
        ("expired", with("exp", json!(now() - 40))),
        ("never expires", without("exp")),
        ("expires as text", with("exp", json!("4102444800"))),
        ("not yet", with("nbf", json!(now() + 90))),
        ("no time", with("nbf", json!("soon"))),
        ("another issuer", with("iss", json!("https://issuer.example"))),
        ("two issuers", with("iss", json!([super::issuer::ISSUER, "https://evil.example/"]))),
        ("no issuer", without("iss")),
        ("another audience", with("aud", json!("somebody"))),
        ("no audience", without("aud")),
        ("no scope", without("scope")),
        ("another scope", with("scope", json!("inferences openid"))),
        ("a scope that is no text", with("scope", json!({"inference": true}))),
        ("another organization", with("organization_id", json!(Uuid::new_v4()))),
        ("no organization's id", with("organization_id", json!("default"))),
        ("a run that is not there", with("run_id", json!(Uuid::new_v4()))),
        ("no run's id", with("run_id", json!(7))),
    ]
}

/// Tokens whose signature is not the issuer's.
fn forged(good: &Signer, rsa: &Signer, run: &str) -> Vec<(&'static str, String)> {
    let all = claims(json!({"run_id": run}));
    let signed = good.sign(&all);
    let (unsigned, signature) = signed.rsplit_once('.').unwrap();
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT", "kid": good.id});
    let public = good.jwk["x"].as_str().unwrap();
    let hmac = Header { kid: Some(good.id.clone()), ..Header::new(Algorithm::HS256) };
    let other = Signer::new(&good.id, good.algorithm);
    let crit = json!({"alg": "ES256", "kid": good.id, "crit": ["exp"], "exp": 1});
    vec![
        ("somebody else's key", other.sign(&all)),
        ("other claims", by_hand(&header("ES256"), &claims(json!({"x": 1})), signature)),
        ("a cut signature", format!("{unsigned}.{}", &signature[..40])),
        ("none", by_hand(&header("none"), &all, "")),
        ("None", by_hand(&header("None"), &all, "AA")),
        ("none, signed", by_hand(&header("none"), &all, signature)),
        ("HS256 by the public key", {
            encode(&hmac, &all, &EncodingKey::from_secret(public.as_bytes())).unwrap()
        }),
        ("HS256 by nothing", encode(&hmac, &all, &EncodingKey::from_secret(b"")).unwrap()),
        ("RS256 by the name of another key", {
            let header = Header { kid: Some(good.id.clone()), ..Header::new(Algorithm::RS256) };
            rsa.sign_as(&header, &all)
        }),
        ("RS384", {
            let header = Header { alg: Algorithm::RS384, ..rsa.header() };
            rsa.sign_as(&header, &all)
        }),
        ("PS256", {
            let header = Header { alg: Algorithm::PS256, ..rsa.header() };
            rsa.sign_as(&header, &all)
        }),
        ("no key's name", good.sign_as(&Header::new(good.algorithm), &all)),
        ("an unknown key's name", Signer::new("b", Algorithm::ES256).sign(&all)),
        ("its own key with it", {
            let jwk = serde_json::from_value(other.jwk.clone()).unwrap();
            let header = Header { jwk: Some(jwk), ..good.header() };
            other.sign_as(&header, &all)
        }),
        ("what must be understood", by_hand(&crit, &all, signature)),
        ("no header", format!("e30.{}.{signature}", text(all.to_string()))),
        ("no JSON", "eyJ.eyJ.eyJ".to_owned()),
        ("four parts", format!("{signed}.{signature}")),
        ("too long", format!("{unsigned}.{}", "A".repeat(20_000))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_signed_token_the_answer_is_the_same_to_the_byte() {
    let (good, rsa) = (Signer::new("a", Algorithm::ES256), Signer::new("r", Algorithm::RS256));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let small = json!({"kty": "oct", "kid": "h", "k": text("secret of everybody")});
    let keys = json!({"keys": [good.jwk, rsa.jwk, small, {"kty": "?", "kid": "q"}]});
    std::fs::write(&file, keys.to_string()).unwrap();
    let settings = trusting(("JWT_JWKS_FILE", file.to_str().unwrap()));
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let wanted = ask(client, "rg-run-nobodys").await;
    assert_eq!((wanted.status, wanted.code().as_str()), (401, "invalid_key"));
    let symmetric = encode(
        &Header { kid: Some("h".to_owned()), ..Header::new(Algorithm::HS256) },
        &claims(json!({"run_id": run.id})),
        &EncodingKey::from_secret(b"secret of everybody"),
    );
    let mut tokens = altered(&good, &run.id);
    tokens.extend(forged(&good, &rsa, &run.id));
    tokens.push(("a key that everybody has", symmetric.unwrap()));
    for (what, token) in tokens {
        for _ in 0..2 {
            let told = ask(client, &token).await;
            assert_eq!((told.status, &told.text), (401, &wanted.text), "{what}");
        }
    }
    let told = ask(client, &good.sign(&claims(json!({"run_id": run.id})))).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = ask(client, &rsa.sign(&claims(json!({"run_id": run.id})))).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(client.settled(&run).await["calls"], 2);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_good_is_not_remembered_beyond_its_end() {
    let good = Signer::new("a", Algorithm::ES256);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, set(&[&good])).unwrap();
    let mut settings = trusting(("JWT_JWKS_FILE", file.to_str().unwrap()));
    settings.push(("JWT_LEEWAY_SECONDS", "0"));
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    // Under load the first call may already come too late; then the next token lives longer.
    let mut lives = 2;
    let token = loop {
        let token = good.sign(&claims(json!({"run_id": run.id, "exp": now() + lives})));
        if ask(&gateway.client, &token).await.status == 200 {
            break token;
        }
        lives += 1;
    };
    while ask(&gateway.client, &token).await.status == 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ask(&gateway.client, &token).await.code(), "invalid_key");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_in_the_settings_no_signed_token_is_good() {
    let good = Signer::new("a", Algorithm::ES256);
    let gateway = TestGateway::serve(&database().await, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let told = ask(&gateway.client, &good.sign(&claims(json!({"run_id": run.id})))).await;
    assert_eq!((told.status, told.code().as_str()), (401, "invalid_key"));
    gateway.stop().await;
}
