//! `rungate env`: what to inject into the sandbox of a run, for every client that agents use.
//!
//! Whatever can be wrong is found before a token is rotated, for that cannot be taken back.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::{Config, RunAuth};
use crate::domain::id::RunId;
use crate::domain::key::RUN_TOKEN_PREFIX;
use crate::domain::run::{RunState, StateAdmission};

use super::control::{Ask, ControlPlane};
use super::exit::{Exit, Failure};
use super::{print, run_id};

mod place;
mod variables;
mod codex;
mod forms;
mod host;

use forms::Form;
use place::DataPlane;
use variables::Sandbox;

/// The environment variable that may carry the run's token.
const TOKEN_VARIABLE: &str = "RUN_TOKEN";

/// For which run, in which form, and what the control plane cannot know.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// The run's id
    #[arg(long, value_name = "ID", value_parser = run_id)]
    run: RunId,
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Export)]
    format: Format,
    /// The data plane as the sandbox sees it [default: http://LISTEN_ADDR; for docker, when that is
    /// this machine, http://host.docker.internal and its port]
    #[arg(long, value_name = "URL", value_parser = place::parse)]
    gateway: Option<DataPlane>,
    /// The run's token, to stand as the key [default: the variable RUN_TOKEN, which no list of
    /// processes shows; without either the run's id]
    #[arg(long, conflicts_with = "new_token")]
    token: Option<SecretString>,
    /// Make a new token and use it; the old one is dead at once
    #[arg(long)]
    new_token: bool,
    /// The model for clients that are told one by a variable [default: the first of the run's
    /// allowed_models; if it names none, those variables are left out]
    #[arg(long, value_parser = one_line)]
    model: Option<String>,
    /// What AGENT_TIMEOUT says [default: what is left until the run's expires_at, if it has one]
    #[arg(long, value_name = "SECONDS")]
    agent_timeout: Option<u64>,
    /// Codex's folder in the sandbox, where its config.toml must be
    #[arg(long, value_name = "PATH", default_value = "/run/gateway/codex", value_parser = absolute)]
    codex_home: String,
    /// With --format docker: write the variables to this file, readable by its owner alone, instead
    /// of into the flags, where a list of processes would show the token
    #[arg(long, value_name = "PATH")]
    env_file: Option<std::path::PathBuf>,
}

const EXAMPLES: &str = "\
In a shell:      eval \"$(rungate env --run ID)\"
With docker:     docker run $(rungate env --run ID --format docker) IMAGE COMMAND
For a program:   rungate env --run ID --format json
                 {\"env\": {NAME: VALUE}, \"files\": [{\"path\", \"content\", \"mode\"}]}

- A container reaches a gateway on this machine as host.docker.internal. On Linux
  LISTEN_ADDR must not be a loopback address then: 0.0.0.0:8080, or the address of
  the docker bridge.
- For docker, Codex's file is kept under DATA_DIR/env and mounted read-only. No value
  there holds a blank, so $(…) needs no quotes; what does is an error.
- In a shell that may not write to /run: --codex-home \"$HOME/.rungate-codex\".
- A gateway under RUN_AUTH=token takes no run's id for a key: --token or --new-token.
- A run that demands its token gets it in the path of SANDBOX_PROXY_URL as well,
  for the clients of that variable send no header.";

/// How to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a shell, which also write Codex's file
    Export,
    /// Flags for `docker run`; Codex's file is written on this machine and mounted
    Docker,
    /// One object with the variables and the files
    Json,
}

/// What the control plane knows about the run.
#[derive(Deserialize)]
struct Run {
    status: String,
    cost_limit_usd: String,
    expires_at: Option<DateTime<Utc>>,
    require_token: bool,
    allowed_models: Option<Vec<String>>,
}

/// A new token.
#[derive(Deserialize)]
struct Rotated {
    token: String,
}

/// Asks for the run, and prints what its sandbox needs.
///
/// # Errors
/// One line: the run is not there, its token is needed, or a value cannot be carried that way.
pub(super) async fn run(
    options: Options,
    config: &Config,
    plane: &ControlPlane,
) -> anyhow::Result<()> {
    let form = options.form()?;
    let given = given_token(&options)?;
    let gateway = match &options.gateway {
        Some(named) => named.clone(),
        None => place::default(config, options.format == Format::Docker)?,
    };
    let path = format!("/runs/{}", options.run);
    let run: Run = read(&plane.ask(Ask::get(&path)).await?)?;
    let only_token = run.require_token || config.run_auth == RunAuth::Token;
    if only_token && given.is_none() && !options.new_token {
        return Err(needs_token(&run).into());
    }
    let mut sandbox = Sandbox {
        gateway,
        run: options.run,
        key: given.unwrap_or_else(|| options.run.to_string().into()),
        only_token,
        model: model(&options, &run)?,
        agent_timeout: options.agent_timeout.or_else(|| time_left(&run)),
        cost_limit: run.cost_limit_usd.clone(),
        codex_home: options.codex_home.clone(),
    };
    // With the run's id in the place of a token to come: what can carry one can carry the other.
    let prepared = form.prepare(&sandbox, config)?;
    notes(&run, &sandbox);
    if options.new_token {
        let path = format!("{path}/token");
        let ask = Ask::send(Method::POST, &path, "{}".to_owned());
        let rotated: Rotated = read(&plane.ask(ask).await?)?;
        print::err(format_args!(
            "note: the run has a new token; the one it had is dead, also in sandboxes that use it"
        ));
        sandbox.key = rotated.token.into();
    }
    print::text(&prepared.finish(&sandbox)?)
}

impl Options {
    fn form(&self) -> Result<Form, Failure> {
        match (self.format, &self.env_file) {
            (Format::Export, None) => Ok(Form::Export),
            (Format::Json, None) => Ok(Form::Json),
            (Format::Docker, env_file) => Ok(Form::Docker { env_file: env_file.clone() }),
            (Format::Export | Format::Json, Some(_)) => {
                let what = "--env-file goes with --format docker; see `rungate env --help`";
                Err(Failure::new(Exit::Usage, what))
            }
        }
    }
}

/// The token of the command line or of the environment. Anything but a run's token is refused, so
/// that no operator's token ends up in a sandbox.
fn given_token(options: &Options) -> Result<Option<SecretString>, Failure> {
    let (name, token) = match &options.token {
        _ if options.new_token => return Ok(None),
        Some(token) => ("--token", token.clone()),
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => (TOKEN_VARIABLE, token.into()),
            Ok(_) | Err(_) => return Ok(None),
        },
    };
    let secret = token.expose_secret().strip_prefix(RUN_TOKEN_PREFIX);
    let is_token = |secret: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !secret.is_empty() && secret.bytes().all(known)
    };
    if secret.is_some_and(is_token) {
        return Ok(Some(token));
    }
    let what = format!("{name} is no run's token; one begins with {RUN_TOKEN_PREFIX}");
    Err(Failure::new(Exit::Usage, what))
}

fn needs_token(run: &Run) -> Failure {
    let why = match run.require_token {
        true => "the run was registered with require_token",
        false => "RUN_AUTH=token is set",
    };
    let what = format!(
        "{why}, so its id is no key: give its token in {TOKEN_VARIABLE} or with --token, or \
         replace it with --new-token"
    );
    Failure::new(Exit::Usage, what)
}

fn model(options: &Options, run: &Run) -> Result<Option<String>, Failure> {
    let first = || run.allowed_models.iter().flatten().next();
    let Some(model) = options.model.as_ref().or_else(first) else { return Ok(None) };
    let model = one_line(model).map_err(|why| {
        Failure::new(Exit::Failed, format!("the run's first allowed model {why}; give --model"))
    })?;
    Ok(Some(model))
}

/// Whole seconds until the run expires.
fn time_left(run: &Run) -> Option<u64> {
    let left = run.expires_at? - Utc::now();
    u64::try_from(left.num_seconds()).ok().filter(|seconds| *seconds > 0)
}

/// What the reader might not expect. It goes to standard error, so that the output can be used.
fn notes(run: &Run, sandbox: &Sandbox) {
    let note = |text: &str| print::err(format_args!("note: {text}"));
    let is_closed = RunState::parse(&run.status)
        .is_some_and(|state| state.admission() == StateAdmission::Closed);
    if is_closed {
        note(&format!("the run is {}; its calls will be refused", run.status));
    } else if run.expires_at.is_some_and(|expiry| expiry <= Utc::now()) {
        note("the run has expired; its calls will be refused");
    }
    let allowed = run.allowed_models.as_deref();
    match (&sandbox.model, allowed) {
        (None, _) => note(
            "the run may use every model, so no variable names one; --model adds them \
             (ANTHROPIC_MODEL, LLM_MODEL and others)",
        ),
        (Some(model), Some(allowed)) if !allowed.contains(model) => {
            note("this model is not among the run's allowed_models by this name");
        }
        (Some(_), _) => {}
    }
    if sandbox.gateway.hidden_from_docker {
        note(
            "LISTEN_ADDR is a loopback address; on Linux no container reaches it. Let the gateway \
             listen on 0.0.0.0:8080 or on the address of the docker bridge",
        );
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    // The answer may hold a token, so nothing of it is told.
    serde_json::from_str(answer).map_err(|_| {
        let what =
            "the control plane's answer is no run; does a gateway of this version run there?";
        Failure::new(Exit::Failed, what)
    })
}

fn one_line(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("is empty or holds control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn absolute(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("is not an absolute path such as /run/gateway/codex".to_owned());
    }
    one_line(text).map(|path| path.trim_end_matches('/').to_owned())
}
