//! A gateway with models of several tiers, and organizations that have set one.

use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::MODELS;
use crate::data_plane::stage::{MAX_TOKENS, Stage, decimal};
use crate::support::client::{Answer, Run};
use crate::support::provider::ScriptedProvider;

/// A model that nobody can ask another tier of.
pub(super) const CLAUDE: &str = r#"
[[models]]
name = "claude"
provider = "anthropic"
context_window = 200000
max_output_tokens = 8192
tokenizer = "bytes"
input = "3"
output = "15"
bound = { per_request = 16, per_message = 8, per_tool = 32 }
"#;

/// Millionths of a dollar for a token: input, cached input, output.
pub(super) type PerToken = [&'static str; 3];

pub(super) const DEFAULT: PerToken = ["1.25", "0.125", "10"];
pub(super) const FLEX: PerToken = ["0.625", "0.0625", "5"];
pub(super) const PRIORITY: PerToken = ["2.5", "0.25", "20"];
pub(super) const PLAIN: PerToken = ["0.5", "0.5", "4"];

/// A gateway on a database of its own, and its file of models.
pub(super) struct Tiers {
    pub stage: Stage,
    _folder: TempDir,
}

impl Tiers {
    /// Before the simulated provider.
    pub(super) async fn simulated() -> Self {
        Self::with(&[]).await
    }

    /// Before a provider that answers what the test says.
    pub(super) async fn before(provider: &ScriptedProvider) -> Self {
        let url = provider.base_url();
        Self::with(&[
            ("SIMULATE_PROVIDERS", "false"),
            ("OPENAI_BASE_URL", &url),
            ("OPENAI_API_KEY", "k"),
            ("ANTHROPIC_BASE_URL", &url),
            ("ANTHROPIC_API_KEY", "k"),
        ])
        .await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.toml");
        std::fs::write(&path, format!("{MODELS}{CLAUDE}")).unwrap();
        let mut all = vec![("MODELS_FILE", path.to_str().unwrap())];
        all.extend_from_slice(settings);
        Self { stage: Stage::simulated(&all).await, _folder: folder }
    }

    /// What the default organization's calls ask for from now on.
    pub(super) async fn set(&self, tier: &str) {
        let answer = self.put(json!({"service_tier": tier})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["service_tier"], tier);
    }

    /// Puts settings of the default organization, on top of a limit.
    pub(super) async fn put(&self, mut settings: Value) -> Answer {
        settings["monthly_cost_limit_cents"] = json!(100_000);
        let path = "/organizations/default/inference/settings";
        let put = self.stage.client().operator(Method::PUT, path).json(&settings);
        Answer::of(put.send().await.unwrap()).await
    }

    /// A call by any path of the data plane.
    pub(super) async fn post(&self, run: &Run, path: &str, body: &Value) -> Answer {
        let client = self.stage.client();
        let url = format!("{}{path}", client.data);
        let post = client.http.post(url).bearer_auth(&run.token).json(body);
        Answer::of(post.send().await.unwrap()).await
    }

    /// The one row of a run, once it is there, and its cost.
    pub(super) async fn row(&self, run: &Run) -> (Value, Decimal) {
        let usage = self.stage.client().settled(run).await;
        let mut rows = self.stage.client().calls(run).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        let row = rows.remove(0);
        assert_eq!(usage["spent_usd"], row["cost_usd"]);
        let cost = decimal(&row["cost_usd"]);
        (row, cost)
    }
}

/// What these tokens cost, to the last digit.
pub(super) fn cost(prices: PerToken, [input, cached, output]: [u64; 3]) -> Decimal {
    let [fresh, cache, out] = prices.map(|price| Decimal::from_str_exact(price).unwrap());
    let tokens = |count: u64| Decimal::from(count);
    let sum = fresh * tokens(input - cached) + cache * tokens(cached) + out * tokens(output);
    (sum / Decimal::from(1_000_000)).normalize()
}

/// The most input of a call of one message: its bytes, and what the models' rows put around it.
pub(super) fn strict_input(text: &str) -> u64 {
    16 + 8 + serde_json::to_string(text).unwrap().len() as u64
}

/// A chat body of one message with a known output limit.
pub(super) fn ask(model: &str, text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": model, "messages": messages, "max_tokens": MAX_TOKENS})
}

/// A body of responses.
pub(super) fn input(model: &str, text: &str) -> Value {
    json!({"model": model, "input": text, "max_output_tokens": MAX_TOKENS})
}
