//! The book of changes.

use serde_json::{Value, json};
use sqlx::Executor as _;

use super::stage::{Stage, Who};
use crate::support::postgres::connect;

async fn changes(stage: &Stage, organization: &str) -> Vec<Value> {
    let what = format!("GET /organizations/{organization}/audit");
    let mut found = stage.operate(&what, None, 200).await["data"].as_array().unwrap().clone();
    found.reverse();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_booked_with_who_made_it_and_without_secrets() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("ada", "admin")]).await;
    let (org, key) = (format!("/organizations/{}", tenant.id), &tenant.key);
    let ada = Who::Member("ada");
    let put = json!({"monthly_cost_limit_cents": 1250, "eu_only": true});
    let asked = [
        (format!("PUT {org}/inference/settings"), Some(put)),
        (format!("POST {org}/inference/keys/{key}/suspend"), None),
        (format!("POST {org}/inference/keys/{key}/resume"), None),
        (format!("POST {org}/inference/keys/{key}/rotate"), None),
    ];
    let before = changes(&stage, &tenant.id).await.len();
    for (what, body) in asked {
        assert_eq!(stage.ask(&ada, &what, body.as_ref()).await.status, 200, "{what}");
    }
    let orchestrator = Who::Bearer(tenant.orchestrator_secret.clone());
    let raise = json!({"cost_limit_usd": "1.50"});
    stage.ask(&orchestrator, &format!("PATCH /runs/{}", tenant.run), Some(&raise)).await;

    let booked = changes(&stage, &tenant.id).await.split_off(before);
    let told: Vec<_> = booked
        .iter()
        .map(|one| (&one["object"]["kind"], &one["actor"], &one["old"], &one["new"]))
        .map(|told| json!([told.0, told.1["kind"], told.2, told.3]))
        .collect();
    let limit = |scope: &str, window: &str, limit: &str| json!({"scope": scope, "unit": "usd", "window": window, "limit": limit});
    let month = |usd: &str| limit("organization", "month", usd);
    let hash = json!({"secret_hash": "(redacted)"});
    let expected = [
        json!(["budget", "member", month("50"), month("12.5")]),
        json!(["settings", "member", {"eu_only": false}, {"eu_only": true}]),
        json!(["inference_key", "member", {"status": "active"}, {"status": "suspended"}]),
        json!(["inference_key", "member", {"status": "suspended"}, {"status": "active"}]),
    ];
    assert_eq!(told[..4], expected, "{told:#?}");
    assert_eq!(told[4][2]["secret_hash"], hash["secret_hash"]);
    assert!(told[4][3]["rotated_at"].is_string(), "{}", told[4]);
    let raised = ["1", "1.5"].map(|usd| limit("run", "lifetime", usd));
    assert_eq!(told[5], json!(["budget", "orchestrator_key", raised[0], raised[1]]));
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!(booked[0]["actor"]["name"], "ada");
    assert_eq!(booked[0]["address"], "127.0.0.1");
    assert_eq!(booked[0]["request_id"], "test-1");
    assert_eq!(booked[5]["actor"]["id"], *tenant.orchestrator);

    let whole = json!(changes(&stage, &tenant.id).await).to_string();
    for secret in ["hunter2", "argon2", "\\\\x", &tenant.key_secret, &tenant.orchestrator_secret] {
        assert!(!whole.contains(secret), "{secret} is in {whole}");
    }
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_book_is_read_in_pages_and_never_rewritten() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[]).await;
    let all = changes(&stage, &tenant.id).await;
    assert!(all.len() > 5, "{all:#?}");
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let what = format!("GET /organizations/{}/audit?limit=2{after}", tenant.id);
        let page = stage.operate(&what, None, 200).await;
        paged.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    paged.reverse();
    assert_eq!(paged, all);

    let mut database = connect(&stage.database).await;
    for wrong in [
        "UPDATE audit_log SET actor_kind = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ] {
        assert!(database.execute(wrong).await.is_err(), "{wrong}");
    }
    // What goes past the gateway is booked too.
    let past = "UPDATE inference_keys SET status = 'revoked'";
    database.execute(past).await.unwrap();
    let last = changes(&stage, &tenant.id).await.pop().unwrap();
    assert_eq!(last["actor"]["kind"], "database", "{last}");
    assert_eq!(last["new"], json!({"status": "revoked"}));
    stage.gateway.stop().await;
}
