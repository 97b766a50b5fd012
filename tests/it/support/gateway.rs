//! Gateways within this process, on real sockets.

use std::collections::HashMap;
use std::time::Duration;

use rungate::config::Config;
use rungate::gateway::Mode;
use rungate::server::{self, Running};

use super::client::Client;
use super::watch;

/// The operator's token in tests.
pub const ADMIN_TOKEN: &str = "rg-adm-for-tests";

/// A gateway that runs in this process.
pub struct TestGateway {
    pub running: Running,
    pub client: Client,
}

/// Settings for a test: `overrides` on top of what keeps it quick and apart.
pub fn config(overrides: &[(&str, &str)]) -> Config {
    let mut settings = HashMap::from([
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ADMIN_LISTEN_ADDR", "127.0.0.1:0"),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("WORKERS", "2"),
        ("SHUTDOWN_GRACE_SECONDS", "5"),
    ]);
    settings.extend(overrides.iter().copied());
    let read = |name: &str| settings.get(name).map(|value| (*value).to_owned());
    Config::read(&read).unwrap_or_else(|errors| panic!("{errors:?}"))
}

impl TestGateway {
    /// A developer's gateway.
    pub async fn dev(overrides: &[(&str, &str)]) -> Self {
        Self::start(&config(overrides), Mode::Dev).await
    }

    /// The real thing on `database`, before the simulated provider unless a setting says otherwise.
    pub async fn serve(database: &str, overrides: &[(&str, &str)]) -> Self {
        let mut all = vec![("DATABASE_URL", database), ("SIMULATE_PROVIDERS", "true")];
        all.extend_from_slice(overrides);
        Self::start(&config(&all), Mode::Serve).await
    }

    async fn start(config: &Config, mode: Mode) -> Self {
        watch::install();
        let running = server::start(config, mode, None).await.unwrap();
        let client = Client::new(running.data_addr, running.admin_addr);
        Self { running, client }
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.running.shutdown(Duration::from_secs(5)).await;
    }
}
