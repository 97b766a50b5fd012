//! The commands.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, SETTINGS, provider_settings, unknown_names};
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

/// Where settings come from: the process's environment first, then `.env`.
struct Environment {
    file: HashMap<String, String>,
}

impl Environment {
    fn read() -> anyhow::Result<Self> {
        let file = match dotenvy::from_filename_iter(".env") {
            Ok(entries) => entries
                .collect::<Result<HashMap<_, _>, _>>()
                .map_err(|_| anyhow::anyhow!(".env holds a line that is not NAME=value"))?,
            Err(error) if error.not_found() => HashMap::new(),
            Err(_) => anyhow::bail!(".env cannot be read"),
        };
        Ok(Self { file })
    }

    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.file.get(name).cloned())
    }

    fn warn_of_unknown_names(&self) {
        let mut unknown = unknown_names(self.file.keys().map(String::as_str));
        unknown.sort_unstable();
        for name in unknown {
            print::err(format_args!("warning: .env sets {name}, which is no setting of rungate"));
        }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return fail(&error, EX_USAGE),
    };
    let get = |name: &str| environment.get(name);
    if matches!(cli.command, Command::CheckConfig) {
        for (name, value) in Config::redacted(&get) {
            print::out(format_args!("{name}={value}"));
        }
    }
    environment.warn_of_unknown_names();
    let config = match Config::read(&get) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    match run(cli.command, &config, environment.get("RUST_LOG").is_some()) {
        Ok(code) => code,
        Err(error) => fail(&error, 1),
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
            Command::CheckConfig => Ok(ExitCode::SUCCESS),
            Command::Ledger(command) => ledger::run(command, config).await,
            Command::Runs(command) => {
                let token = server::admin_token::known(config);
                runs::run(command, &config.rungate_url, token).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
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
