//! The commands.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use secrecy::ExposeSecret as _;

use crate::catalog::Catalog;
use crate::config::{Config, ConfigError, Environment, SECRET_FILES, SETTINGS, provider_settings};
use crate::domain::id::RunId;
use crate::gateway::Mode;
use crate::ledger::postgres::{OpenError, connect_options};
use crate::server::StartError;
use crate::{server, telemetry};

mod exit;
mod print;
mod look;
mod figures;
mod table;
mod progress;
mod wrong_usage;
mod control;
mod values;
mod answer;
mod lists;
mod organization;
mod watch;
mod runs;
mod models;
mod usage;
mod orgs;
mod keys;
mod credits;
mod env;
mod teller;
mod dev;
mod health;
mod ledger;
mod providers;
mod serve;
mod simulate;
mod stop;

use control::ControlPlane;
use exit::{Exit, Failure};
use look::Color;
use models::ModelsCommand;
use print::ClosedPipe;
use providers::ProvidersCommand;

/// The inference gateway for evaluation runs.
#[derive(Debug, Parser)]
#[command(name = "rungate", version, max_term_width = 110)]
#[command(after_help = SHORT_HELP, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    #[arg(hide_possible_values = true)]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway at once: no database, no keys, any run id, capped in memory
    Dev,
    /// Run the real thing, on the Postgres of DATABASE_URL or on a private one
    Serve,
    /// Run the simulated provider alone
    Simulate(simulate::Options),
    /// Register, read and close runs through the control plane
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Print what to inject into the sandbox of a run
    Env(Box<env::Options>),
    /// List the models and what they cost; import or refresh their prices
    Models(models::Options),
    /// Show what was spent, by model, key, provider, run or day
    Usage(usage::Options),
    /// Make organizations; set their limits; look after their people
    #[command(subcommand)]
    Orgs(orgs::OrgsCommand),
    /// Make, change and revoke the inference keys of an organization
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show what an organization has paid in advance, put more in, list what became of it
    Credits(credits::Options),
    /// Look after the ledger
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Configure the providers of an organization; encrypt their keys anew
    #[command(subcommand)]
    Providers(providers::ProvidersCommand),
    /// Ask the gateway of LISTEN_ADDR whether it is ready; exit 0, or 1 if it is not
    Health(health::Options),
    /// Print every setting, redacted, and whether it can be used
    CheckConfig,
    /// Print a script that completes commands and options
    Completions {
        /// For which shell
        shell: Shell,
    },
}

const SHORT_HELP: &str = "\
To begin: `rungate dev`, and paste what it prints. `rungate --help` lists settings and exit codes.";

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage::tell(&error),
    };
    look::choose(cli.color);
    if let Command::Completions { shell } = cli.command {
        return ended(complete(shell));
    }
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
    ended(run(cli.command, &config, log_is_set))
}

/// The exit code of a command, after its error was told.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.downcast_ref::<ClosedPipe>().is_some() => Exit::Done.into(),
        Err(error) => {
            let exit = exit_of(&error);
            print::err(format_args!("rungate: {error:#}"));
            exit.into()
        }
    }
}

fn run(command: Command, config: &Config, log_is_set: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let serves = matches!(command, Command::Serve | Command::Simulate(_) | Command::CheckConfig);
    let filter = if serves || log_is_set { config.rust_log.as_str() } else { "warn" };
    telemetry::start_logging(config.log_format, filter)?;
    let plane = || {
        ControlPlane::new(config.rungate_url.expose_secret(), server::admin_token::known(config))
    };
    runtime.block_on(async {
        match command {
            Command::Dev => dev::run(config).await,
            Command::Serve => serve::run(config).await,
            Command::Simulate(options) => simulate::run(options).await,
            Command::Health(options) => health::run(&options, config).await,
            Command::CheckConfig => Ok(check(config)),
            Command::Completions { shell } => complete(shell),
            Command::Ledger(command) => ledger::run(command, config).await,
            Command::Providers(ProvidersCommand::Reencrypt(options)) => {
                providers::reencrypt::run(&options, config).await
            }
            Command::Providers(ProvidersCommand::Configured(command)) => {
                done(providers::run(command, &plane()?).await)
            }
            Command::Runs(command) => runs::run(command, &plane()?).await,
            Command::Env(options) => done(env::run(*options, config, &plane()?).await),
            Command::Models(models::Options { command: Some(command), .. }) => match command {
                ModelsCommand::Import(options) => done(models::import::run(&options, config)),
                ModelsCommand::Refresh(options) => {
                    done(models::refresh::run(&options, config).await)
                }
            },
            Command::Models(options) if options.local => done(models::read(&options, config)),
            Command::Models(options) => done(models::ask(&options, &plane()?).await),
            Command::Usage(options) => done(usage::run(&options, &plane()?).await),
            Command::Orgs(command) => done(orgs::run(command, &plane()?).await),
            Command::Keys(command) => done(keys::run(command, &plane()?).await),
            Command::Credits(options) => done(credits::run(options, &plane()?).await),
        }
    })
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| Exit::Done.into())
}

fn complete(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rungate", &mut script);
    done(print::bytes(&script))
}

/// Reads the id of a run.
fn run_id(text: &str) -> Result<RunId, String> {
    let what = "is not a run's id, a UUID such as 11111111-2222-4333-8444-555555555555";
    RunId::parse(text).ok_or_else(|| what.to_owned())
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
    if problems.is_empty() { Exit::Done.into() } else { Exit::Settings.into() }
}

/// What stopped a command: a setting, or whatever knows its own code, or something else.
fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    let bad_url = matches!(error.downcast_ref(), Some(OpenError::Url(_)));
    let bad_setting = bad_url
        || error.downcast_ref().is_some_and(|error: &StartError| match error {
            StartError::Catalog(_)
            | StartError::CatalogFile(..)
            | StartError::NotLoopback(_)
            | StartError::Access(_)
            | StartError::Tls(_)
            | StartError::Jwks(_)
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
    if bad_setting { Exit::Settings } else { Exit::Failed }
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        print::err(format_args!("{error}"));
    }
    print::err(format_args!("nothing was started; `rungate --help` lists every setting"));
    Exit::Settings.into()
}

fn long_help() -> String {
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
    help.push_str(&format!("\nSecrets by file:\n  <SECRET>_FILE  {SECRET_FILES}\n"));
    help.push_str(&format!("\n{}", exit::help()));
    help
}
