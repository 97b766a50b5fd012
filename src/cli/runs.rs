//! `rungate runs`: register, read and close runs through the control plane.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::control::{Ask, ControlPlane};

mod shown;

use shown::{calls_table, run_card, runs_table, usage_card};

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Register a run; its token is shown this once
    Create(Create),
    /// List runs, in the order of their registration
    List(List),
    /// Show a run and what it has used
    Show(One),
    /// Change a run's state, cap, expiry or metadata
    Patch(Patch),
    /// End a run's spending, wait for its calls, show the bill
    Close(Close),
    /// Open the next attempt of a run; its token is shown this once
    Attempt(NextAttempt),
    /// Replace a run's token; the new one is shown this once
    Token(One),
    /// Show what a run has used
    Usage(Usage),
    /// List a run's ended calls
    Calls(Calls),
}

/// Which run, and how to answer.
#[derive(Args, Debug)]
pub struct One {
    /// The run's id
    id: uuid::Uuid,
    #[command(flatten)]
    output: Output,
}

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Print the answer as the control plane gave it, in JSON
    #[arg(long)]
    json: bool,
}

/// What to register.
#[derive(Args, Debug, Serialize)]
pub struct Create {
    /// The run's cap in dollars, such as 0.25
    #[arg(long = "cost-limit", value_name = "USD")]
    cost_limit_usd: String,
    /// The run's id, a UUID [default: a new one]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Where it begins [default: pending]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// A model it may use; repeat it for more [default: all]
    #[arg(long = "model", value_name = "MODEL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_models: Vec<String>,
    /// Most tokens over its lifetime
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_limit: Option<u64>,
    /// Most calls over its lifetime
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    call_limit: Option<u32>,
    /// Seconds until it stops spending by itself
    #[arg(long = "ttl", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    /// What happens to a call that the cap cannot afford in full: clamp or refuse
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_cap: Option<String>,
    /// Every call must carry the run's token
    #[arg(long)]
    require_token: bool,
    /// Notes about it, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json)]
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// Which runs to list.
#[derive(Args, Debug)]
pub struct List {
    /// Only runs in this state
    #[arg(long)]
    status: Option<String>,
    /// Most runs to list, up to 1000
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Go on after this run
    #[arg(long, value_name = "ID")]
    after: Option<uuid::Uuid>,
    #[command(flatten)]
    output: Output,
}

/// What to change.
#[derive(Args, Debug, Serialize)]
pub struct Patch {
    /// The run's id
    #[serde(skip)]
    id: uuid::Uuid,
    /// The state to move to
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// The new cap in dollars
    #[arg(long = "cost-limit", value_name = "USD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_limit_usd: Option<String>,
    /// When it stops spending by itself (RFC 3339), or `never`
    #[arg(long, value_name = "INSTANT", value_parser = expiry)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Box<RawValue>>,
    /// New notes, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json)]
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// How to close.
#[derive(Args, Debug, Serialize)]
pub struct Close {
    /// The run's id
    #[serde(skip)]
    id: uuid::Uuid,
    /// Whether calls in flight may end or are cut
    #[arg(long, value_enum, default_value_t = Mode::Drain)]
    mode: Mode,
    /// The state to move to [default: finished]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Seconds to wait for calls in flight [default: 60 to drain, 30 to abort]
    #[arg(long = "wait", value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=600))]
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_seconds: Option<u64>,
    /// Why, in your words
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// What happens to calls in flight.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They may end.
    Drain,
    /// They are cut.
    Abort,
}

/// How the next attempt begins.
#[derive(Args, Debug, Serialize)]
pub struct NextAttempt {
    /// The run's id
    #[serde(skip)]
    id: uuid::Uuid,
    /// Where it begins [default: pending]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// Whose usage.
#[derive(Args, Debug)]
pub struct Usage {
    /// The run's id
    id: uuid::Uuid,
    /// Wait this many seconds for it to be final, up to 120
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=120))]
    wait_final: u64,
    #[command(flatten)]
    output: Output,
}

/// Whose calls.
#[derive(Args, Debug)]
pub struct Calls {
    /// The run's id
    id: uuid::Uuid,
    /// Most calls to list, up to 1000 [default: 100, or all with --json]
    #[arg(long)]
    limit: Option<u32>,
    /// Go on after this call
    #[arg(long, value_name = "ID")]
    after: Option<uuid::Uuid>,
    /// Print a JSON object on each line
    #[arg(long)]
    json: bool,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())
}

fn expiry(text: &str) -> Result<Box<RawValue>, String> {
    let value = if text == "never" { Value::Null } else { Value::from(text) };
    RawValue::from_string(value.to_string()).map_err(|error| error.to_string())
}

/// Longest wait of a close, in seconds, when it does not say.
const CLOSE_WAIT: u64 = 60;

/// Does what was asked, through the control plane at `url`.
///
/// # Errors
/// One line: it cannot be reached, it refuses the token, there is no such run, or what it said.
pub async fn run(
    command: RunsCommand,
    url: &str,
    token: Option<SecretString>,
) -> anyhow::Result<()> {
    let plane = ControlPlane::new(url, token)?;
    match command {
        RunsCommand::Create(wanted) => {
            let ask = Ask::send(Method::POST, "/runs", serde_json::to_string(&wanted)?);
            show(&plane.ask(ask).await?, wanted.output, run_card)
        }
        RunsCommand::List(list) => {
            let path = list_path(&list)?;
            show(&plane.ask(Ask::get(&path)).await?, list.output, runs_table)
        }
        RunsCommand::Show(one) => {
            let path = format!("/runs/{}", one.id);
            show(&plane.ask(Ask::get(&path)).await?, one.output, run_card)
        }
        RunsCommand::Patch(patch) => {
            let path = format!("/runs/{}", patch.id);
            let ask = Ask::send(Method::PATCH, &path, serde_json::to_string(&patch)?);
            show(&plane.ask(ask).await?, patch.output, run_card)
        }
        RunsCommand::Close(close) => {
            let path = format!("/runs/{}/close", close.id);
            let wait = Duration::from_secs(close.wait_seconds.unwrap_or(CLOSE_WAIT));
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&close)?);
            show(&plane.ask(Ask { wait, ..ask }).await?, close.output, usage_card)
        }
        RunsCommand::Attempt(next) => {
            let path = format!("/runs/{}/attempts", next.id);
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&next)?);
            show(&plane.ask(ask).await?, next.output, run_card)
        }
        RunsCommand::Token(one) => {
            let path = format!("/runs/{}/token", one.id);
            let ask = Ask::send(Method::POST, &path, "{}".to_owned());
            show(&plane.ask(ask).await?, one.output, run_card)
        }
        RunsCommand::Usage(usage) => {
            let path = format!("/runs/{}/usage?wait_final={}s", usage.id, usage.wait_final);
            let wait = Duration::from_secs(usage.wait_final);
            show(&plane.ask(Ask { wait, ..Ask::get(&path) }).await?, usage.output, usage_card)
        }
        RunsCommand::Calls(calls) => list_calls(&plane, &calls).await,
    }
}

async fn list_calls(plane: &ControlPlane, calls: &Calls) -> anyhow::Result<()> {
    let limit = calls.limit.map(|limit| limit.to_string());
    let after = calls.after.map(|after| after.to_string());
    let query = [("limit", limit.as_deref()), ("after", after.as_deref())];
    let path = with_query(&format!("/runs/{}/calls", calls.id), &query)?;
    if calls.json {
        return plane.lines(&path, print).await;
    }
    show(&plane.ask(Ask::get(&path)).await?, Output { json: false }, calls_table)
}

fn list_path(list: &List) -> anyhow::Result<String> {
    let (limit, after) = (list.limit.to_string(), list.after.map(|after| after.to_string()));
    let query =
        [("status", list.status.as_deref()), ("limit", Some(&limit)), ("after", after.as_deref())];
    with_query("/runs", &query)
}

/// A path with those members of a query that have a value.
fn with_query(path: &str, members: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
    let given: Vec<_> =
        members.iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let url = reqwest::Url::parse_with_params("http://x/", given).context("the query is wrong")?;
    Ok(match url.query() {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    })
}

fn show(answer: &str, output: Output, as_text: fn(&Value) -> String) -> anyhow::Result<()> {
    let text = if output.json {
        answer.to_owned()
    } else {
        as_text(&serde_json::from_str(answer).context("the control plane did not answer in JSON")?)
    };
    print(format!("{text}\n").as_bytes())
}

/// Whoever reads this may have read enough: a closed pipe is no failure.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
