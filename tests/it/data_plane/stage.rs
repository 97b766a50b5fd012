//! A gateway on a database of its own, and the audit at its end.

use std::sync::Arc;
use std::time::Duration;

use rungate::catalog::tokenizer::Tokenizer;
use rungate::catalog::{Catalog, Target};
use rungate::ledger::postgres::check;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::ScriptedProvider;

/// The key that a scripted provider expects; nothing that a client sees may hold it.
pub(crate) const PROVIDER_KEY: &str = "sk-provider-key-0123456789";
/// The model of most calls.
pub(crate) const MODEL: &str = "gpt-4o-mini";
/// The output limit of most calls: small, so that the worst case is known.
pub(crate) const MAX_TOKENS: u64 = 50;

/// A gateway and its database.
pub(crate) struct Stage {
    pub database: String,
    pub gateway: TestGateway,
}

impl Stage {
    /// Before the simulated provider.
    pub(crate) async fn simulated(settings: &[(&str, &str)]) -> Self {
        let database = database().await;
        let gateway = TestGateway::serve(&database, settings).await;
        Self { database, gateway }
    }

    /// Before a provider that answers what the test says.
    pub(crate) async fn before(provider: &ScriptedProvider, settings: &[(&str, &str)]) -> Self {
        Self::at(&provider.base_url(), settings).await
    }

    /// Before whatever is at `base_url`.
    pub(crate) async fn at(base_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("SIMULATE_PROVIDERS", "false"),
            ("OPENAI_BASE_URL", base_url),
            ("OPENAI_API_KEY", PROVIDER_KEY),
        ];
        all.extend_from_slice(settings);
        Self::simulated(&all).await
    }

    pub(crate) fn client(&self) -> &Client {
        &self.gateway.client
    }

    /// A running run; `fields` on top of a cap of one dollar.
    pub(crate) async fn run(&self, fields: Value) -> Run {
        let mut body = json!({"cost_limit_usd": "1"});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.client().register(body).await
    }

    /// Changes a run as its orchestrator would.
    pub(crate) async fn patch(&self, run: &Run, body: Value) {
        let path = format!("/runs/{}", run.id);
        let request = self.client().operator(reqwest::Method::PATCH, &path).json(&body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Waits until that many calls of a run are under way.
    pub(crate) async fn in_flight(&self, run: &Run, count: u64) {
        for _ in 0..400 {
            if self.client().usage(run).await["in_flight"] == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("there are never {count} calls in flight");
    }

    /// Stops what a run has in flight.
    pub(crate) async fn abort(&self, run: &Run) {
        let closed = self.client().close(run, &json!({"mode": "abort"})).await;
        assert_eq!(closed.status, 200, "{}", closed.text);
    }

    /// Audits the ledger and stops.
    pub(crate) async fn end(self) {
        audit(&self.database).await;
        self.gateway.stop().await;
    }
}

/// Waits until nothing is reserved; the ledger's own check must find nothing meanwhile and then.
pub(crate) async fn audit(database: &str) {
    let pool = sqlx::PgPool::connect(database).await.unwrap();
    for _ in 0..800 {
        let report = check(&pool).await.unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        if report.reservations == 0 {
            pool.close().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("something stays reserved");
}

/// A chat body of one message with a known output limit.
pub(crate) fn ask(text: &str) -> Value {
    ask_of(MODEL, text)
}

pub(crate) fn ask_of(model: &str, text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": model, "messages": messages, "max_tokens": MAX_TOKENS})
}

/// The same, streamed.
pub(crate) fn ask_streamed(text: &str) -> Value {
    with(ask(text), json!({"stream": true}))
}

/// A body with other fields on top.
pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The most input of such a call by its bytes, with the catalogue's constants around the text.
pub(crate) fn strict_input(text: &str) -> u64 {
    strict_input_of(MODEL, text)
}

pub(crate) fn strict_input_of(model: &str, text: &str) -> u64 {
    scaffold(model) + serde_json::to_string(text).unwrap().len() as u64
}

/// The most input of such a call by its tokens.
pub(crate) fn counted_input(text: &str) -> u64 {
    scaffold(MODEL) + Tokenizer::O200k.count(text)
}

/// What stands around one message.
fn scaffold(model: &str) -> u64 {
    let constants = target(model).constants;
    u64::from(constants.per_request) + u64::from(constants.per_message)
}

fn target(model: &str) -> Arc<Target> {
    let catalog = Catalog::built_in().unwrap();
    Arc::clone(&catalog.model(model).unwrap().targets[0])
}

/// What these tokens cost, to the last digit; `cached` of the input came from a cache.
pub(crate) fn cost(model: &str, input: u64, cached: u64, output: u64) -> Decimal {
    let prices = target(model).prices.base;
    let parts =
        [(prices.input, input - cached), (prices.cached_input, cached), (prices.output, output)];
    let millionths: Decimal =
        parts.iter().map(|(price, tokens)| price.decimal() * Decimal::from(*tokens)).sum();
    (millionths / Decimal::from(1_000_000)).normalize()
}

/// An amount as it stands in an answer.
pub(crate) fn decimal(value: &Value) -> Decimal {
    Decimal::from_str_exact(value.as_str().unwrap()).unwrap()
}
