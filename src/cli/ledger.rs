//! `rungate ledger check`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::ledger::postgres::{check, connect, connect_options};
use crate::server;

use super::print;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Recompute every sum from its rows; exit 0 if the invariants hold, 1 if not
    Check,
}

pub(super) async fn run(command: LedgerCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let LedgerCommand::Check = command;
    let (url, cluster) = match &config.database_url {
        Some(url) => (url.expose_secret().to_owned(), None),
        None => {
            let cluster = server::private::start(config)
                .await
                .context("without DATABASE_URL the private Postgres in DATA_DIR is checked")?;
            (cluster.url(), Some(cluster))
        }
    };
    let checked = async {
        let pool = connect(connect_options(&url)?).await?;
        let report = check(&pool).await.context("the ledger cannot be read; was it migrated?")?;
        pool.close().await;
        anyhow::Ok(report)
    };
    let report = checked.await;
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || cluster.stop()).await??;
    }
    let report = report?;
    print::out(format_args!(
        "{} runs, {} budgets, {} calls, {} in flight ({} of dead gateways, not swept yet)",
        report.runs, report.budgets, report.calls, report.reservations, report.unswept
    ));
    for finding in &report.findings {
        print::out(format_args!("VIOLATED: {}", finding.0));
    }
    if report.findings.is_empty() {
        print::out(format_args!("every invariant holds"));
        return Ok(ExitCode::SUCCESS);
    }
    print::out(format_args!("{} findings", report.findings.len()));
    Ok(ExitCode::FAILURE)
}
