//! Models that are not what they are called: look-alikes, routes of a provider, and other prices.

use std::process::{Command, Stdio};

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{ANSWER, body_of};
use crate::data_plane::stage::{MODEL, Stage, ask, ask_of, cost, decimal, with};
use crate::support::provider::ScriptedProvider;
use crate::support::watch;

/// Names that are like a model's, and like nothing in the catalogue.
const LOOK_ALIKES: &[&str] = &[
    "GPT-4o-mini",
    "gpt-4o-Mini",
    "gpt.4o.mini",
    "gpt-4o-mini.",
    "gpt-4o-mini ",
    " gpt-4o-mini",
    "\u{a0}gpt-4o-mini",
    "gpt-4o-mini\u{200b}",
    "gpt-4o-mini\u{feff}",
    "gpt‑4o‑mini",
    "gpt-4о-mini",
    "ｇｐｔ-4o-mini",
    "gpt-4o-mini\u{301}",
    "gpt-4o_mini",
    "gpt-4o-mini/",
    "/gpt-4o-mini",
    "openai//gpt-4o-mini",
    "OpenAI/gpt-4o-mini",
    "openai/ gpt-4o-mini",
    "openai/openai/gpt-4o-mini",
    "openai\\gpt-4o-mini",
    "openai%2Fgpt-4o-mini",
    "../gpt-4o-mini",
    "models/gpt-4o-mini",
    "gpt-4o-mini;gpt-4o",
    "gpt-4o-mini,gpt-4o",
    "gpt-4o-mini?x=1",
    "gpt-4o-mini#a",
    "gpt-4o-mini'--",
    "gpt-4o-mini:online",
    "gpt-4o-mini:nitro",
    "gpt-4o-mini:floor",
    "gpt-4o-mini:free",
    "openrouter/auto",
    "openrouter/openai/gpt-4o-mini:online",
    "@preset/x",
    "ft:gpt-4o-mini:o::1",
    "gpt-4o-mini-2099-01-01",
    "*",
    "default",
    "auto",
    "null",
    "undefined",
    "__proto__",
];

/// Threat 9, and of threat 10 what stands in a model's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_only_like_a_models_is_none_and_nothing_is_forwarded() {
    let provider = ScriptedProvider::json(ANSWER).await;
    // Every provider is there, so nothing is refused for want of one.
    let url = provider.base_url();
    let settings = [("OPENROUTER_API_KEY", "other-key"), ("OPENROUTER_BASE_URL", url.as_str())];
    let stage = Stage::before(&provider, &settings).await;
    let run = stage.run(json!({})).await;
    for name in LOOK_ALIKES {
        let answer = stage.client().ask(&run, &ask_of(name, "hi")).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "invalid_model".to_owned()), "{name:?}: {}", answer.text);
    }
    let long = "gpt-4o-mini".repeat(100);
    for name in
        ["", "gpt-4o-mini\u{0}", "\u{0}gpt-4o-mini", "gpt-4o-mini\n", "gpt-4o\r\nx: y", &long]
    {
        let answer = stage.client().ask(&run, &ask_of(name, "hi")).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "invalid_request".to_owned()), "{name:?}: {}", answer.text);
    }
    for other in [json!(null), json!(["gpt-4o-mini"]), json!({"id": "gpt-4o-mini"}), json!(4)] {
        let answer = stage.client().ask(&run, &with(ask("hi"), json!({"model": other}))).await;
        assert_eq!(answer.status, 400, "{other}: {}", answer.text);
    }
    assert!(provider.seen().is_empty());
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
    stage.end().await;
}

/// Threat 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_zero_admits_nothing() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    for cap in ["0", "0.000", "0.000000000000000001"] {
        let run = stage.run(json!({"cost_limit_usd": cap})).await;
        for body in [ask("hi"), ask(""), with(ask("hi"), json!({"max_tokens": 1}))] {
            let answer = stage.client().ask(&run, &body).await;
            assert_eq!(answer.code(), "cost_limit_exceeded", "{cap}: {}", answer.text);
        }
        assert_eq!(stage.client().usage(&run).await["calls"], 0);
    }
    assert!(provider.seen().is_empty());
    stage.end().await;
}

/// Threat 9.
#[test]
fn a_gateway_with_an_unpriced_model_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let built_in = include_str!("../../../src/catalog/models/targon.toml");
    let without = |start: &str| -> String {
        let kept = built_in.lines().filter(|line| !line.starts_with(start));
        kept.map(|line| format!("{line}\n")).collect()
    };
    let unpriced = without("output = ");
    assert_ne!(unpriced, built_in);
    let negative = built_in.replace("\noutput = \"", "\noutput = \"-");
    for (name, text) in [
        ("no price of output", unpriced),
        ("no price of input", without("input = ")),
        ("no largest output", without("max_output_tokens")),
        ("no window", without("context_window")),
        ("a negative price", negative),
    ] {
        let file = folder.path().join("models.toml");
        std::fs::write(&file, &text).unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_rungate"))
            .arg("serve")
            .current_dir(folder.path())
            .env("MODELS_FILE", &file)
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("ADMIN_LISTEN_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        watch::output(&ended);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success(), "{name}: {said}");
        assert!(said.contains("models.toml"), "{name}: {said}");
    }
}

/// Threat 10.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_model_is_priced_as_that_model_and_told_if_it_is_dearer() {
    for (served, priced, flag) in [
        (MODEL, MODEL, Value::Null),
        ("gpt-4o", "gpt-4o", json!("over_reservation")),
        ("gpt-4.1-nano", "gpt-4.1-nano", Value::Null),
        // Nobody knows what it costs, so it is what was asked for, without discounts.
        ("gpt-5000-ultra", MODEL, json!("unknown_model")),
    ] {
        let answer = ANSWER.replace(MODEL, served).replace(":1,", ":50,");
        let provider = ScriptedProvider::json(&answer).await;
        let stage = Stage::before(&provider, &[]).await;
        let run = stage.run(json!({})).await;
        assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
        let spent = decimal(&stage.client().settled(&run).await["spent_usd"]);
        assert_eq!(spent, cost(priced, 9, 0, 50), "{served}");
        assert!(spent > Decimal::ZERO);
        let row = &stage.client().calls(&run).await[0];
        let told = (&row["model"], &row["served_model"], &row["flag"]);
        assert_eq!(told, (&json!(MODEL), &json!(served), &flag), "{row}");
        stage.end().await;
    }
}

/// Threat 10.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_body_chooses_another_model_or_another_tier() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    for fields in [
        json!({"models": ["openai/o1-pro"]}),
        json!({"route": "fallback"}),
        json!({"provider": {"order": ["x"]}}),
        json!({"fallbacks": [{"model": "o1"}]}),
        json!({"transforms": ["middle-out"]}),
        json!({"preset": "x"}),
        json!({"extra_body": {"models": ["o1"]}}),
        json!({"engine": "o1"}),
        json!({"deployment_id": "o1"}),
        json!({"custom_llm_provider": "azure"}),
        json!({"service_tier": "priority"}),
        json!({"service_tier": "flex"}),
        json!({"service_tier": "Default"}),
        json!({"speed": "fast"}),
        json!({"prompt_cache_retention": "24h"}),
        json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
    ] {
        let answer = stage.client().ask(&run, &with(ask("hi"), fields.clone())).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "parameter_not_allowed".to_owned()), "{fields}: {}", answer.text);
    }
    assert!(provider.seen().is_empty());
    let fine = with(ask("hi"), json!({"service_tier": "auto"}));
    assert_eq!(stage.client().ask(&run, &fine).await.status, 200);
    let body = body_of(&provider.seen()[0]);
    assert_eq!((&body["model"], &body["service_tier"]), (&json!(MODEL), &json!("default")));
    stage.end().await;
}
