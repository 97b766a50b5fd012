//! The management API as those who know it use it: request by request, in order.

use serde_json::{Value, json};

use super::stage::{PASSWORD, Stage, Who, operator};
use crate::support::client::{Answer, prompt};

async fn calls(stage: &Stage, secret: &str) -> Answer {
    let client = &stage.gateway.client;
    let mut body = prompt("Summarise the main types of PostgreSQL indexes.");
    body["model"] = json!("openai/gpt-4o-mini");
    let url = format!("{}/inference/v1/chat/completions", client.data);
    Answer::of(client.http.post(url).bearer_auth(secret).json(&body).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_configures_mints_a_key_and_calls_with_it() {
    let stage = Stage::new().await;
    let made = stage.operate("POST /organizations", Some(json!({"name": "shop"})), 201).await;
    let org = format!("/organizations/{}", made["id"].as_str().unwrap());
    let owner = json!({"name": "user", "password": PASSWORD, "role": "owner"});
    stage.operate(&format!("POST {org}/members"), Some(owner), 201).await;
    let user = Who::Member("user");
    let ask = async |what: String, body: Value| stage.ask(&user, &what, Some(&body)).await;

    let settings = format!("PUT {org}/inference/settings");
    let answer = ask(settings.clone(), json!({"eu_only": false})).await;
    assert_eq!(answer.json()["error"]["param"], "monthly_cost_limit_cents", "{}", answer.text);
    let answer = ask(settings.clone(), json!({"monthly_cost_limit_cents": 5000})).await;
    let set = answer.json();
    assert_eq!(set["monthly_cost_limit_cents"], 5000, "{set}");
    assert_eq!(set["monthly_cost_limit_usd"], "50");
    assert_eq!((&set["circuit"], &set["eu_only"]), (&json!("closed"), &json!(false)));

    let wanted = json!({
        "name": "checkout-service",
        "monthly_token_limit": 1_000_000,
        "rate_limit_rpm": 60,
    });
    let keys = format!("POST {org}/inference/keys");
    let minted = ask(keys.clone(), wanted.clone()).await;
    assert_eq!(minted.status, 201, "{}", minted.text);
    let (key, secret) = (&minted.json()["key"], minted.json()["secret"].clone());
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("rg-key-"));
    assert_eq!(key["key_prefix"], secret[..11]);
    assert_eq!(key["status"], "active");
    assert_eq!(key["tokens_used_cycle"], 0);
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(key[name], *value, "{name}");
    }
    for missing in ["name", "monthly_token_limit"] {
        let mut body = wanted.clone();
        body.as_object_mut().unwrap().remove(missing);
        assert_eq!(ask(keys.clone(), body).await.json()["error"]["param"], missing);
    }

    let answer = calls(&stage, secret).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let shown = format!("GET {org}/inference/keys/{}", key["id"].as_str().unwrap());
    for _ in 0..400 {
        let used = stage.operate(&shown, None, 200).await;
        if used["tokens_used_cycle"] == answer.json()["usage"]["total_tokens"] {
            assert!(!used.to_string().contains(secret), "a secret is shown twice");
            let revoke = shown.replace("GET", "DELETE");
            assert_eq!(stage.ask(&user, &revoke, None).await.json()["status"], "revoked");
            assert_eq!(calls(&stage, secret).await.code(), "invalid_key");
            stage.gateway.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the key never shows what it used");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_is_shown_open_until_it_is_reset() {
    let stage = Stage::new().await;
    let settings = "PUT /organizations/default/inference/settings";
    let put = async |body: Value| stage.operate(settings, Some(body), 200).await;
    // Nothing is spent, and nothing is left: 0 is a limit.
    for body in [json!({"monthly_cost_limit_cents": 0}), json!({"reset_circuit": true})] {
        assert_eq!(put(body).await["circuit"], "open");
    }
    assert_eq!(put(json!({"monthly_cost_limit_cents": 5})).await["circuit"], "open");
    let closed = put(json!({"reset_circuit": true})).await;
    assert_eq!(closed["circuit"], "closed", "{closed}");
    assert_eq!(closed["monthly_cost_limit_cents"], 5);
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_falls_back_to_the_defaults_of_its_organization() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[]).await;
    let defaults = json!({"run_defaults": {"cost_limit_usd": "0.75", "call_limit": 7}});
    let settings = format!("PUT /organizations/{}/inference/settings", tenant.id);
    stage.operate(&settings, Some(defaults), 200).await;
    let who = Who::Bearer(tenant.orchestrator_secret.clone());
    let id = "11111111-2222-4333-8444-555555555555";
    let register = async |body: Value| stage.ask(&who, "POST /runs", Some(&body)).await;
    let answer = register(json!({"id": id, "call_limit": 3})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let run = answer.json();
    assert_eq!(run["organization_id"], *tenant.id);
    assert_eq!((&run["cost_limit_usd"], &run["call_limit"]), (&json!("0.75"), &json!(3)));
    let changed = json!({"run_defaults": {"cost_limit_usd": "2"}});
    stage.operate(&settings, Some(changed), 200).await;
    assert_eq!(register(json!({"id": id, "call_limit": 3})).await.status, 200);
    let named = register(json!({"organization_id": "default"})).await;
    assert_eq!(named.json()["error"]["param"], "organization_id", "{}", named.text);
    let other = register(json!({"organization_id": "00000000-0000-0000-0000-000000000001"})).await;
    assert_eq!(told(&other), told(&named));
    let listed = stage.ask(&who, "GET /runs", None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let all = stage.ask(&operator(), "GET /runs", None).await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    stage.gateway.stop().await;
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, &answer.text)
}
