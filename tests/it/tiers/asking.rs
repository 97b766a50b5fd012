//! Which tier a provider is asked for.

use serde_json::{Value, json};

use super::stage::{Tiers, ask, input};
use crate::data_plane::stage::with;
use crate::support::provider::ScriptedProvider;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// An answer that any format takes for one.
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m",
    "role":"assistant","type":"message","content":[],"output":[],"status":"completed",
    "choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":3,"completion_tokens":2,"input_tokens":3,"output_tokens":2}}"#;

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_for_the_organization_s_tier_where_the_model_has_its_prices() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let tiers = Tiers::before(&provider).await;
    for (set, path, body, asked) in [
        // Nothing is set yet.
        (None, CHAT, ask("tiered", "hi"), "default"),
        (None, RESPONSES, input("tiered", "hi"), "default"),
        (Some("default"), CHAT, ask("tiered", "hi"), "default"),
        (Some("flex"), CHAT, ask("tiered", "hi"), "flex"),
        (None, CHAT, with(ask("tiered", "hi"), json!({"stream": true})), "flex"),
        (None, CHAT, with(ask("tiered", "hi"), json!({"service_tier": "auto"})), "flex"),
        (None, CHAT, with(ask("tiered", "hi"), json!({"service_tier": "default"})), "flex"),
        (None, "/agents/inference", ask("tiered", "hi"), "flex"),
        (None, RESPONSES, input("tiered", "hi"), "flex"),
        (None, RESPONSES, with(input("tiered", "hi"), json!({"stream": true})), "flex"),
        // Translated into what its provider speaks.
        (None, MESSAGES, ask("tiered", "hi"), "flex"),
        (None, CHAT, ask("one-tier", "hi"), "default"),
        (None, CHAT, ask("plain", "hi"), "default"),
        (None, RESPONSES, input("plain", "hi"), "default"),
        (None, MESSAGES, ask("claude", "hi"), "standard_only"),
        (Some("priority"), CHAT, ask("one-tier", "hi"), "priority"),
        (None, RESPONSES, input("tiered", "hi"), "priority"),
        (None, CHAT, ask("plain", "hi"), "default"),
        (None, MESSAGES, ask("claude", "hi"), "standard_only"),
        (Some("default"), CHAT, ask("tiered", "hi"), "default"),
    ] {
        if let Some(tier) = set {
            tiers.set(tier).await;
        }
        let before = provider.seen().len();
        let run = tiers.stage.run(json!({})).await;
        let answer = tiers.post(&run, path, &body).await;
        let seen = provider.seen();
        assert_eq!(seen.len(), before + 1, "{path} {body}: {}", answer.text);
        assert_eq!(body_of(&seen[before])["service_tier"], asked, "{path} {body}");
    }
    tiers.stage.gateway.stop().await;
}

/// The organization decides, not its agents.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_no_tier_but_the_default_one_whatever_its_organization_has_set() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let tiers = Tiers::before(&provider).await;
    let run = tiers.stage.run(json!({})).await;
    for set in ["default", "flex", "priority"] {
        tiers.set(set).await;
        for tier in ["flex", "priority", "fast", "scale"] {
            for (path, body) in [(CHAT, ask("tiered", "hi")), (RESPONSES, input("tiered", "hi"))] {
                let body = with(body, json!({"service_tier": tier}));
                let answer = tiers.post(&run, path, &body).await;
                let refused = (answer.status, answer.code());
                assert_eq!(refused, (400, "parameter_not_allowed".to_owned()), "{}", answer.text);
                assert_eq!(answer.json()["error"]["param"], "service_tier");
            }
        }
    }
    assert!(provider.seen().is_empty());
    tiers.stage.end().await;
}
