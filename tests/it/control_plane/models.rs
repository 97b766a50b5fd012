//! The catalogue, as operators read it.

use rungate::catalog::Catalog;
use serde_json::{Value, json};

use super::app::App;
use crate::support::client::Answer;
use crate::support::gateway::TestGateway;

async fn models(app: &App, query: &str) -> Value {
    app.ask(&format!("GET /models{query}"), "").await.of(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_target_is_listed_with_its_prices_in_catalogue_order() {
    let app = App::new().await;
    let catalog = Catalog::built_in().unwrap();
    let listed = models(&app, "").await;
    assert_eq!(listed["price_version"], catalog.version());
    assert_eq!(listed["next"], Value::Null);
    let targets: Vec<_> = catalog.models().flat_map(|model| &model.targets).collect();
    let rows = listed["data"].as_array().unwrap();
    assert_eq!(rows.len(), targets.len());
    for (row, target) in rows.iter().zip(&targets) {
        let price = |price: &str| row[price].as_str().unwrap().parse().unwrap();
        let base = target.prices.base;
        assert_eq!(row["model"], target.model.as_str());
        assert_eq!(row["provider"], target.provider.name);
        assert_eq!(base.input.decimal(), price("input_usd_per_million"));
        assert_eq!(base.cached_input.decimal(), price("cached_input_usd_per_million"));
        assert_eq!(base.cache_write.decimal(), price("cache_write_usd_per_million"));
        assert_eq!(base.output.decimal(), price("output_usd_per_million"));
        assert_eq!(row["long_context"].is_null(), target.prices.long_context.is_none());
    }
    let row = rows.iter().find(|row| row["model"] == "gpt-4o-mini").unwrap();
    let whole = json!({
        "model": "gpt-4o-mini", "provider": "openai", "upstream_model": "gpt-4o-mini",
        "kind": "chat", "context_window": 128_000, "max_output_tokens": 16_384,
        "input_usd_per_million": "0.15", "cached_input_usd_per_million": "0.075",
        "cache_write_usd_per_million": "0.15", "output_usd_per_million": "0.6",
        "long_context": null, "tiers": {}, "example_price": false, "configured": false,
    });
    assert_eq!(*row, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_of_long_requests_stand_beside_the_others() {
    let app = App::new().await;
    let listed = models(&app, "").await;
    let rows = listed["data"].as_array().unwrap().iter();
    let long = rows.map(|row| &row["long_context"]).find(|long| long.is_object()).unwrap();
    let names = [
        "above",
        "cache_write_usd_per_million",
        "cached_input_usd_per_million",
        "input_usd_per_million",
        "output_usd_per_million",
    ];
    assert!(long.as_object().unwrap().keys().eq(names), "{long}");
    assert!(long["above"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_can_be_asked_for() {
    let app = App::new().await;
    let listed = models(&app, "?provider=deepseek").await;
    let rows = listed["data"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["provider"] == "deepseek"));
    for (query, param, says) in [
        (
            "?provider=nobody",
            "provider",
            "must be one of openai, anthropic, mistral, azure_openai, groq, deepseek, chutes, \
             openrouter, targon",
        ),
        ("?provider=openai&provider=groq", "provider", "is given twice; give it once"),
        ("?limit=5", "limit", "is not a parameter of this request; leave it out"),
    ] {
        let answer = app.ask(&format!("GET /models{query}"), "").await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_says_whether_its_provider_is_configured() {
    let gateway = TestGateway::serve(
        &crate::support::postgres::database().await,
        &[("SIMULATE_PROVIDERS", "false"), ("GROQ_API_KEY", "gsk-of-the-tests")],
    )
    .await;
    let request = gateway.client.operator(reqwest::Method::GET, "/models");
    let listed = Answer::of(request.send().await.unwrap()).await.json();
    for row in listed["data"].as_array().unwrap() {
        assert_eq!(row["configured"], row["provider"] == "groq", "{row}");
    }
    gateway.stop().await;
}
