//! What the commands about keys take.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::id::KeyId;

use super::super::answer::Output;
use super::super::exit::{Exit, Failure};
use super::super::lists::Paging;
use super::super::organization::Of;
use super::super::values::{instant, usd};

/// What to do with the inference keys of an organization.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// Make a key; it is shown this once
    #[command(after_help = CREATE)]
    Create(Box<Create>),
    /// List keys, in the order in which they were made
    List(List),
    /// Show a key, its limits, and what it has used of them
    Show(One),
    /// Change a key's name or limits
    #[command(after_help = UPDATE)]
    Update(Box<Update>),
    /// Let a key be good for nothing until it is resumed
    Suspend(One),
    /// Let a suspended key be good again
    Resume(One),
    /// Replace a key's secret; the new one is shown this once, the old one is dead
    Rotate(One),
    /// Revoke a key for good
    Revoke(One),
}

const CREATE: &str = "\
For a team:      rungate keys create \"Lab notebook\" --org shop --monthly-token-limit 1000000
One model, $5:   rungate keys create student-7 --monthly-token-limit 1000000 \\
                   --lifetime-limit 5 --model gpt-4o-mini
For a script:    rungate keys create ci --monthly-token-limit 50000 --json | jq -r .secret";

const UPDATE: &str = "\
What is not named stays. --clear takes a limit away:
  rungate keys update ID --rate-limit-rpm 30 --clear daily-token-limit --clear model";

/// Limits that can be taken away: the option, and the member.
const CLEARABLE: [(&str, &str); 11] = [
    ("daily-token-limit", "daily_token_limit"),
    ("monthly-limit", "monthly_limit_usd"),
    ("lifetime-limit", "lifetime_limit_usd"),
    ("rate-limit-rpm", "rate_limit_rpm"),
    ("rate-limit-rps", "rate_limit_rps"),
    ("tokens-per-minute", "tokens_per_minute"),
    ("max-concurrency", "max_concurrency"),
    ("model", "allowed_models"),
    ("endpoint", "allowed_endpoints"),
    ("expires-at", "expires_at"),
    ("client-identity", "client_identity"),
];

/// Which key, and how to answer.
#[derive(Args, Debug)]
pub(in crate::cli) struct One {
    /// The key's id
    #[arg(value_parser = key_id)]
    pub(super) id: KeyId,
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Which keys to list.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) paging: Paging,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What to make.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Create {
    /// What its owner calls it
    name: String,
    /// Most tokens in a month (UTC); there is no unlimited key
    #[arg(long, value_name = "N")]
    monthly_token_limit: u64,
    #[command(flatten)]
    #[serde(flatten)]
    terms: Terms,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) of: Of,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// What to change.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Update {
    #[command(flatten)]
    #[serde(skip)]
    pub(super) one: One,
    /// What its owner calls it from now on
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Most tokens in a month (UTC)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    monthly_token_limit: Option<u64>,
    #[command(flatten)]
    #[serde(flatten)]
    terms: Terms,
    /// A limit to take away; repeat it for more
    #[arg(long, value_name = "LIMIT", value_parser = clearable())]
    #[serde(skip)]
    pub(super) clear: Vec<String>,
}

/// What a new key may have, and what can be changed.
#[derive(Args, Debug, Serialize)]
struct Terms {
    /// Most tokens in a day (UTC)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_token_limit: Option<u64>,
    /// Most dollars in a month (UTC), such as 2.50
    #[arg(long = "monthly-limit", value_name = "USD", value_parser = usd)]
    #[serde(skip_serializing_if = "Option::is_none")]
    monthly_limit_usd: Option<String>,
    /// Most dollars over its lifetime
    #[arg(long = "lifetime-limit", value_name = "USD", value_parser = usd)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_limit_usd: Option<String>,
    /// Most requests a minute, on each gateway
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_rpm: Option<u32>,
    /// Most requests a second, on each gateway
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_rps: Option<u32>,
    /// Most tokens a minute, on each gateway
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u32>,
    /// Most calls at once, on each gateway
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
    /// A model that it is good for; repeat it for more [default: all]
    #[arg(long = "model", value_name = "MODEL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_models: Vec<String>,
    /// An endpoint that it is good for, such as /v1/embeddings; repeat it for more [default: all]
    #[arg(long = "endpoint", value_name = "PATH")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_endpoints: Vec<String>,
    /// When it stops being good by itself (RFC 3339)
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Whether each of its calls must name a run
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    require_run: Option<bool>,
    /// The name in a client certificate that is as good as its secret, such as
    /// san:dns:agent.example
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_identity: Option<String>,
}

/// Takes these limits away.
///
/// # Errors
/// If one of them is given as well.
pub(super) fn clear(body: &mut Map<String, Value>, options: &[String]) -> Result<(), Failure> {
    for option in options {
        let known = CLEARABLE.iter().find(|(name, _)| name == option);
        let Some((name, member)) = known else { continue };
        if body.get(*member).is_some_and(|given| !given.is_null()) {
            let what = format!(
                "--{name} and --clear {name} contradict each other; see `rungate keys update \
                 --help`"
            );
            return Err(Failure::new(Exit::Usage, what));
        }
        body.insert((*member).to_owned(), Value::Null);
    }
    Ok(())
}

/// An update that says nothing.
pub(super) fn nothing_to_change() -> Failure {
    Failure::new(Exit::Usage, "there is nothing to change; see `rungate keys update --help`")
}

fn clearable() -> PossibleValuesParser {
    PossibleValuesParser::new(CLEARABLE.map(|(option, _)| option))
}

fn key_id(text: &str) -> Result<KeyId, String> {
    let what = "is not a key's id, a UUID; `rungate keys list` shows them";
    KeyId::parse(text).ok_or_else(|| what.to_owned())
}
