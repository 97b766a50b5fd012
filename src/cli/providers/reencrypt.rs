//! `rungate providers reencrypt`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::ledger::postgres::providers::reencrypt::{Reencrypted, reencrypt};
use crate::ledger::postgres::{connect, connect_options};
use crate::server;

use super::super::exit::{Exit, Failure};
use super::super::print;
use super::super::progress::during;

/// How to answer.
#[derive(Args, Debug)]
pub(in crate::cli) struct Reencrypt {
    /// Print the counts in JSON
    #[arg(long)]
    json: bool,
}

/// Encrypts every key anew.
///
/// # Errors
/// If there is no key to encrypt with, or the database cannot be read.
pub(in crate::cli) async fn run(options: &Reencrypt, config: &Config) -> anyhow::Result<ExitCode> {
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
