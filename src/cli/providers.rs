//! `rungate providers`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::ledger::postgres::providers::reencrypt::{Reencrypted, reencrypt};
use crate::ledger::postgres::{connect, connect_options};
use crate::server;

use super::exit::{Exit, Failure};
use super::print;
use super::progress::during;

#[derive(Debug, Subcommand)]
pub(super) enum ProvidersCommand {
    /// Encrypt every provider key anew, under the first key of ENCRYPTION_KEY
    #[command(long_about = REENCRYPT)]
    Reencrypt(Reencrypt),
}

const REENCRYPT: &str = "\
Encrypt every provider key anew, under the first key of ENCRYPTION_KEY.

To replace an encryption key: put the new one before the old one and restart every gateway; run \
this; then take the old one away. It runs beside gateways, may be broken off, and changes nothing \
when it is run again. Exit 1 if a key does not open; it stays as it is.";

/// How to answer.
#[derive(Args, Debug)]
pub(super) struct Reencrypt {
    /// Print the counts in JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: ProvidersCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let ProvidersCommand::Reencrypt(options) = command;
    let done = during("encrypting provider keys", work(config)).await?;
    print::text(&if options.json { as_json(&done) } else { as_text(&done) })?;
    Ok(if done.unreadable.is_empty() { Exit::Done } else { Exit::Failed }.into())
}

/// Works on the ledger of DATABASE_URL, or on that of the private Postgres, which is stopped again.
async fn work(config: &Config) -> anyhow::Result<Reencrypted> {
    let Some(keys) = &config.encryption_keys else {
        bail!(Failure::new(Exit::Settings, "ENCRYPTION_KEY is not set; nothing can be encrypted"));
    };
    let (url, cluster) = match &config.database_url {
        Some(url) => (url.expose_secret().to_owned(), None),
        None => {
            let cluster = server::private::start(config)
                .await
                .context("without DATABASE_URL the private Postgres in DATA_DIR is worked on")?;
            (cluster.url(), Some(cluster))
        }
    };
    let worked = async {
        let pool = connect(connect_options(&url)?).await?;
        let done = reencrypt(&pool, keys).await;
        let done = done.context("provider keys cannot be read; was the database migrated?")?;
        pool.close().await;
        anyhow::Ok(done)
    };
    let worked = worked.await;
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || cluster.stop()).await??;
    }
    worked
}

fn as_text(done: &Reencrypted) -> String {
    let mut lines = vec![format!(
        "{} encrypted anew, {} were current, {} do not open",
        done.changed,
        done.current,
        done.unreadable.len()
    )];
    lines.extend(done.unreadable.iter().map(|left| {
        let run = left.run.map(|run| format!(" (run {run})")).unwrap_or_default();
        format!("UNREADABLE: {} of {}{run}: {}", left.provider, left.organization, left.error)
    }));
    lines.join("\n")
}

fn as_json(done: &Reencrypted) -> String {
    let unreadable = done.unreadable.iter().map(|left| {
        serde_json::json!({
            "organization_id": left.organization,
            "run_id": left.run,
            "provider": left.provider,
            "problem": left.error.to_string(),
        })
    });
    serde_json::json!({
        "reencrypted": done.changed,
        "current": done.current,
        "unreadable": unreadable.collect::<Vec<_>>(),
    })
    .to_string()
}
