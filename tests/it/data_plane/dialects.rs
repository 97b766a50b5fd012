//! Providers that differ from OpenAI: their addresses, their keys, what they take and what not; and
//! models that no chat completion fits.

use serde_json::{Value, json};

use super::refused::{Checked, refused};
use super::stage::{MAX_TOKENS, PROVIDER_KEY, Stage, ask_of, cost, decimal, with};
use crate::support::provider::ScriptedProvider;
use rungate::providers;
use rungate::upstream::Access;

const CLAUDE: &str = "claude-sonnet-5-5";

/// The headers that could carry a key, and the body.
fn sent(provider: &ScriptedProvider) -> (Vec<String>, Value) {
    let seen = provider.seen();
    let (head, body) = seen.last().unwrap().split_once("\r\n\r\n").unwrap();
    let mut keys: Vec<String> = head
        .lines()
        .map(str::to_ascii_lowercase)
        .filter(|line| line.contains("key") || line.starts_with("authorization"))
        .collect();
    keys.sort();
    (keys, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_gets_its_key_under_its_own_header_at_the_address_of_the_customer() {
    let answer = json!({
        "model": "gpt-4o-mini-2024-07-18", "choices": [],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3,
                  "prompt_tokens_details": {"cached_tokens": 4}},
    });
    let provider = ScriptedProvider::json(&answer.to_string()).await;
    let base = format!("http://{}/openai/v1/", provider.address);
    let settings = [
        ("SIMULATE_PROVIDERS", "false"),
        ("AZURE_OPENAI_API_KEY", PROVIDER_KEY),
        ("AZURE_OPENAI_BASE_URL", &base),
    ];
    let stage = Stage::simulated(&settings).await;
    let run = stage.run(json!({})).await;
    for name in ["gpt-4o-mini", "azure_openai/gpt-4o-mini"] {
        let answer = stage.client().ask(&run, &with(ask_of(name, "hi"), json!({"seed": 7}))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let billed = answer.header("x-run-cost-usd").unwrap().to_owned();
        assert_eq!(decimal(&json!(billed)), cost("gpt-4o-mini", 11, 4, 3), "{name}");
        let (keys, body) = sent(&provider);
        assert_eq!(keys, [format!("api-key: {PROVIDER_KEY}")]);
        let expected = json!({
            "messages": [{"role": "user", "content": "hi"}],
            "model": "gpt-4o-mini",
            "max_completion_tokens": MAX_TOKENS,
            "seed": 7,
        });
        assert_eq!(body, expected, "{name}");
    }
    let line = provider.seen()[0].lines().next().unwrap().to_owned();
    assert_eq!(line, "POST /openai/v1/chat/completions HTTP/1.1");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_an_address_of_its_own_is_not_configured_by_a_key_alone() {
    let settings = [("SIMULATE_PROVIDERS", "false"), ("AZURE_OPENAI_API_KEY", PROVIDER_KEY)];
    let stage = Stage::simulated(&settings).await;
    let run = stage.run(json!({})).await;
    let mut checked = Checked::default();
    for (name, setting) in [
        ("azure_openai/gpt-4o-mini", "AZURE_OPENAI_API_KEY and AZURE_OPENAI_BASE_URL"),
        ("gpt-35-turbo", "AZURE_OPENAI_API_KEY and AZURE_OPENAI_BASE_URL"),
        ("gpt-4o-mini", "OPENAI_API_KEY"),
        (CLAUDE, "ANTHROPIC_API_KEY"),
    ] {
        let answer = stage.client().ask(&run, &ask_of(name, "hi")).await;
        let says = format!(
            "The provider of this model is not configured. Its operator can set {setting}."
        );
        checked.refusal(name, &answer, &refused("provider_not_configured", says).param("model"));
    }
    checked.done();
    stage.end().await;
}

#[test]
fn there_is_no_access_to_a_provider_without_an_address() {
    let error = Access::new(providers::find("azure_openai").unwrap(), None, None).err().unwrap();
    let says = "AZURE_OPENAI_BASE_URL is not set; the provider has no address of its own";
    assert_eq!(error.to_string(), says);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_or_its_provider_cannot_do_is_refused_before_anything_is_reserved() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let narrow = stage.run(json!({"allowed_models": ["gpt-4o"]})).await;
    let mut checked = Checked::default();
    for name in [CLAUDE, "groq/openai/gpt-oss-20b"] {
        let body = with(ask_of(name, "hi"), json!({"n": 2}));
        let answer = stage.client().ask(&run, &body).await;
        let model = name.trim_start_matches("groq/");
        let says = format!("{model} gives one answer to a call; leave out `n`.");
        checked.refusal(name, &answer, &refused("parameter_not_allowed", says).param("n"));
        let one = with(ask_of(name, "hi"), json!({"n": 1}));
        assert_eq!(stage.client().ask(&run, &one).await.status, 200, "{name}");
    }
    for (run, name, model) in [
        (&run, "text-embedding-3-small", "text-embedding-3-small"),
        (&run, "mistral/mistral-embed", "mistral-embed"),
        (&narrow, "text-embedding-3-small", "text-embedding-3-small"),
    ] {
        let answer = stage.client().ask(run, &ask_of(name, "hi")).await;
        let says = format!(
            "{model} makes embeddings, not chat completions. GET /v1/models tells the kinds."
        );
        checked.refusal(name, &answer, &refused("invalid_model", says).param("model"));
    }
    checked.done();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_fit_is_told_before_a_provider_that_is_not_configured() {
    let stage = Stage::simulated(&[("SIMULATE_PROVIDERS", "false")]).await;
    let run = stage.run(json!({})).await;
    for (name, code) in [
        ("text-embedding-3-small", "invalid_model"),
        ("azure_openai/ada", "invalid_model"),
        ("gpt-4o", "provider_not_configured"),
    ] {
        let answer = stage.client().ask(&run, &ask_of(name, "hi")).await;
        assert_eq!(answer.code(), code, "{name}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_a_model_of_another_kind_costs_what_the_asked_one_does() {
    for named in ["text-embedding-3-small", "gpt-4o-2024-05-13"] {
        let answer = json!({
            "model": named, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9},
        });
        let provider = ScriptedProvider::json(&answer.to_string()).await;
        let stage = Stage::before(&provider, &[]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask_of("gpt-4o-mini", "hi")).await;
        let billed = answer.header("x-run-cost-usd").unwrap().to_owned();
        let priced = if named.starts_with("text") { "gpt-4o-mini" } else { named };
        assert_eq!(decimal(&json!(billed)), cost(priced, 9, 0, 9), "{named}");
        stage.end().await;
    }
}
