//! A gateway before a provider that counts what it is sent, and a run.

use std::sync::Arc;
use std::time::Duration;

use rungate::ledger::postgres as ledger;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres;
pub use crate::support::postgres::execute;
use crate::support::provider::{ScriptedProvider, response};

/// What the provider answers, and what it costs with gpt-4o-mini: $0.15 and $0.60 for a million
/// tokens.
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o-mini",
    "choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}],
    "usage":{"prompt_tokens":6,"completion_tokens":5,"total_tokens":11}}"#;
pub const COST: &str = "0.0000039";

pub struct Stage {
    /// Where to look into the database, whatever lies between it and the gateway.
    pub database: String,
    pub gateway: TestGateway,
    pub client: Client,
    pub provider: ScriptedProvider,
    /// The provider answers a request for each permit.
    pub gate: Arc<Semaphore>,
    pub run: Run,
}

impl Stage {
    pub async fn new() -> Self {
        let database = postgres::database().await;
        Self::on(database.clone(), &database).await
    }

    /// A gateway that reaches `database` as `reached`.
    pub async fn on(database: String, reached: &str) -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let answer = response("200 OK", "application/json", ANSWER);
        let provider = ScriptedProvider::gated(answer, Arc::clone(&gate)).await;
        let base = provider.base_url();
        let settings = [
            ("LEASE_SECONDS", "2"),
            ("SIMULATE_PROVIDERS", "false"),
            ("OPENAI_BASE_URL", base.as_str()),
        ];
        let gateway = TestGateway::serve(reached, &settings).await;
        let client = gateway.client.clone();
        let run = client.register(json!({"cost_limit_usd": "1"})).await;
        Self { database, gateway, client, provider, gate, run }
    }

    pub async fn operator(&self) -> PgConnection {
        postgres::connect(&self.database).await
    }

    pub async fn execute(&self, statement: &str) {
        execute(&mut self.operator().await, statement).await;
    }

    pub async fn ask(&self) -> Answer {
        self.client.ask(&self.run, &body()).await
    }

    /// Asks without waiting for the answer.
    pub fn start(&self, run: &Run) -> JoinHandle<Answer> {
        let request = self.client.chat(run, &body());
        tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await })
    }

    /// A call that the provider has and does not answer yet.
    pub async fn under_way(&self) -> JoinHandle<Answer> {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
        let before = self.provider.seen().len();
        let call = self.start(&self.run);
        until(|| self.provider.seen().len() > before).await;
        call
    }

    /// The provider answers again.
    pub fn answer(&self) {
        self.gate.add_permits(1_000);
    }

    /// A call that is refused because the ledger fails: nothing of it is sent.
    pub async fn assert_refused(&self) {
        let before = self.provider.seen().len();
        let answer = self.ask().await;
        assert_unavailable(&answer);
        assert_eq!(self.provider.seen().len(), before, "nothing is forwarded unmetered");
    }

    /// A call that is served: the database is back.
    pub async fn until_served(&self) {
        for _ in 0..100 {
            let answer = self.ask().await;
            if answer.status == 200 {
                return;
            }
            assert_unavailable(&answer);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the gateway does not come back");
    }

    /// Whether the gateway says that it can serve.
    pub async fn is_ready(&self) -> bool {
        let answer = self.client.http.get(format!("{}/readyz", self.client.data)).send().await;
        answer.unwrap().status() == 200
    }

    /// Waits for every call to end, and holds the books against themselves.
    pub async fn end(self) -> Value {
        let usage = self.client.settled(&self.run).await;
        self.gateway.stop().await;
        assert_sound(&self.database).await;
        usage
    }
}

pub fn body() -> Value {
    let mut body = prompt("hello");
    body["max_tokens"] = json!(50);
    body
}

pub fn assert_unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, "unavailable".to_owned()), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}

pub async fn until(met: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("what is waited for does not come");
}

pub async fn assert_sound(database: &str) {
    let pool = ledger::connect(ledger::connect_options(database).unwrap()).await.unwrap();
    let report = ledger::check(&pool).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.reservations, 0, "nothing stays reserved");
}
