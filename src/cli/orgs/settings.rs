//! `rungate orgs set`: what an organization has set.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::tier::ServiceTier;

use super::super::answer::Output;
use super::super::control::{Ask, ControlPlane, parsed};
use super::super::exit::{Exit, Failure};
use super::super::values::{cents, usd};
use super::options::Which;
use super::shown;

/// What can be taken away: the option, the object, its member.
const CLEARABLE: [(&str, &str, &str); 10] = [
    ("default-cost-limit", DEFAULTS, "cost_limit_usd"),
    ("default-token-limit", DEFAULTS, "token_limit"),
    ("default-call-limit", DEFAULTS, "call_limit"),
    ("default-max-concurrency", DEFAULTS, "max_concurrency"),
    ("default-requests-per-minute", DEFAULTS, "requests_per_minute"),
    ("default-max-output-tokens", DEFAULTS, "max_output_tokens_per_call"),
    ("rate-limit-rps", LIMITS, "rate_limit_rps"),
    ("rate-limit-rpm", LIMITS, "rate_limit_rpm"),
    ("tokens-per-minute", LIMITS, "tokens_per_minute"),
    ("max-concurrency", LIMITS, "max_concurrency"),
];
const DEFAULTS: &str = "run_defaults";
const LIMITS: &str = "limits";

/// What to change.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    #[serde(skip)]
    pub(super) which: Which,
    /// What a month (UTC) may cost in dollars, in whole cents; needed the first time
    #[arg(long = "monthly-limit", value_name = "USD", value_parser = cents)]
    #[arg(conflicts_with = "monthly_limit_cents")]
    #[serde(rename = "monthly_cost_limit_cents", skip_serializing_if = "Option::is_none")]
    monthly_limit: Option<u64>,
    /// The same in US cents
    #[arg(long, value_name = "N")]
    #[serde(rename = "monthly_cost_limit_cents", skip_serializing_if = "Option::is_none")]
    monthly_limit_cents: Option<u64>,
    /// Whether only providers are reached that are attested to be in the EU
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eu_only: Option<bool>,
    /// The tier that its calls ask for where the target has prices for it
    #[arg(long, value_name = "TIER", value_parser = PossibleValuesParser::new(ServiceTier::WORDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<String>,
    /// Close an open cost circuit, if less is spent than the limit
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reset_circuit: bool,
    #[command(flatten)]
    #[serde(rename = "run_defaults")]
    defaults: Defaults,
    #[command(flatten)]
    limits: Limits,
    /// A default or a rate to take away; repeat it for more
    #[arg(long, value_name = "NAME", value_parser = clearable())]
    #[serde(skip)]
    clear: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// What a run falls back to whose registration says nothing.
#[derive(Args, Debug, Serialize)]
struct Defaults {
    /// The cap of a run that names none, in dollars
    #[arg(long = "default-cost-limit", value_name = "USD", value_parser = usd)]
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_limit_usd: Option<String>,
    /// Most tokens of such a run
    #[arg(long = "default-token-limit", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_limit: Option<u64>,
    /// Most calls of such a run
    #[arg(long = "default-call-limit", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    call_limit: Option<u32>,
    /// Most calls at once of such a run, on each gateway
    #[arg(id = "default_max_concurrency", long = "default-max-concurrency", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
    /// Most requests a minute of such a run, on each gateway
    #[arg(long = "default-requests-per-minute", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    /// Most output tokens of a choice of its calls
    #[arg(long = "default-max-output-tokens", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens_per_call: Option<u64>,
}

/// How fast its calls may come, on each gateway.
#[derive(Args, Debug, Serialize)]
struct Limits {
    /// Most requests a second of all its calls, on each gateway
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_rps: Option<u32>,
    /// Most requests a minute
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_rpm: Option<u32>,
    /// Most tokens a minute
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u32>,
    /// Most calls at once
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<u32>,
}

/// What is to be changed, before it is known what is to stay.
pub(super) struct Change {
    body: Map<String, Value>,
    objects: Vec<Object>,
}

/// What is to be changed of an object that is put as a whole.
struct Object {
    name: &'static str,
    given: Value,
    cleared: Vec<&'static str>,
}

impl Change {
    /// What was typed.
    ///
    /// # Errors
    /// If nothing is named, or something is both given and taken away.
    pub(super) fn of(set: &Set) -> anyhow::Result<Self> {
        let Value::Object(mut body) = serde_json::to_value(set)? else {
            return Err(nothing_to_change().into());
        };
        let mut objects = Vec::new();
        for name in [DEFAULTS, LIMITS] {
            let given = body.remove(name).unwrap_or_default();
            let mut cleared = Vec::new();
            for (option, of, member) in CLEARABLE {
                if of != name || !set.clear.iter().any(|clear| clear == option) {
                    continue;
                }
                if given.get(member).is_some() {
                    return Err(contradiction(option).into());
                }
                cleared.push(member);
            }
            if !cleared.is_empty() || given.as_object().is_some_and(|given| !given.is_empty()) {
                objects.push(Object { name, given, cleared });
            }
        }
        if body.is_empty() && objects.is_empty() {
            return Err(nothing_to_change().into());
        }
        Ok(Self { body, objects })
    }

    /// The body that makes it so and lets the rest be as it is at `path`.
    ///
    /// # Errors
    /// As for any request.
    pub(super) async fn over(
        mut self,
        plane: &ControlPlane,
        path: &str,
    ) -> anyhow::Result<Map<String, Value>> {
        if self.objects.is_empty() {
            return Ok(self.body);
        }
        let kept = parsed(&plane.ask(Ask::get(path)).await?)?;
        for Object { name, given, cleared } in self.objects {
            let members = [kept.get(name), Some(&given)].into_iter().flatten();
            let members = members.filter_map(Value::as_object).flatten();
            let stays = members
                .filter(|(member, value)| !value.is_null() && !cleared.contains(&member.as_str()));
            let whole = stays.map(|(member, value)| (member.clone(), value.clone())).collect();
            self.body.insert(name.to_owned(), Value::Object(whole));
        }
        Ok(self.body)
    }
}

fn contradiction(option: &str) -> Failure {
    let what = format!(
        "--{option} and --clear {option} contradict each other; see `rungate orgs set --help`"
    );
    Failure::new(Exit::Usage, what)
}

fn nothing_to_change() -> Failure {
    Failure::new(Exit::Usage, "there is nothing to change; see `rungate orgs set --help`")
}

fn clearable() -> PossibleValuesParser {
    PossibleValuesParser::new(CLEARABLE.map(|(option, ..)| option))
}

/// What is set now.
pub(super) fn card(settings: &Value) -> String {
    shown::lines(&shown::settings(settings))
}
