//! The commands.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret as _;

use crate::catalog::Catalog;
use crate::config::{Config, ConfigError, Environment, SETTINGS, provider_settings};
use crate::gateway::Mode;
use crate::ledger::postgres::{OpenError, connect_options};
use crate::server::StartError;
use crate::{server, telemetry};

mod print;
mod table;
mod control;
pub mod runs;
mod dev;
mod ledger;
mod serve;
mod simulate;

/// Exit code for settings that cannot be used, as in `sysexits.h` (EX_USAGE).
const EX_USAGE: u8 = 64;

/// The inference gateway for evaluation runs.
#[derive(Debug, Parser)]
#[command(name = "rungate", version, after_help = settings_help(), max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway at once: no database, no keys, any run id, capped in memory
    Dev,
    /// Run the real thing, on the Postgres of DATABASE_URL or on a private one
    Serve,
    /// Run the simulated provider alone
    Simulate(simulate::Options),
    /// Print every setting, redacted, and whether it can be used
    CheckConfig,
    /// Look after the ledger
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Register, read and close runs through the control plane
    #[command(subcommand)]
    Runs(runs::RunsCommand),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::read();
    let get = |name: &str| environment.get(name);
    if matches!(cli.command, Command::CheckConfig) {
        for (name, value) in Config::redacted(&get) {
            print::out(format_args!("{name}={value}"));
        }
    }
    for name in environment.unknown_names() {
        print::err(format_args!("warning: .env sets {name}, which is no setting of rungate"));
    }
    let mut errors = environment.errors().to_vec();
    let config = match Config::read(&get) {
        Ok(config) if errors.is_empty() => config,
        Ok(_) => return refuse(&errors),
        Err(malformed) => {
            errors.extend(malformed);
            return refuse(&errors);
        }
    };
    let log_is_set = get("RUST_LOG").is_some_and(|filter| !filter.trim().is_empty());
    match run(cli.command, &config, log_is_set) {
        Ok(code) => code,
        Err(error) => fail(&error, exit_code(&error)),
    }
}

fn run(command: Command, config: &Config, log_is_set: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let quiet = matches!(command, Command::Dev | Command::Runs(_) | Command::Ledger(_));
    let filter = if quiet && !log_is_set { "warn" } else { config.rust_log.as_str() };
    telemetry::start_logging(config.log_format, filter)?;
    runtime.block_on(async {
        match command {
            Command::Dev => dev::run(config).await,
            Command::Serve => serve::run(config).await,
            Command::Simulate(options) => simulate::run(options).await,
            Command::CheckConfig => Ok(check(config)),
            Command::Ledger(command) => ledger::run(command, config).await,
            Command::Runs(command) => {
                let token = server::admin_token::known(config);
                runs::run(command, &config.rungate_url, token).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// Looks at what a start would make of the settings, without starting anything.
fn check(config: &Config) -> ExitCode {
    let mut problems: Vec<anyhow::Error> = Vec::new();
    if let Some(path) = &config.models_file {
        let read = std::fs::read_to_string(path)
            .map_err(|error| StartError::CatalogFile(path.clone(), error))
            .and_then(|text| Ok(Catalog::parse(&path.to_string_lossy(), &text)?));
        problems.extend(read.err().map(anyhow::Error::new));
    }
    if let Some(url) = &config.database_url {
        let understood = connect_options(url.expose_secret());
        problems.extend(understood.err().map(anyhow::Error::new));
    }
    let reached = server::access::of(config, Mode::Serve, None);
    problems.extend(reached.err().map(anyhow::Error::new));
    for problem in &problems {
        print::err(format_args!("{problem:#}"));
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EX_USAGE) }
}

/// Whether it was a setting that stopped a command, or something else.
fn exit_code(error: &anyhow::Error) -> u8 {
    let bad_url = matches!(error.downcast_ref(), Some(OpenError::Url(_)));
    let bad_setting = bad_url
        || error.downcast_ref().is_some_and(|error: &StartError| match error {
            StartError::Catalog(_)
            | StartError::CatalogFile(..)
            | StartError::NotLoopback(_)
            | StartError::Access(_)
            | StartError::Ledger(OpenError::Url(_)) => true,
            StartError::Bind { .. }
            | StartError::Ledger(_)
            | StartError::Cluster(_)
            | StartError::AdminToken(..)
            | StartError::Client(_)
            | StartError::Serve(_)
            | StartError::Metrics
            | StartError::Randomness(_) => false,
        });
    if bad_setting { EX_USAGE } else { 1 }
}

/// Waits for SIGINT or SIGTERM; a second one ends the process at once.
async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        print::err(format_args!("stopped at once; calls in flight are swept at their worst case"));
        std::process::exit(130);
    });
    Ok(())
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        print::err(format_args!("{error}"));
    }
    print::err(format_args!("nothing was started; `rungate --help` lists every setting"));
    ExitCode::from(EX_USAGE)
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    print::err(format_args!("rungate: {error:#}"));
    ExitCode::from(code)
}

fn settings_help() -> String {
    let mut help = String::from("Settings (environment, or `.env` in the working directory):\n");
    for setting in &SETTINGS {
        help.push_str(&format!(
            "  {:<32} {} [default: {}]\n",
            setting.name, setting.meaning, setting.default
        ));
    }
    help.push_str("\nProviders of the default organization (key, address):\n");
    for name in provider_settings() {
        help.push_str(&format!("  {name}\n"));
    }
    help
}
