//! `rungate serve`: the real thing.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::{Config, RunAuth};
use crate::gateway::Mode;
use crate::server;

use super::print;
use super::progress::during;
use super::stop::{asked_to_stop, stop};

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let starting = server::start(config, Mode::Serve, None);
    let starting = match &config.database_url {
        Some(_) => during("waiting for the database", starting).await,
        None => {
            during("starting the private Postgres; the first time takes longest", starting).await
        }
    };
    let running = starting.context("the gateway did not start")?;
    print::out(format_args!(
        "rungate serve\n  data plane     {}://{}\n  control plane  {}://{}",
        config.data_scheme(),
        running.data_addr,
        config.admin_scheme(),
        running.admin_addr
    ));
    if let Some(cluster) = running.cluster() {
        print::out(format_args!("  postgres       {} (private)", cluster.url()));
    }
    if let Some(file) = &running.admin_token_file {
        print::out(format_args!("  admin token    kept in {}", file.display()));
    }
    if config.run_auth == RunAuth::RunId && !running.data_addr.ip().is_loopback() {
        tracing::warn!(
            "start.run_auth: anybody who reaches {} and knows a run's id can spend for it; set \
             RUN_AUTH=token unless the ids are kept secret",
            running.data_addr
        );
    }
    if running.gateway.has_no_provider() {
        tracing::warn!(
            "start.no_provider: no provider is configured, so every call will get 412; set \
             OPENAI_API_KEY or another provider's key, or SIMULATE_PROVIDERS=true"
        );
    }
    let hurry = asked_to_stop().await?;
    Ok(stop(running, config.shutdown_grace, hurry).await)
}
