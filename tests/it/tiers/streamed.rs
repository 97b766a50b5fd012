//! Streams that break, and streams that tell what they cost.

use rungate::catalog::tokenizer::Tokenizer;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{DEFAULT, FLEX, PRIORITY, Tiers, ask, cost, strict_input};
use crate::data_plane::endings_streams::{content, events};
use crate::data_plane::stage::with;

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_is_at_the_dearer_of_the_asked_tier_and_the_default_one() {
    let tiers = Tiers::simulated().await;
    for (set, prices) in [("default", DEFAULT), ("flex", DEFAULT), ("priority", PRIORITY)] {
        tiers.set(set).await;
        for does in ["cut=5", "no_usage", "no_usage tier=default"] {
            let text = format!("[[sim {does}]]");
            let run = tiers.stage.run(json!({})).await;
            let body = with(ask("tiered", &text), json!({"stream": true}));
            let answer = tiers.stage.client().ask(&run, &body).await;
            let (row, charged) = tiers.row(&run).await;
            assert_eq!(row["cost_source"], "estimate", "{set} {does}: {}", answer.text);
            // These models have no vocabulary: a token is a byte of the text without its quotes.
            let input = strict_input(&text) - 2;
            let seen = Tokenizer::Bytes.count(&content(&answer.text)).min(50);
            let expected = cost(prices, [input, 0, seen]);
            assert_eq!(charged, expected, "{set} {does}");
        }
    }
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_told_the_cost_is_told_that_of_the_tier_that_served() {
    let tiers = Tiers::simulated().await;
    tiers.set("flex").await;
    for (does, prices) in [("", FLEX), ("tier=default", DEFAULT), ("tier=priority", PRIORITY)] {
        for stream in [false, true] {
            let run = tiers.stage.run(json!({})).await;
            let asked = json!({"stream": stream, "usage": {"include": true}});
            let body = with(ask("tiered", &format!("[[sim usage=10:20 {does}]]")), asked);
            let answer = tiers.stage.client().ask(&run, &body).await;
            let all = if stream { events(&answer.text) } else { vec![answer.json()] };
            let told: Vec<&Value> =
                all.iter().map(|it| &it["usage"]).filter(|it| it.is_object()).collect();
            let told = told.last().unwrap()["cost"].to_string();
            let expected = cost(prices, [10, 0, 20]);
            assert_eq!(Decimal::from_str_exact(&told).unwrap(), expected, "{does} {stream}");
            assert_eq!(tiers.row(&run).await.1, expected);
        }
    }
    tiers.stage.end().await;
}
