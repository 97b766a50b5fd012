//! What an organization can set, and what became of what it had set before.

use reqwest::Method;
use serde_json::json;
use sqlx::Row as _;

use super::stage::{Tiers, ask};
use crate::database::stage::execute;
use crate::support::client::Answer;
use crate::support::postgres;

const MIGRATION: &str = include_str!("../../../migrations/0019_service_tier.sql");

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_sets_one_of_three_tiers() {
    let tiers = Tiers::simulated().await;
    for tier in ["default", "flex", "priority"] {
        tiers.set(tier).await;
        let path = "/organizations/default/inference/settings";
        let get = tiers.stage.client().operator(Method::GET, path);
        let shown = Answer::of(get.send().await.unwrap()).await;
        assert_eq!(shown.json()["service_tier"], tier);
    }
    for tier in [json!("fast"), json!("Flex"), json!(""), json!("standard"), json!(1), json!(null)]
    {
        let answer = tiers.put(json!({"service_tier": tier})).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request".to_owned()), "{tier}");
        assert_eq!(answer.json()["error"]["param"], "service_tier");
    }
    let answer = tiers.put(json!({"service_tier": "batch"})).await;
    let says = "service_tier must be one of default, flex and priority.";
    assert_eq!(answer.json()["error"]["message"], says);
    // What is refused changes nothing, and what says nothing of it neither.
    let answer = tiers.put(json!({"eu_only": false})).await;
    assert_eq!(answer.json()["service_tier"], "priority");
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_has_the_prices_of_each_tier() {
    let tiers = Tiers::simulated().await;
    let get = tiers.stage.client().operator(Method::GET, "/models?provider=openai");
    let listed = Answer::of(get.send().await.unwrap()).await.json();
    let of = |model: &str| {
        let rows = listed["data"].as_array().unwrap();
        rows.iter().find(|row| row["model"] == model).unwrap()["tiers"].clone()
    };
    let prices = |input: &str, cached: &str, output: &str| {
        json!({
            "input_usd_per_million": input, "cached_input_usd_per_million": cached,
            "cache_write_usd_per_million": input, "output_usd_per_million": output,
            "long_context": null,
        })
    };
    let both = json!({
        "flex": prices("0.625", "0.0625", "5"), "priority": prices("2.5", "0.25", "20"),
    });
    assert_eq!(of("tiered"), both);
    assert_eq!(of("one-tier"), json!({"priority": prices("3", "3", "16")}));
    assert_eq!(of("plain"), json!({}));
    assert_eq!(of("digits")["flex"]["long_context"]["above"], 200_000);
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_a_label_becomes_the_default_tier() {
    let database = postgres::database().await;
    let mut operator = postgres::connect(&database).await;
    let before = "DROP FUNCTION ledger_note_tier; ALTER TABLE calls DROP COLUMN service_tier; \
        ALTER TABLE organization_settings DROP CONSTRAINT organization_settings_service_tier;";
    execute(&mut operator, before).await;
    for label in ["gold", "", "Flex", "flex", "priority", "default"] {
        let make = format!(
            "WITH made AS (INSERT INTO organizations (id, name) \
                VALUES (gen_random_uuid(), 'o-{label}') RETURNING id) \
             INSERT INTO organization_settings (organization_id, service_tier) \
                SELECT id, '{label}' FROM made"
        );
        execute(&mut operator, &make).await;
    }
    execute(&mut operator, MIGRATION).await;
    let rows = "SELECT o.name, s.service_tier FROM organization_settings s \
        JOIN organizations o ON o.id = s.organization_id WHERE o.name LIKE 'o-%' ORDER BY 1";
    let rows = sqlx::query(rows).fetch_all(&mut operator).await.unwrap();
    let mut found: Vec<(String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    found.sort();
    let expected = [
        ("o-", "default"),
        ("o-Flex", "default"),
        ("o-default", "default"),
        ("o-flex", "flex"),
        ("o-gold", "default"),
        ("o-priority", "priority"),
    ];
    assert_eq!(found, expected.map(|(name, tier)| (name.to_owned(), tier.to_owned())));
    let odd = "UPDATE organization_settings SET service_tier = 'gold'";
    assert!(sqlx::query(odd).execute(&mut operator).await.is_err());
}

/// The tier is there at once, for many calls in one batch and for one alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_tier_of_each_call_of_a_batch_is_kept() {
    let tiers = Tiers::simulated().await;
    tiers.set("flex").await;
    let run = tiers.stage.run(json!({})).await;
    let served = ["flex", "default", "priority", "scale"];
    let calls = (0..48).map(|nth| {
        let text = format!("[[sim usage=10:20 tier={}]]", served[nth % served.len()]);
        let (client, run) = (tiers.stage.client().clone(), run.clone());
        tokio::spawn(async move { client.ask(&run, &ask("tiered", &text)).await.status })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 200);
    }
    tiers.stage.client().settled(&run).await;
    let rows = tiers.stage.client().calls(&run).await;
    for tier in served {
        let kept = if tier == "default" { json!(null) } else { json!(tier) };
        let of_tier = rows.iter().filter(|row| row["service_tier"] == kept).count();
        assert_eq!(of_tier, 12, "{tier}");
    }
    tiers.stage.end().await;
}
