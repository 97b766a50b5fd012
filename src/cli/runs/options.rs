//! What the commands about runs take.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::control::AttemptBudget;
use crate::domain::id::RunId;
use crate::domain::run::{OnCap, RunState};

use super::super::answer::Output;
use super::super::run_id;
use super::super::values::{json, usd};

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RunsCommand {
    /// Register a run; its token is shown this once
    Create(Create),
    /// List runs, in the order of their registration
    List(List),
    /// Show a run and what it has used
    Show(Show),
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
pub(in crate::cli) struct One {
    /// The run's id
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Which run, and for how long.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    /// The run's id
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    #[command(flatten)]
    pub(super) watch: Watch,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Whether to go on looking.
#[derive(Args, Clone, Copy, Debug)]
pub(in crate::cli) struct Watch {
    /// Look again every second until the bill is final or Ctrl-C: on a terminal in place, elsewhere
    /// a line for each change
    #[arg(long = "watch")]
    pub(super) on: bool,
}

/// What to register.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Create {
    /// The run's cap in dollars, such as 0.25
    #[arg(long = "cost-limit", value_name = "USD", value_parser = usd)]
    cost_limit_usd: String,
    /// The run's id, a UUID [default: a new one]
    #[arg(long, value_parser = run_id)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RunId>,
    /// Where it begins [default: pending]
    #[arg(long, value_parser = states())]
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
    /// What happens to a call that the cap cannot afford in full [default: clamp]
    #[arg(long, value_parser = on_cap())]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_cap: Option<String>,
    /// Every call must carry the run's token
    #[arg(long)]
    require_token: bool,
    /// Other names of models, such as {"claude-haiku-4-5": "gpt-4o-mini"}
    #[arg(long, value_name = "JSON", value_parser = json)]
    #[serde(skip_serializing_if = "Option::is_none")]
    model_aliases: Option<Box<RawValue>>,
    /// Parameters of every call, whatever the client says, such as {"seed": 7}
    #[arg(long, value_name = "JSON", value_parser = json)]
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_parameters: Option<Box<RawValue>>,
    /// The one provider that serves it [default: any]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// A key of its own for a provider, in a file, such as openai=key.txt; repeat it for more
    #[arg(long = "own-key", value_name = "PROVIDER=FILE", value_parser = own_key)]
    #[serde(rename = "providers", skip_serializing_if = "Vec::is_empty")]
    own_keys: Vec<OwnKey>,
    /// A call whose provider fails goes on to the next one that serves its model
    #[arg(long, conflicts_with = "provider")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
    /// Whether its limits are for all attempts or each [default: shared]
    #[arg(long, value_parser = attempt_budgets())]
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_budget: Option<String>,
    /// Notes about it, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json)]
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// A key of its own for a provider.
#[derive(Clone, Debug, Serialize)]
struct OwnKey {
    provider: String,
    #[serde(serialize_with = "exposed")]
    api_key: SecretString,
}

/// For the request alone.
fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Which runs to list.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    /// Only runs in this state
    #[arg(long, value_parser = states())]
    pub(super) status: Option<String>,
    /// Most runs to list, up to 1000
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Go on after this run
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What to change.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Patch {
    /// The run's id
    #[serde(skip)]
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    /// The state to move to
    #[arg(long, value_parser = states())]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// The new cap in dollars
    #[arg(long = "cost-limit", value_name = "USD", value_parser = usd)]
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
    pub(super) output: Output,
}

/// How to close.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Close {
    /// The run's id
    #[serde(skip)]
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    /// Whether calls in flight may end or are cut
    #[arg(long, value_enum, default_value_t = Mode::Drain)]
    pub(super) mode: Mode,
    /// The state to move to [default: finished]
    #[arg(long, value_parser = states())]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Seconds to wait for calls in flight [default: 60 to drain, 30 to abort]
    #[arg(long = "wait", value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=600))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait_seconds: Option<u64>,
    /// Why, in your words
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// What happens to calls in flight.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Mode {
    /// They may end.
    Drain,
    /// They are cut.
    Abort,
}

/// How the next attempt begins.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct NextAttempt {
    /// The run's id
    #[serde(skip)]
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    /// Where it begins [default: pending]
    #[arg(long, value_parser = states())]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// Whose usage.
#[derive(Args, Debug)]
pub(in crate::cli) struct Usage {
    /// The run's id
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    /// Wait this many seconds for it to be final, up to 120
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=120), conflicts_with = "on")]
    pub(super) wait_final: u64,
    #[command(flatten)]
    pub(super) watch: Watch,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Whose calls.
#[derive(Args, Debug)]
pub(in crate::cli) struct Calls {
    /// The run's id
    #[arg(value_parser = run_id)]
    pub(super) id: RunId,
    /// Most calls to list, up to 1000 [default: 100, or all with --json]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: Option<u32>,
    /// Go on after this call
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<uuid::Uuid>,
    /// Print a JSON object on each line
    #[arg(long)]
    pub(super) json: bool,
}

/// The states by their names; those of Ridges' platform are taken as well.
fn states() -> PossibleValuesParser {
    const ALIASES: [(&str, RunState); 5] = [
        ("initializing_agent", RunState::Initializing),
        ("running_agent", RunState::Running),
        ("initializing_eval", RunState::Scoring),
        ("running_eval", RunState::Scoring),
        ("error", RunState::Failed),
    ];
    PossibleValuesParser::new(RunState::ALL.map(|state| {
        let names = ALIASES.iter().filter(|(_, meant)| *meant == state).map(|(name, _)| *name);
        PossibleValue::new(state.as_str()).aliases(names)
    }))
}

fn on_cap() -> PossibleValuesParser {
    PossibleValuesParser::new([OnCap::Clamp, OnCap::Refuse].map(OnCap::as_str))
}

fn attempt_budgets() -> PossibleValuesParser {
    PossibleValuesParser::new(AttemptBudget::ALL.map(AttemptBudget::as_str))
}

/// A provider and the file with the key, which stands in no argument that others could see.
fn own_key(text: &str) -> Result<OwnKey, String> {
    let (provider, file) = text.split_once('=').ok_or("is not of the form openai=key.txt")?;
    let key = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let api_key = SecretString::from(key.trim());
    Ok(OwnKey { provider: provider.to_owned(), api_key })
}

fn expiry(text: &str) -> Result<Box<RawValue>, String> {
    let value = if text == "never" { Value::Null } else { Value::from(text) };
    RawValue::from_string(value.to_string()).map_err(|error| error.to_string())
}
