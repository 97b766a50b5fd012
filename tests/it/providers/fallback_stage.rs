//! Three providers of one model, each dearer than the one before, and calls of runs that may move.

use rungate::catalog::tokenizer::Tokenizer;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::data_plane::stage::{MODEL, PROVIDER_KEY, Stage, decimal};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

/// OpenAI, Azure and Anthropic, in this order; Anthropic comes before OpenAI for `other`.
const MODELS: &str = r#"
[[models]]
name = "gpt-4o-mini"
provider = "openai"
context_window = 100000
max_output_tokens = 1000
tokenizer = "o200k"
input = "1"
output = "10"
bound = { per_request = 10, per_message = 10, per_tool = 10, per_image = 100 }

[[models]]
name = "gpt-4o-mini"
provider = "azure_openai"
context_window = 90000
max_output_tokens = 400
tokenizer = "cl100k"
input = "2.5"
output = "25.1"
bound = { per_request = 20, per_message = 20, per_tool = 20 }

[[models]]
name = "gpt-4o-mini"
provider = "anthropic"
upstream_model = "claude-mini"
context_window = 80000
max_output_tokens = 1000
tokenizer = "bytes"
input = "3"
output = "30.003"
bound = { per_request = 30, per_message = 30, per_tool = 30, per_image = 100 }

[[models]]
name = "other"
provider = "anthropic"
context_window = 80000
max_output_tokens = 1000
tokenizer = "bytes"
input = "3"
output = "30.003"
bound = { per_request = 30, per_message = 30, per_tool = 30 }

[[models]]
name = "other"
provider = "openai"
context_window = 100000
max_output_tokens = 1000
tokenizer = "o200k"
input = "1"
output = "10"
bound = { per_request = 10, per_message = 10, per_tool = 10 }

[[models]]
name = "alone"
provider = "openai"
context_window = 100000
max_output_tokens = 1000
tokenizer = "o200k"
input = "1"
output = "10"
bound = { per_request = 10, per_message = 10, per_tool = 10 }
"#;

pub(super) const OPENAI: (&str, &str) = ("1", "10");
pub(super) const AZURE: (&str, &str) = ("2.5", "25.1");
pub(super) const ANTHROPIC: (&str, &str) = ("3", "30.003");

/// A script, one answer after the other.
pub(super) type Script = Vec<(String, Then)>;

/// The gateway before its providers.
pub(super) struct Chain {
    pub(super) stage: Stage,
    pub(super) openai: ScriptedProvider,
    pub(super) azure: ScriptedProvider,
    pub(super) anthropic: ScriptedProvider,
    _catalog: TempDir,
}

impl Chain {
    /// Each provider with its script; one try at each unless a setting says otherwise.
    pub(super) async fn of(scripts: [Script; 3], settings: &[(&str, &str)]) -> Self {
        let [openai, azure, anthropic] = scripts;
        let azure = ScriptedProvider::in_turn(azure).await;
        Self::with(ScriptedProvider::in_turn(openai).await, azure, anthropic, settings).await
    }

    pub(super) async fn with(
        openai: ScriptedProvider,
        azure: ScriptedProvider,
        anthropic: Script,
        settings: &[(&str, &str)],
    ) -> Self {
        let anthropic = ScriptedProvider::in_turn(anthropic).await;
        let catalog = tempfile::tempdir().unwrap();
        let path = catalog.path().join("models.toml");
        std::fs::write(&path, MODELS).unwrap();
        let urls = [&openai, &azure, &anthropic].map(ScriptedProvider::base_url);
        let mut all = vec![
            ("SIMULATE_PROVIDERS", "false"),
            ("MODELS_FILE", path.to_str().unwrap()),
            ("OPENAI_BASE_URL", &urls[0]),
            ("OPENAI_API_KEY", PROVIDER_KEY),
            ("AZURE_OPENAI_BASE_URL", &urls[1]),
            ("AZURE_OPENAI_API_KEY", PROVIDER_KEY),
            ("ANTHROPIC_BASE_URL", &urls[2]),
            ("ANTHROPIC_API_KEY", PROVIDER_KEY),
            ("UPSTREAM_RETRIES", "0"),
            ("WORKERS", "1"),
        ];
        all.extend_from_slice(settings);
        let stage = Stage::simulated(&all).await;
        Self { stage, openai, azure, anthropic, _catalog: catalog }
    }

    /// A run whose calls may move; `fields` on top.
    pub(super) async fn run(&self, fields: Value) -> Run {
        let mut all = json!({"fallback": true});
        for (name, value) in fields.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.stage.run(all).await
    }

    pub(super) async fn ask(&self, run: &Run, body: &Value) -> Answer {
        self.stage.client().ask(run, body).await
    }

    /// How often each provider was asked.
    pub(super) fn seen(&self) -> [usize; 3] {
        [&self.openai, &self.azure, &self.anthropic].map(|provider| provider.seen().len())
    }

    /// The run's rows from the first to the last: who, how it was booked, and the cost.
    pub(super) async fn rows(&self, run: &Run) -> Vec<(String, String, Decimal)> {
        let usage = self.stage.client().settled(run).await;
        assert_eq!(usage["reserved_usd"], "0", "{usage}");
        let mut rows = self.stage.client().calls(run).await;
        rows.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
        let sum: Decimal = rows.iter().map(|row| decimal(&row["cost_usd"])).sum();
        assert_eq!(decimal(&usage["spent_usd"]), sum.normalize(), "{usage}");
        let same = |name: &str| rows.windows(2).all(|two| two[0][name] == two[1][name]);
        for name in ["request_id", "model", "requested_model", "price_version", "endpoint"] {
            assert!(same(name), "the attempts of a call have one {name}: {rows:?}");
        }
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let of = |row: &Value| {
            (text(row, "provider"), text(row, "cost_source"), decimal(&row["cost_usd"]))
        };
        rows.iter().map(of).collect()
    }

    /// Holds the rows against what they should be: a provider whose attempt cost nothing, or the
    /// one that was paid for so much.
    pub(super) async fn check(&self, run: &Run, nothing: &[&str], paid: Option<(&str, Decimal)>) {
        let nothing = nothing.iter().map(|who| (*who, "none", Decimal::ZERO));
        let paid = paid.map(|(who, cost)| (who, "usage", cost));
        let expected: Vec<_> = nothing
            .chain(paid)
            .map(|(who, source, cost)| (who.to_owned(), source.to_owned(), cost))
            .collect();
        assert_eq!(self.rows(run).await, expected);
    }

    pub(super) async fn end(self) {
        self.stage.end().await;
    }
}

/// What these tokens cost, to the last digit.
pub(super) fn cost((input, output): (&str, &str), tokens: (u64, u64)) -> Decimal {
    let price = |text: &str| Decimal::from_str_exact(text).unwrap();
    let sum = price(input) * Decimal::from(tokens.0) + price(output) * Decimal::from(tokens.1);
    (sum / Decimal::from(1_000_000)).normalize()
}

/// The worst case of a call of one message at a provider whose constants are these, by its bytes.
pub(super) fn strict(price: (&str, &str), around: u64, text: &str, output: u64) -> Decimal {
    let bytes = serde_json::to_string(text).unwrap().len() as u64;
    cost(price, (2 * around + bytes, output))
}

/// The same at Azure by its tokens.
pub(super) fn counted_at_azure(text: &str, output: u64) -> Decimal {
    cost(AZURE, (40 + Tokenizer::Cl100k.count(text), output))
}

/// A body of messages.
pub(super) fn message(model: &str, text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": model, "max_tokens": 50, "messages": messages})
}

/// Sends a body of messages.
pub(super) async fn post_message(chain: &Chain, run: &Run, body: &Value) -> Answer {
    let client = chain.stage.client();
    let request = client.http.post(format!("{}/v1/messages", client.data)).json(body);
    Answer::of(request.bearer_auth(&run.token).send().await.unwrap()).await
}

/// An answer of Anthropic's.
pub(super) fn claude() -> (String, Then) {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-mini",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 4},
    });
    (response("200 OK", "application/json", &body.to_string()), Then::Close)
}

/// An answer of OpenAI's that can be translated.
pub(super) fn chat() -> (String, Then) {
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": NAME,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello"}}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    });
    (response("200 OK", "application/json", &body.to_string()), Then::Close)
}

/// The same as a stream.
pub(super) fn chat_stream() -> (String, Then) {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
            "model": NAME, "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, reason: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": reason}]), Value::Null)
    };
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10});
    let body = [
        delta(json!({"role": "assistant", "content": "Hello"}), Value::Null),
        delta(json!({}), json!("stop")),
        chunk(json!([]), usage),
        super::matrix::DONE.to_owned(),
    ];
    (format!("{}{}", super::matrix::EVENTS, body.concat()), Then::Close)
}

/// A stream of Anthropic's.
pub(super) fn claude_stream() -> (String, Then) {
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "claude-mini", "content": [], "stop_reason": null,
            "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": "Hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "usage": {"output_tokens": 4},
            "delta": {"stop_reason": "end_turn", "stop_sequence": null}}),
        json!({"type": "message_stop"}),
    ];
    let event = |event: &Value| {
        let kind = event["type"].as_str().unwrap();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    let body: String = events.iter().map(event).collect();
    (format!("{}{body}", super::matrix::EVENTS), Then::Close)
}

/// The body that a provider was sent last.
pub(super) fn sent(provider: &ScriptedProvider) -> Value {
    let seen = provider.seen();
    serde_json::from_str(seen.last().unwrap().split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The name that most calls use.
pub(super) const NAME: &str = MODEL;
