//! Changes that a gateway is not told of: it goes by them all the same from its next call on.
//!
//! They are made in the database as another gateway makes them, but without the notification, as if
//! that had been lost.

use serde_json::{Value, json};

use super::stage::{Stage, Tenant};
use crate::support::client::{Answer, prompt};
use crate::support::postgres::{connect, execute};

async fn call(stage: &Stage, credential: &str) -> Answer {
    let client = &stage.gateway.client;
    let request = client.http.post(format!("{}/v1/chat/completions", client.data));
    Answer::of(request.bearer_auth(credential).json(&prompt("Hi")).send().await.unwrap()).await
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

async fn change(stage: &Stage, tenant: &Tenant, sql: &str) {
    let mut connection = connect(&stage.database).await;
    let (org, key) = (&tenant.id, &tenant.key);
    for statement in sql.split(';') {
        let statement = statement.replace("{org}", org).replace("{key}", key);
        execute(&mut connection, &statement).await;
    }
}

async fn wide(stage: &Stage) -> Tenant {
    let tenant = stage.tenant("lab", &[]).await;
    let path = format!("PATCH /organizations/{}/inference/keys/{}", tenant.id, tenant.key);
    let wide = json!({"monthly_token_limit": 1_000_000});
    let key = stage.operate(&path, Some(wide), 200).await;
    assert_eq!(key["monthly_token_limit"], 1_000_000);
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_new_terms_hold_although_nobody_was_told() {
    let stage = Stage::new().await;
    let tenant = wide(&stage).await;
    let ask = async || told(&call(&stage, &tenant.key_secret).await);
    assert_eq!(ask().await, (200, String::new()));
    let key = "UPDATE inference_keys SET version = version + 1";
    let patch = format!("PATCH /organizations/{}/inference/keys/{}", tenant.id, tenant.key);
    for (set, expected, undone) in [
        ("allowed_models = '{gpt-4o}'", (403, "model_not_allowed"), "allowed_models"),
        (
            "allowed_endpoints = '{/v1/messages}'",
            (403, "endpoint_not_allowed"),
            "allowed_endpoints",
        ),
        ("require_run = true", (400, "run_id_required"), "require_run"),
    ] {
        change(&stage, &tenant, &format!("{key}, {set} WHERE id = '{{key}}'")).await;
        assert_eq!(ask().await, (expected.0, expected.1.to_owned()), "{set}");
        let wide = if undone == "require_run" { json!(false) } else { Value::Null };
        stage.operate(&patch, Some(json!({undone: wide})), 200).await;
        assert_eq!(ask().await, (200, String::new()), "{set}");
    }
    let limit = "INSERT INTO budgets (organization_id, id, scope, scope_id, unit, \"window\", \
         limit_amount) VALUES ('{org}', gen_random_uuid(), 'key', '{key}', 'tokens', 'day', 1)";
    change(&stage, &tenant, &format!("{limit};{key} WHERE id = '{{key}}'")).await;
    assert_eq!(ask().await, (429, "token_ceiling_exceeded".to_owned()));
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn residency_holds_although_nobody_was_told() {
    let stage = Stage::new().await;
    let tenant = wide(&stage).await;
    for credential in [&tenant.run_token, &tenant.key_secret] {
        assert_eq!(told(&call(&stage, credential).await), (200, String::new()));
        let version = "UPDATE organizations SET version = version + 1 WHERE id = '{org}'";
        let bound = "UPDATE organization_settings SET eu_only = true";
        change(&stage, &tenant, &format!("{bound};{version}")).await;
        let answer = call(&stage, credential).await;
        assert_eq!(told(&answer), (403, "eu_residency_unavailable".to_owned()));
        let settings = format!("PUT /organizations/{}/inference/settings", tenant.id);
        stage.operate(&settings, Some(json!({"eu_only": false})), 200).await;
    }
    let reserved = stage.operate(&format!("GET /organizations/{}", tenant.id), None, 200).await;
    assert_eq!(reserved["reserved_usd"].as_str().unwrap_or("0"), "0", "{reserved}");
    stage.gateway.stop().await;
}

/// Counting is no call and costs nothing, but it takes the prompt to the provider.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_not_sent_to_be_counted_where_it_may_not_go_although_nobody_was_told() {
    let stage = Stage::new().await;
    let tenant = wide(&stage).await;
    let client = &stage.gateway.client;
    let mut body = prompt("Hi");
    body["model"] = json!("claude-haiku-4-5");
    let count = async |credential: &str| {
        let request = client.http.post(format!("{}/v1/messages/count_tokens", client.data));
        told(&Answer::of(request.bearer_auth(credential).json(&body).send().await.unwrap()).await)
    };
    for credential in [&tenant.run_token, &tenant.key_secret] {
        assert_eq!(count(credential).await, (200, String::new()));
        let version = "UPDATE organizations SET version = version + 1 WHERE id = '{org}'";
        let bound = "UPDATE organization_settings SET eu_only = true";
        change(&stage, &tenant, &format!("{bound};{version}")).await;
        assert_eq!(count(credential).await, (403, "eu_residency_unavailable".to_owned()));
        let settings = format!("PUT /organizations/{}/inference/settings", tenant.id);
        stage.operate(&settings, Some(json!({"eu_only": false})), 200).await;
    }
    stage.gateway.stop().await;
}

/// The default organization has no budgets until it is configured, so nothing that its calls lock
/// would tell of its first one.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_budget_of_the_default_organization_holds_although_nobody_was_told() {
    let stage = Stage::new().await;
    let client = &stage.gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(client.ask(&run, &prompt("Hi")).await.status, 200);
    let mut connection = connect(&stage.database).await;
    let default = rungate::domain::id::OrganizationId::DEFAULT;
    let circuit = format!(
        "INSERT INTO budgets (organization_id, id, scope, scope_id, unit, \"window\", \
         limit_amount) \
         VALUES ('{default}', gen_random_uuid(), 'organization', '{default}', 'usd', 'month', 0)"
    );
    execute(&mut connection, &circuit).await;
    let version = format!("UPDATE organizations SET version = version + 1 WHERE id = '{default}'");
    execute(&mut connection, &version).await;
    let refused: Value = client.ask(&run, &prompt("Hi")).await.json();
    assert_eq!(refused["error"]["code"], "cost_circuit_open", "{refused}");
    stage.gateway.stop().await;
}

/// As after a failover to a replica that lacks the last changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_knows_an_earlier_version_is_believed() {
    let stage = Stage::new().await;
    let tenant = wide(&stage).await;
    assert_eq!(told(&call(&stage, &tenant.key_secret).await), (200, String::new()));
    let earlier = "UPDATE organizations SET version = version - 1 WHERE id = '{org}';\
                   UPDATE inference_keys SET version = version - 1 WHERE id = '{key}'";
    change(&stage, &tenant, earlier).await;
    for _ in 0..2 {
        assert_eq!(told(&call(&stage, &tenant.key_secret).await), (200, String::new()));
    }
    stage.gateway.stop().await;
}
