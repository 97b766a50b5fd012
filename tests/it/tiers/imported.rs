//! Prices of other tiers in LiteLLM's price map.

use rungate::catalog::import::import;
use rungate::catalog::price_map;
use rungate::catalog::{Catalog, Target};
use rungate::domain::price::Prices;
use serde_json::{Value, json};

/// Rows of the real map; `fixtures/price_map/README.md` names the source.
const MAP: &str = include_str!("../../../fixtures/price_map/litellm.json");

fn imported(map: &str, model: &str) -> Target {
    let built_in = Catalog::built_in().unwrap();
    let imported = import(price_map::read(map).unwrap(), &built_in, |_, _| true).unwrap();
    let catalog = Catalog::parse("imported", &imported.text).unwrap();
    Target::clone(&catalog.resolve(model, |_| true).unwrap())
}

/// Input, cached input, cache write, output.
fn texts(prices: &Prices) -> [String; 4] {
    let base = prices.base;
    let classes = [base.input, base.cached_input, base.cache_write, base.output];
    classes.map(|price| price.decimal().to_string())
}

#[test]
fn real_rows_bring_the_tiers_that_they_price_in_full() {
    let mini = imported(MAP, "openai/gpt-4o-mini");
    assert_eq!(texts(&mini.tiers.priority.unwrap()), ["0.25", "0.125", "0.25", "1"]);
    assert_eq!(mini.tiers.flex, None);
    let large = imported(MAP, "openai/gpt-5.4");
    let flex = large.tiers.flex.unwrap();
    assert_eq!(texts(&flex), ["1.25", "0.13", "1.25", "7.5"]);
    let long = flex.long_context.unwrap();
    assert_eq!(long.above.count(), 272_000);
    let long = Prices { base: long.prices, long_context: None };
    assert_eq!(texts(&long), ["2.5", "0.25", "2.5", "11.25"]);
    assert_eq!(large.tiers.priority, None, "it says nothing of long requests");
    for other in ["azure_openai/gpt-4o", "openai/text-embedding-3-small"] {
        assert!(imported(MAP, other).tiers.is_empty(), "{other}");
    }
}

/// A row with a cache, and other members on top.
fn row(members: Value) -> String {
    let mut row = json!({
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000,
        "max_output_tokens": 100, "input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6,
        "cache_read_input_token_cost": 5e-7,
        "input_cost_per_token_flex": 1e-6, "output_cost_per_token_flex": 2e-6,
        "cache_read_input_token_cost_flex": 2.5e-7,
    });
    for (name, value) in members.as_object().unwrap() {
        row[name] = value.clone();
    }
    json!({"new-model": row}).to_string()
}

#[test]
fn a_tier_that_is_not_priced_in_full_is_left_out_and_its_row_is_not() {
    let flex = |members| imported(&row(members), "new-model").tiers.flex;
    assert_eq!(texts(&flex(json!({})).unwrap()), ["1", "0.25", "1", "2"]);
    for members in [
        json!({"cache_read_input_token_cost_flex": null}),
        json!({"output_cost_per_token_flex": null}),
        json!({"input_cost_per_token_flex": 0.0}),
        json!({"input_cost_per_token_flex": "cheap"}),
        json!({"input_cost_per_token_flex": -1e-6}),
        // A class that the row has no price of, or nobody here.
        json!({"cache_creation_input_token_cost_flex": 1e-6}),
        json!({"input_cost_per_audio_token_flex": 1e-6}),
        // Long requests are another price in the row alone, or in the tier alone.
        json!({"input_cost_per_token_above_200k_tokens": 4e-6,
               "output_cost_per_token_above_200k_tokens": 6e-6,
               "cache_read_input_token_cost_above_200k_tokens": 1e-6}),
        json!({"input_cost_per_token_above_200k_tokens_flex": 4e-6}),
    ] {
        assert_eq!(flex(members.clone()), None, "{members}");
    }
    let long = json!({
        "input_cost_per_token_above_200k_tokens": 4e-6,
        "output_cost_per_token_above_200k_tokens": 6e-6,
        "cache_read_input_token_cost_above_200k_tokens": 1e-6,
        "input_cost_per_token_above_200k_tokens_flex": 2e-6,
        // Some write the tier before the threshold.
        "output_cost_per_token_flex_above_200k_tokens": 3e-6,
        "cache_read_input_token_cost_above_200k_tokens_flex": 5e-7,
    });
    let long = flex(long).unwrap().long_context.unwrap();
    let prices = Prices { base: long.prices, long_context: None };
    assert_eq!((long.above.count(), texts(&prices)), (200_000, texts_of("2 0.5 2 3")));
}

fn texts_of(text: &str) -> [String; 4] {
    let texts: Vec<String> = text.split(' ').map(str::to_owned).collect();
    texts.try_into().unwrap()
}
