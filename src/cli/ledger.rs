//! `rungate ledger check`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::ledger::postgres::{Report, check, connect, connect_options};
use crate::server;

use super::exit::Exit;
use super::print;
use super::progress::during;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Recompute every sum from its rows; exit 0 if the invariants hold, 1 if not
    Check(Check),
}

/// How to answer.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Print the counts and findings in JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: LedgerCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let LedgerCommand::Check(options) = command;
    let report = during("checking the ledger", read(config)).await?;
    let holds = report.findings.is_empty();
    let text = if options.json { as_json(&report) } else { as_text(&report) };
    print::text(&text)?;
    Ok(if holds { Exit::Done } else { Exit::Failed }.into())
}

/// Reads the ledger of DATABASE_URL, or that of the private Postgres, which is stopped again.
async fn read(config: &Config) -> anyhow::Result<Report> {
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
    report
}

fn as_text(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} runs, {} budgets, {} calls, {} in flight ({} of dead gateways, not swept yet)",
        report.runs, report.budgets, report.calls, report.reservations, report.unswept
    )];
    lines.extend(report.findings.iter().map(|finding| format!("VIOLATED: {}", finding.0)));
    lines.push(match report.findings.len() {
        0 => "every invariant holds".to_owned(),
        findings => format!("{findings} findings"),
    });
    lines.join("\n")
}

fn as_json(report: &Report) -> String {
    let findings: Vec<&str> = report.findings.iter().map(|finding| finding.0.as_str()).collect();
    serde_json::json!({
        "runs": report.runs,
        "budgets": report.budgets,
        "calls": report.calls,
        "reservations": report.reservations,
        "unswept": report.unswept,
        "findings": findings,
    })
    .to_string()
}
