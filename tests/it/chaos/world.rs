//! What the harness sets up: a Postgres behind a proxy, two gateways, a provider, runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rungate::storage::cluster::Cluster;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::provider::Provider;
use crate::support::client::{Answer, Client, Run};
use crate::support::postgres;
use crate::support::process::GatewayProcess;
use crate::support::proxy::{Network, Proxy};

pub const GATEWAYS: usize = 2;
/// Runs, each with limits of its own kind.
const RUNS: usize = 6;

/// A run that several clients use. Whoever changes it holds its lock.
pub struct SharedRun {
    pub kind: usize,
    pub run: RwLock<Run>,
    pub changing: tokio::sync::Mutex<()>,
}

/// Everything that is there.
pub struct World {
    pub cluster: Arc<Cluster>,
    pub proxy: Proxy,
    pub provider: Provider,
    pub gateways: Vec<Mutex<Option<GatewayProcess>>>,
    pub clients: Vec<RwLock<Option<Client>>>,
    pub runs: Vec<SharedRun>,
    /// Calls that nothing may be forwarded for: they were made on a state that had ended.
    pub forbidden: Mutex<HashSet<u64>>,
    pub wrong: Mutex<Vec<String>>,
    pub stop: AtomicBool,
    database: String,
    base_url: String,
}

impl World {
    pub async fn start(seed: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("rungate-chaos-{seed:x}"));
        let starting = tokio::task::spawn_blocking(move || postgres::cluster(&folder));
        let cluster = starting.await.unwrap();
        let proxy = Proxy::before(&cluster.url()).await;
        let provider = Provider::start().await;
        let world = Self {
            database: proxy.url(&cluster.url()),
            base_url: provider.base_url(),
            cluster: Arc::new(cluster),
            proxy,
            provider,
            gateways: (0..GATEWAYS).map(|_| Mutex::new(None)).collect(),
            clients: (0..GATEWAYS).map(|_| RwLock::new(None)).collect(),
            runs: Vec::new(),
            forbidden: Mutex::default(),
            wrong: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        world.heal().await;
        let mut runs = Vec::new();
        for kind in 0..RUNS {
            let run = RwLock::new(world.register(kind).await);
            runs.push(SharedRun { kind, run, changing: tokio::sync::Mutex::default() });
        }
        Self { runs, ..world }
    }

    /// A new run of a kind: wide ones, tight caps of dollars, of tokens, of calls.
    pub async fn register(&self, kind: usize) -> Run {
        let terms = match kind {
            0 => json!({"cost_limit_usd": "1"}),
            1 => json!({"cost_limit_usd": "0.0008", "on_cap": "refuse"}),
            2 => json!({"cost_limit_usd": "0.0015"}),
            3 => json!({"cost_limit_usd": "1", "token_limit": 6_000}),
            4 => json!({"cost_limit_usd": "1", "call_limit": 40}),
            _ => json!({"cost_limit_usd": "0.01", "require_token": true}),
        };
        let mut body = json!({"status": "running"});
        for (name, value) in terms.as_object().unwrap() {
            body[name] = value.clone();
        }
        loop {
            let answer = self.operate("/runs", &body).await;
            if let Some(run) = answer.filter(|answer| answer.status == 201) {
                let run = run.json();
                let text = |name: &str| run[name].as_str().unwrap().to_owned();
                return Run { id: text("id"), token: text("token") };
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client of some gateway that is there.
    pub fn client(&self, first: usize) -> Option<Client> {
        (0..GATEWAYS).find_map(|next| self.clients[(first + next) % GATEWAYS].read().clone())
    }

    /// Asks any gateway's control plane; `None` if none answers.
    pub async fn operate(&self, path: &str, body: &Value) -> Option<Answer> {
        self.operate_by(reqwest::Method::POST, path, body).await
    }

    pub async fn operate_by(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Option<Answer> {
        let client = self.client(usize::from(path.len().is_multiple_of(2)))?;
        let request = client.operator(method, path).timeout(Duration::from_secs(8)).json(body);
        let answer = Answer::of(request.send().await.ok()?).await;
        self.look_at(path, &answer);
        Some(answer)
    }

    /// No fault of the surroundings is a bug of the gateway.
    pub fn look_at(&self, what: &str, answer: &Answer) {
        if answer.status == 500 {
            self.wrong.lock().push(format!("{what}: {}", answer.text));
        }
    }

    /// Everything runs and is reachable again.
    pub async fn heal(&self) {
        self.proxy.set(Network::Up);
        for gateway in 0..GATEWAYS {
            if self.gateways[gateway].lock().is_none() {
                self.start_gateway(gateway).await;
            }
        }
    }

    /// Starts the gateway of a place where none runs.
    pub async fn start_gateway(&self, place: usize) {
        loop {
            let (database, base_url) = (self.database.clone(), self.base_url.clone());
            let starting = tokio::task::spawn_blocking(move || {
                let log = std::env::var("CHAOS_LOG").unwrap_or_else(|_| "off".to_owned());
                let settings = [
                    ("LEASE_SECONDS", "2"),
                    ("ADMISSION_WAIT_SECONDS", "1"),
                    ("ACTIVATION_WAIT_SECONDS", "1"),
                    ("UPSTREAM_TIMEOUT_SECONDS", "3"),
                    ("UPSTREAM_IDLE_TIMEOUT_SECONDS", "1"),
                    ("SHUTDOWN_GRACE_SECONDS", "1"),
                    ("WORKERS", "2"),
                    ("SIMULATE_PROVIDERS", "false"),
                    ("OPENAI_API_KEY", "sk-chaos"),
                    ("OPENAI_BASE_URL", base_url.as_str()),
                    ("RUST_LOG", log.as_str()),
                ];
                GatewayProcess::try_serve(&database, &settings)
            });
            if let Ok(gateway) = starting.await.unwrap() {
                *self.clients[place].write() = Some(gateway.client.clone());
                *self.gateways[place].lock() = Some(gateway);
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes the gateway of a place away from the clients.
    pub fn take_gateway(&self, place: usize) -> Option<GatewayProcess> {
        *self.clients[place].write() = None;
        self.gateways[place].lock().take()
    }
}
