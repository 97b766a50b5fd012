//! What is charged for an answer, whichever tier served it, and what stands in its row.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{
    DEFAULT, FLEX, PLAIN, PRIORITY, PerToken, Tiers, ask, cost, input, strict_input,
};
use crate::data_plane::stage::{MAX_TOKENS, decimal};
use crate::support::provider::{ScriptedProvider, Then, response};

/// What the provider reports in each case: input, the cached part of it, output.
const USED: [u64; 3] = [10, 4, 20];

/// One answer of the simulated provider, which names the tier that it was asked for unless told
/// otherwise: what is charged, the tier that is kept, and the flag.
struct Case {
    set: &'static str,
    does: &'static str,
    prices: PerToken,
    tier: Option<&'static str>,
    flag: Option<&'static str>,
}

const fn case(set: &'static str, does: &'static str, prices: PerToken) -> Case {
    Case { set, does, prices, tier: None, flag: None }
}

const fn kept(case: Case, tier: &'static str, flag: Option<&'static str>) -> Case {
    Case { tier: Some(tier), flag, ..case }
}

const UNASKED: Option<&str> = Some("unasked_tier");
const UNPRICED: Option<&str> = Some("unpriced_tier");
const UNKNOWN: Option<&str> = Some("unknown_model");
/// Input at the price of uncached input: nobody knows whether there is a discount.
const FLEX_UNDISCOUNTED: PerToken = ["0.625", "0.625", "5"];

const CASES: &[Case] = &[
    case("default", "", DEFAULT),
    case("default", "no_tier", DEFAULT),
    case("default", "tier=auto", DEFAULT),
    kept(case("default", "tier=flex", FLEX), "flex", UNASKED),
    kept(case("default", "tier=priority", PRIORITY), "priority", UNASKED),
    kept(case("default", "tier=scale", PRIORITY), "scale", UNPRICED),
    kept(case("flex", "", FLEX), "flex", None),
    kept(case("flex", "no_tier", FLEX), "flex", None),
    kept(case("flex", "tier=auto", FLEX), "flex", None),
    case("flex", "tier=default", DEFAULT),
    kept(case("flex", "tier=priority", PRIORITY), "priority", UNASKED),
    kept(case("flex", "tier=scale", PRIORITY), "scale", UNPRICED),
    kept(case("flex", "served=tiered-2026-01-02", FLEX), "flex", None),
    case("flex", "served=tiered-2026-01-02 tier=default", DEFAULT),
    case("flex", "served=plain tier=default", PLAIN),
    // The one that answered has no prices of that tier: the asked one's are the dearest known.
    kept(case("flex", "served=plain", FLEX), "flex", UNPRICED),
    kept(case("flex", "served=nobody", FLEX_UNDISCOUNTED), "flex", UNKNOWN),
    kept(case("priority", "", PRIORITY), "priority", None),
    kept(case("priority", "no_tier", PRIORITY), "priority", None),
    kept(case("priority", "tier=fast", PRIORITY), "priority", None),
    case("priority", "tier=default", DEFAULT),
    kept(case("priority", "tier=flex", FLEX), "flex", UNASKED),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_charged_at_the_tier_that_served_it() {
    let tiers = Tiers::simulated().await;
    for Case { set, does, prices, tier, flag } in CASES {
        tiers.set(set).await;
        for stream in [false, true] {
            let name = format!("{set} {does} {stream}");
            let run = tiers.stage.run(json!({})).await;
            let mut body = ask("tiered", &format!("[[sim usage=10:20 cached=4 {does}]]"));
            body["stream"] = json!(stream);
            let answer = tiers.stage.client().ask(&run, &body).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text);
            let (row, charged) = tiers.row(&run).await;
            assert_eq!(charged, cost(*prices, USED), "{name}: {row}");
            let told = (&row["service_tier"], &row["flag"], &row["cost_source"]);
            assert_eq!(told, (&json!(tier), &json!(flag), &json!("usage")), "{name}");
            if !stream {
                let header = answer.header("x-run-cost-usd").unwrap();
                assert_eq!(decimal(&json!(header)), charged, "{name}");
            }
        }
    }
    tiers.stage.end().await;
}

/// The simulated provider says nothing of tiers in these formats, or not to this client.
#[tokio::test(flavor = "multi_thread")]
async fn calls_in_other_formats_are_charged_at_the_organization_s_tier() {
    let tiers = Tiers::simulated().await;
    for (set, prices, tier) in [
        ("default", DEFAULT, None),
        ("flex", FLEX, Some("flex")),
        ("priority", PRIORITY, Some("priority")),
    ] {
        tiers.set(set).await;
        let text = "[[sim usage=10:20 cached=4]]";
        for (path, mut body) in [
            ("/v1/responses", input("tiered", text)),
            ("/v1/messages", ask("tiered", text)),
            ("/agents/inference", ask("tiered", text)),
        ] {
            for stream in [false, true] {
                let run = tiers.stage.run(json!({})).await;
                body["stream"] = json!(stream);
                let answer = tiers.post(&run, path, &body).await;
                assert_eq!(answer.status, 200, "{set} {path}: {}", answer.text);
                let (row, charged) = tiers.row(&run).await;
                assert_eq!(charged, cost(prices, USED), "{set} {path} {stream}: {row}");
                assert_eq!(row["service_tier"], json!(tier), "{set} {path}");
            }
        }
    }
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_prices_of_the_tier_is_served_and_charged_in_the_default_one() {
    let tiers = Tiers::simulated().await;
    for (set, model, prices) in [
        ("flex", "plain", PLAIN),
        ("priority", "plain", PLAIN),
        ("flex", "one-tier", ["1", "1", "8"]),
    ] {
        tiers.set(set).await;
        let run = tiers.stage.run(json!({})).await;
        let body = ask(model, "[[sim usage=10:20 cached=4]]");
        let answer = tiers.stage.client().ask(&run, &body).await;
        assert_eq!(
            answer.json()["service_tier"],
            "default",
            "the provider tells what it was asked"
        );
        let (row, charged) = tiers.row(&run).await;
        assert_eq!((charged, &row["flag"]), (cost(prices, USED), &Value::Null), "{set} {model}");
        assert_eq!(row["service_tier"], Value::Null);
    }
    tiers.stage.end().await;
}

/// A provider may serve the default tier although another one was asked for, so what is reserved
/// is the dearer of both.
#[tokio::test(flavor = "multi_thread")]
async fn the_dearer_of_the_asked_tier_and_the_default_one_is_reserved() {
    let tiers = Tiers::simulated().await;
    for (set, prices) in [("default", DEFAULT), ("flex", DEFAULT), ("priority", PRIORITY)] {
        tiers.set(set).await;
        let worst = cost(prices, [strict_input("hi"), 0, MAX_TOKENS]);
        let least = Decimal::new(1, 9);
        for (cap, status) in [(worst, 200), (worst - least, 402)] {
            let fields = json!({"cost_limit_usd": cap.to_string(), "on_cap": "refuse"});
            let run = tiers.stage.run(fields).await;
            let answer = tiers.stage.client().ask(&run, &ask("tiered", "hi")).await;
            assert_eq!(answer.status, status, "{set} {cap}: {}", answer.text);
            if status == 402 {
                assert_eq!(decimal(&answer.json()["error"]["worst_case_usd"]), worst);
            }
        }
    }
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_the_usage_of_costs_the_dearer_of_both_tiers() {
    let tiers = Tiers::simulated().await;
    for (set, prices, tier) in [
        ("default", DEFAULT, None),
        ("flex", DEFAULT, Some("flex")),
        ("priority", PRIORITY, Some("priority")),
    ] {
        tiers.set(set).await;
        let text = "[[sim no_usage]]";
        let run = tiers.stage.run(json!({})).await;
        assert_eq!(tiers.stage.client().ask(&run, &ask("tiered", text)).await.status, 200);
        let (row, charged) = tiers.row(&run).await;
        assert_eq!(charged, cost(prices, [strict_input(text), 0, MAX_TOKENS]), "{set}");
        assert_eq!(
            (&row["cost_source"], &row["service_tier"]),
            (&json!("worst_case"), &json!(tier))
        );
        // A refusal buys nothing, in no tier.
        let run = tiers.stage.run(json!({})).await;
        let answer = tiers.stage.client().ask(&run, &ask("tiered", "[[sim status=400]]")).await;
        assert_eq!(answer.status, 400);
        let (row, charged) = tiers.row(&run).await;
        assert_eq!((charged, &row["service_tier"]), (Decimal::ZERO, &Value::Null));
    }
    tiers.stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_charged_at_the_tier_that_their_object_names() {
    for (set, named, prices, tier, flag) in [
        ("default", json!("default"), DEFAULT, None, None),
        ("flex", json!("flex"), FLEX, Some("flex"), None),
        ("flex", json!("default"), DEFAULT, None, None),
        ("flex", Value::Null, FLEX, Some("flex"), None),
        ("flex", json!("ultrafast"), PRIORITY, Some("ultrafast"), UNPRICED),
        ("flex", json!(7), PRIORITY, Some("7"), UNPRICED),
        ("priority", json!("priority"), PRIORITY, Some("priority"), None),
        ("priority", json!("default"), DEFAULT, None, None),
    ] {
        let object = json!({
            "id": "r", "object": "response", "status": "completed", "model": "tiered",
            "output": [{"type": "message"}], "service_tier": named,
            "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4},
                      "output_tokens": 20},
        });
        let created = json!({"type": "response.created", "response": {"service_tier": "priority"}});
        let done = json!({"type": "response.completed", "response": object});
        let events = format!("data: {created}\n\ndata: {done}\n\n");
        let provider = ScriptedProvider::in_turn([
            (response("200 OK", "application/json", &object.to_string()), Then::Close),
            (response("200 OK", "text/event-stream", &events), Then::Close),
        ])
        .await;
        let tiers = Tiers::before(&provider).await;
        tiers.set(set).await;
        for stream in [false, true] {
            let name = format!("{set} {named} {stream}");
            let run = tiers.stage.run(json!({})).await;
            let mut body = input("tiered", "hi");
            body["stream"] = json!(stream);
            let answer = tiers.post(&run, "/v1/responses", &body).await;
            let expected = if stream { events.clone() } else { object.to_string() };
            assert_eq!(answer.text, expected, "{name}: it passes as it came");
            let (row, charged) = tiers.row(&run).await;
            assert_eq!(charged, cost(prices, USED), "{name}: {row}");
            let told = (&row["service_tier"], &row["flag"]);
            assert_eq!(told, (&json!(tier), &json!(flag)), "{name}");
        }
        tiers.stage.end().await;
    }
}
