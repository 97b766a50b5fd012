//! What a registration decides about the calls of its run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::control::{AttemptBudget, RunControl};
use crate::domain::fault::Fault;
use crate::protocol::json;
use crate::protocol::translate::forced;
use crate::providers;

use super::fields::Fields;
use super::members::{Kind, Member, optional};
use super::metadata;

/// Most aliases of one run.
const MAX_ALIASES: usize = 64;
/// The longest name of a model, in bytes, as in a request.
const MAX_NAME_BYTES: usize = 256;
/// Most bytes of each of the objects.
const MAX_BYTES: usize = 64 << 10;

const ALIASES: &str = "model_aliases";
const FORCED: &str = "forced_parameters";
const PROVIDER: &str = "provider";
const FALLBACK: &str = "fallback";
const BUDGET: &str = "attempt_budget";

static BUDGETS: [&str; 2] = [AttemptBudget::Shared.as_str(), AttemptBudget::PerAttempt.as_str()];

/// Other names of models.
pub(super) const MODEL_ALIASES: Member = optional(
    ALIASES,
    Kind::Aliases(MAX_ALIASES),
    "Names that clients insist on, each with the model that it stands for.",
);
/// What clients have no say in.
pub(super) const FORCED_PARAMETERS: Member = optional(
    FORCED,
    Kind::Parameters,
    "Parameters of every call for text, instead of what the client says. A call that cannot be \
     made with them is refused.",
);
/// Who serves the run.
pub(super) const PROVIDER_PIN: Member =
    optional(PROVIDER, Kind::Provider, "The one provider that serves it.");
/// Whether a call may move.
pub(super) const PROVIDER_FALLBACK: Member = optional(
    FALLBACK,
    Kind::Flag,
    "Whether a call whose provider fails goes on to the next one that serves its model; not beside \
     `provider`.",
);
/// What its limits are for.
pub(super) const ATTEMPT_BUDGET: Member = optional(
    BUDGET,
    Kind::Word(&BUDGETS),
    "Whether its limits are for all its attempts together, or for each.",
);

/// Reads them. Whether names lead to models that the run may use, the catalogue says.
pub(super) fn read(fields: &Fields<'_>) -> Result<RunControl, Fault> {
    let provider = fields.text(PROVIDER)?.map(Cow::into_owned);
    if provider.as_deref().is_some_and(|name| providers::find(name).is_none()) {
        let known: Vec<&str> = providers::REGISTRY.iter().map(|known| known.name).collect();
        return Err(fields.wrong(PROVIDER, format!("must be one of {}", known.join(", "))));
    }
    let fallback = fields.flag(FALLBACK)?.unwrap_or(false);
    if fallback && provider.is_some() {
        let says = "cannot stand beside provider, which pins the run to one; give one of them";
        return Err(fields.wrong(FALLBACK, says));
    }
    let attempt_budget = match fields.text(BUDGET)? {
        None => AttemptBudget::default(),
        Some(word) => AttemptBudget::parse(&word)
            .ok_or_else(|| fields.wrong(BUDGET, "must be \"shared\" or \"per_attempt\""))?,
    };
    Ok(RunControl {
        model_aliases: read_aliases(fields)?,
        forced_parameters: read_forced(fields)?,
        provider,
        own_providers: Vec::new(),
        fallback,
        attempt_budget,
    })
}

fn read_aliases(fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let wrong = |says: &str| fields.wrong(ALIASES, says);
    let members = members(fields, ALIASES)?;
    let mut aliases = BTreeMap::new();
    for (name, raw) in members {
        let model = json::text(raw.get()).ok_or_else(|| wrong("must be an object of strings"))?;
        if !is_name(&name) || !is_name(&model) {
            return Err(wrong("must name models in 1 to 256 bytes without control characters"));
        }
        aliases.insert(name, model.into_owned());
    }
    if aliases.len() > MAX_ALIASES {
        return Err(fields.wrong(ALIASES, format!("must have at most {MAX_ALIASES} members")));
    }
    if aliases.values().any(|model| aliases.contains_key(model)) {
        return Err(wrong("must lead to models of the catalogue, not to another alias"));
    }
    Ok(aliases)
}

fn read_forced(fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut found = BTreeMap::new();
    for (name, raw) in members(fields, FORCED)? {
        let shown = json::Path::default().to_foreign(&name);
        forced::check(&name, raw.get())
            .map_err(|says| fields.wrong(&format!("{FORCED}.{shown}"), says))?;
        found.insert(name, raw.get().to_owned());
    }
    Ok(found)
}

/// The members of an object; none if it is not given.
fn members(fields: &Fields<'_>, name: &str) -> Result<BTreeMap<String, Box<RawValue>>, Fault> {
    let Some(raw) = fields.given(name) else { return Ok(BTreeMap::new()) };
    if !raw.starts_with('{') {
        return Err(fields.wrong(name, "must be an object"));
    }
    if raw.len() > MAX_BYTES {
        return Err(fields.wrong(name, format!("must be at most {MAX_BYTES} bytes long")));
    }
    let mut nodes = json::MAX_NODES;
    json::check(raw, &mut nodes).map_err(|flaw| fields.wrong(name, flaw.says()))?;
    serde_json::from_str(raw).map_err(|_| fields.wrong(name, "must be an object"))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What of it makes two registrations the same. What is not given is left out, so that the
/// registrations of earlier releases stay what they were.
#[derive(Serialize)]
pub(super) struct Canonical<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    model_aliases: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_parameters: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_budget: Option<AttemptBudget>,
}

/// The form in which two are compared.
pub(super) fn canonical(control: &RunControl) -> Canonical<'_> {
    let forced = object(&control.forced_parameters);
    Canonical {
        model_aliases: &control.model_aliases,
        forced_parameters: forced.map(|object| metadata::canonical(object.get())),
        provider: control.provider.as_deref(),
        fallback: control.fallback.then_some(true),
        attempt_budget: Some(control.attempt_budget)
            .filter(|budget| *budget != AttemptBudget::Shared),
    }
}

/// Raw members as an object; `None` if it would be empty.
pub(super) fn object(members: &BTreeMap<String, String>) -> Option<Box<RawValue>> {
    if members.is_empty() {
        return None;
    }
    let raw = |value: &String| RawValue::from_string(value.clone()).ok();
    let members: BTreeMap<&str, _> =
        members.iter().map(|(name, value)| (name.as_str(), raw(value))).collect();
    serde_json::value::to_raw_value(&members).ok()
}
