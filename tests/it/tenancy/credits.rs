//! The transactions of an organization's credits.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{Stage, Who, text};
use crate::support::client::{Answer, prompt};

fn exact(value: &Value) -> Decimal {
    Decimal::from_str_exact(&text(value)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_charge_is_in_the_history_and_the_balance_is_its_sum() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("vic", "viewer")]).await;
    let (org, client) = (format!("/organizations/{}", tenant.id), &stage.gateway.client);
    let patch = format!("PATCH {org}/inference/keys/{}", tenant.key);
    stage.operate(&patch, Some(json!({"monthly_token_limit": 1_000_000})), 200).await;
    let call = async |credential: &str, model: &str| {
        let mut body = prompt("Hi");
        body["model"] = json!(model);
        let request = client.http.post(format!("{}/v1/chat/completions", client.data));
        let answer = request.bearer_auth(credential).json(&body).send().await.unwrap();
        assert_eq!(Answer::of(answer).await.status, 200);
    };
    call(&tenant.run_token, "gpt-4o-mini").await;
    call(&tenant.key_secret, "gpt-4o").await;
    let grant = json!({"amount_usd": "1.5", "kind": "grant", "note": "trial"});
    stage.operate(&format!("POST {org}/credits"), Some(grant), 201).await;
    call(&tenant.key_secret, "gpt-4o-mini").await;
    stage.gateway.running.gateway.ledger.flush().await;

    let vic = Who::Member("vic");
    let history = stage.ask(&vic, &format!("GET {org}/credits"), None).await.json();
    let rows = history["data"].as_array().unwrap();
    let kinds: Vec<_> = rows.iter().map(|row| text(&row["kind"])).collect();
    assert_eq!(kinds, ["charge", "grant", "charge", "charge", "top_up"], "{history:#}");
    let sum: Decimal = rows.iter().map(|row| exact(&row["amount_usd"])).sum();
    assert_eq!(sum, exact(&history["balance_usd"]));
    assert_eq!(history["unlisted_charges_usd"], "0");
    let named = |row: &Value| (row["run_id"].clone(), row["key_id"].clone(), row["model"].clone());
    let (run, key) = (json!(tenant.run), json!(tenant.key));
    assert_eq!(named(&rows[0]), (Value::Null, key.clone(), json!("gpt-4o-mini")));
    assert_eq!(named(&rows[2]), (Value::Null, key, json!("gpt-4o")));
    assert_eq!(named(&rows[3]), (run, Value::Null, json!("gpt-4o-mini")));
    assert_eq!((&rows[1]["note"], &rows[1]["model"]), (&json!("trial"), &Value::Null));

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("GET {org}/credits?limit=2{after}");
        let page = stage.ask(&vic, &path, None).await.json();
        paged.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(&paged, rows);
    stage.gateway.stop().await;
}

/// Calls of organizations that pay afterwards are no transactions, and neither are free ones.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_credits_paid_is_in_their_history() {
    let stage = Stage::new().await;
    let client = &stage.gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(client.ask(&run, &prompt("Hi")).await.status, 200);
    let credits = "/organizations/default/credits";
    let bare = stage.operate(&format!("GET {credits}"), None, 200).await;
    assert_eq!((&bare["prepaid"], &bare["data"]), (&json!(false), &json!([])));
    let top_up = json!({"amount_usd": "1"});
    stage.operate(&format!("POST {credits}"), Some(top_up), 201).await;
    assert_eq!(client.ask(&run, &prompt("Hi")).await.status, 200);
    client.settled(&run).await;
    let history = stage.operate(&format!("GET {credits}"), None, 200).await;
    assert_eq!(history["data"].as_array().unwrap().len(), 2, "{history:#}");
    assert_eq!(history["data"][0]["run_id"], run.id);
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_took_beyond_the_credits_is_shown_as_a_debt() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[]).await;
    let mut connection = crate::support::postgres::connect(&stage.database).await;
    let overrun = "UPDATE budgets SET spent = limit_amount + 0.25, lowered = true \
        WHERE scope = 'credits'";
    crate::support::postgres::execute(&mut connection, overrun).await;
    let credits = format!("GET /organizations/{}/credits", tenant.id);
    assert_eq!(stage.operate(&credits, None, 200).await["balance_usd"], "-0.25");
    stage.gateway.stop().await;
}
