//! Bodies of `POST /runs` become registrations.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::money::Usd;
use crate::domain::organization::RunDefaults;
use crate::domain::run::{OnCap, Registration, RunState, RunTerms};
use crate::domain::usage::Tokens;
use crate::gateway::providers::WantedProvider;
use crate::protocol::json;

use super::control;
use super::fields::{Fields, MAX_COUNT};
use super::members::{Kind, Member, Range, optional};
use super::metadata;
use super::run_providers;

/// Most registrations of one request.
pub(super) const MAX_RUNS: usize = 1_000;
/// Most names in `allowed_models`.
const MAX_MODELS: usize = 1_000;
/// The longest life of a run, in seconds: a year.
const MAX_TTL: u64 = 31_536_000;
/// Most tokens of a lifetime: 2^53 - 1, which every JSON reader tells exactly.
const MAX_TOKEN_LIMIT: u64 = 9_007_199_254_740_991;

/// The members of a registration.
pub(super) static FIELDS: &[Member] = &[
    optional("id", Kind::Uuid, "The run's id; one is made if none is given."),
    optional("organization_id", Kind::Uuid, "Who pays: one that the caller may register runs for."),
    Member {
        name: "cost_limit_usd",
        kind: Kind::Usd,
        required: false,
        nullable: false,
        about: "The cap, in US dollars; 0 means zero. Required unless the organization has a \
                default.",
    },
    optional("status", Kind::State(&RunState::ALL), "Where the run begins; `pending` by default."),
    optional("allowed_models", Kind::Names(MAX_MODELS), "The models that it may use; `null`: all."),
    control::MODEL_ALIASES,
    control::FORCED_PARAMETERS,
    control::PROVIDER_PIN,
    control::PROVIDER_FALLBACK,
    control::ATTEMPT_BUDGET,
    run_providers::PROVIDERS,
    optional("token_limit", Kind::Count(TOKEN_LIMIT), "Most tokens over its lifetime."),
    optional("call_limit", Kind::Count(Range::new(0, MAX_COUNT)), "Most calls over its lifetime."),
    optional("max_concurrency", POSITIVE, "Most calls at once, on each gateway."),
    optional("requests_per_minute", POSITIVE, "Most requests a minute, on each gateway."),
    optional("max_output_tokens_per_call", POSITIVE, "Most output tokens of one choice of a call."),
    optional(
        "on_cap",
        Kind::Word(&ON_CAP),
        "What happens to a call that the cap cannot afford in full: its output is lowered, or it \
         is refused.",
    ),
    optional("expires_at", Kind::Instant, "When it stops spending by itself."),
    optional(
        "ttl_seconds",
        Kind::Count(Range::new(1, MAX_TTL)),
        "The same, from now on; not beside `expires_at`.",
    ),
    optional("require_token", Kind::Flag, "Whether the run's id alone is not enough to spend."),
    optional("metadata", Kind::Notes(metadata::MAX_BYTES), "Notes of the orchestrator's own."),
];

const POSITIVE: Kind = Kind::Count(Range::new(1, MAX_COUNT));
const TOKEN_LIMIT: Range = Range::new(0, MAX_TOKEN_LIMIT);
const ON_CAP: [&str; 2] = [OnCap::Clamp.as_str(), OnCap::Refuse.as_str()];

/// What a body asks to register.
pub(super) enum Wanted {
    /// One run.
    One(Box<WantedRun>),
    /// All of these, or none.
    Many(Vec<WantedRun>),
}

/// One registration, and what its run brings along.
pub(super) struct WantedRun {
    pub(super) registration: Registration,
    pub(super) providers: Vec<WantedProvider>,
    /// What goes before the names of its members in faults.
    pub(super) place: String,
}

/// For whom the caller may register runs.
pub(super) struct Owners {
    /// The organization of a run that names none.
    pub(super) usual: OrganizationId,
    /// All of them, with what their runs fall back to.
    pub(super) known: HashMap<OrganizationId, RunDefaults>,
}

/// The organizations that a body names, as far as it can be read.
pub(super) fn named_organizations(body: &str) -> HashSet<OrganizationId> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        organization_id: Option<Cow<'a, str>>,
    }
    let one: Vec<&RawValue>;
    let all: &[&RawValue] = if body.trim_start().starts_with('[') {
        one = serde_json::from_str(body).unwrap_or_default();
        &one
    } else {
        one = serde_json::from_str(body).into_iter().collect();
        &one
    };
    let named = all.iter().filter_map(|raw| serde_json::from_str::<Named<'_>>(raw.get()).ok());
    let named = named.filter_map(|named| OrganizationId::parse(&named.organization_id?));
    named.collect()
}

/// Reads one registration, or an array of them.
pub(super) fn read(body: &str, now: DateTime<Utc>, owners: &Owners) -> Result<Wanted, Fault> {
    if !body.trim_start().starts_with('[') {
        return read_one(body, String::new(), now, owners).map(|one| Wanted::One(Box::new(one)));
    }
    let elements: Vec<&RawValue> =
        serde_json::from_str(body).map_err(|error| json::syntax_fault(&error))?;
    if elements.len() > MAX_RUNS {
        return Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "The array holds more than {MAX_RUNS} runs. Register them in several requests."
            ),
        ));
    }
    let read =
        |(index, raw): (usize, &&RawValue)| read_one(raw.get(), format!("[{index}]."), now, owners);
    elements.iter().enumerate().map(read).collect::<Result<_, _>>().map(Wanted::Many)
}

fn read_one(
    text: &str,
    prefix: String,
    now: DateTime<Utc>,
    owners: &Owners,
) -> Result<WantedRun, Fault> {
    let fields = Fields::read(text, FIELDS, prefix.clone())?;
    let (organization, defaults) = read_owner(&fields, owners)?;
    let given = fields.usd("cost_limit_usd")?;
    let cost_limit = given.or(defaults.cost_limit).ok_or_else(|| {
        fields.wrong("cost_limit_usd", "is required: the run's cap, such as \"0.25\"")
    })?;
    let status = fields.state("status")?.unwrap_or(RunState::Pending);
    let mut terms = read_terms(&fields, organization)?;
    let expiry = read_expiry(&fields)?;
    let metadata = metadata::read(&fields)?.unwrap_or_else(|| "{}".to_owned());
    let id = read_id(&fields)?;
    let providers = run_providers::read(&fields)?;
    terms.control.own_providers = run_providers::names(&providers);
    let fingerprint = fingerprint(id, &terms, &providers, given, status, &expiry, &metadata)?;
    let expires_at = match expiry {
        Expiry::Never => None,
        Expiry::At(instant) => Some(instant),
        Expiry::After(seconds) => Some(now + Duration::from_secs(seconds)),
    };
    // Only now: the same body is the same registration, whatever the defaults became.
    fall_back(&mut terms, defaults);
    let registration = Registration {
        id,
        terms,
        cost_limit,
        status,
        expires_at,
        metadata,
        providers: Vec::new(),
        fingerprint,
    };
    Ok(WantedRun { registration, providers, place: prefix })
}

/// Last of all, since it names the run.
fn read_id(fields: &Fields<'_>) -> Result<RunId, Fault> {
    let Some(raw) = fields.given("id") else { return Ok(RunId::random()) };
    json::text(raw).as_deref().and_then(RunId::parse).ok_or_else(|| {
        let param = fields.wrong("id", "").param_name().unwrap_or("id").to_owned();
        let message = format!("{param} is not a UUID. Send one, or leave it out to be given one.");
        Fault::new(Code::InvalidRunId, message).param(param)
    })
}

/// Whose the run is. One that the caller may not know of is told as one that does not exist.
fn read_owner(
    fields: &Fields<'_>,
    owners: &Owners,
) -> Result<(OrganizationId, RunDefaults), Fault> {
    let named = fields.text("organization_id")?;
    let id = named.map_or(Some(owners.usual), |text| OrganizationId::parse(&text));
    let found = id.and_then(|id| Some((id, *owners.known.get(&id)?)));
    found.ok_or_else(|| fields.wrong("organization_id", "names no organization; leave it out"))
}

fn fall_back(terms: &mut RunTerms, defaults: RunDefaults) {
    terms.token_limit = terms.token_limit.or(defaults.token_limit);
    terms.call_limit = terms.call_limit.or(defaults.call_limit);
    terms.max_concurrency = terms.max_concurrency.or(defaults.max_concurrency);
    terms.requests_per_minute = terms.requests_per_minute.or(defaults.requests_per_minute);
    let most = terms.max_output_tokens_per_call;
    terms.max_output_tokens_per_call = most.or(defaults.max_output_tokens_per_call);
}

fn read_terms(fields: &Fields<'_>, organization: OrganizationId) -> Result<RunTerms, Fault> {
    let on_cap = match fields.text("on_cap")? {
        None => OnCap::Clamp,
        Some(word) => OnCap::parse(&word)
            .ok_or_else(|| fields.wrong("on_cap", "must be \"clamp\" or \"refuse\""))?,
    };
    let output = fields.count("max_output_tokens_per_call")?;
    let token_limit = fields.count("token_limit")?;
    Ok(RunTerms {
        organization,
        allowed_models: read_models(fields)?,
        token_limit: token_limit.map(Tokens::new),
        call_limit: fields.small_count("call_limit")?,
        max_concurrency: fields.small_count("max_concurrency")?,
        requests_per_minute: fields.small_count("requests_per_minute")?,
        max_output_tokens_per_call: output.map(Tokens::new),
        on_cap,
        require_token: fields.flag("require_token")?.unwrap_or(false),
        control: control::read(fields)?,
    })
}

/// The names as they were given, each once. Whether they name models, the catalogue says.
fn read_models(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Fault> {
    const NAME: &str = "allowed_models";
    let Some(raw) = fields.given(NAME) else { return Ok(None) };
    let mut names: Vec<String> = serde_json::from_str(raw)
        .map_err(|_| fields.wrong(NAME, "must be an array of model names, or null for all"))?;
    if names.is_empty() || names.len() > MAX_MODELS {
        let says = format!("must name between 1 and {MAX_MODELS} models, or be null for all");
        return Err(fields.wrong(NAME, says));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(Some(names))
}

/// When a run stops spending by itself, as it was asked.
enum Expiry {
    Never,
    At(DateTime<Utc>),
    After(u64),
}

fn read_expiry(fields: &Fields<'_>) -> Result<Expiry, Fault> {
    let instant = fields.instant("expires_at")?;
    let ttl = fields.count("ttl_seconds")?;
    match (instant, ttl) {
        (None, None) => Ok(Expiry::Never),
        (Some(instant), None) => Ok(Expiry::At(instant)),
        (None, Some(seconds)) => Ok(Expiry::After(seconds)),
        (Some(_), Some(_)) => {
            Err(fields.wrong("ttl_seconds", "cannot stand beside expires_at; give one of them"))
        }
    }
}

/// What makes two registrations the same, with every default filled in.
#[derive(Serialize)]
struct Canonical<'a> {
    id: RunId,
    organization_id: OrganizationId,
    cost_limit_usd: Option<Usd>,
    status: RunState,
    allowed_models: Option<Vec<&'a str>>,
    token_limit: Option<Tokens>,
    call_limit: Option<u32>,
    max_concurrency: Option<u32>,
    requests_per_minute: Option<u32>,
    max_output_tokens_per_call: Option<Tokens>,
    on_cap: OnCap,
    require_token: bool,
    expires_at: Option<DateTime<Utc>>,
    ttl_seconds: Option<u64>,
    metadata: String,
    #[serde(flatten)]
    control: control::Canonical<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    providers: Vec<run_providers::Canonical<'a>>,
}

fn fingerprint(
    id: RunId,
    terms: &RunTerms,
    providers: &[WantedProvider],
    cost_limit: Option<Usd>,
    status: RunState,
    expiry: &Expiry,
    metadata: &str,
) -> Result<[u8; 32], Fault> {
    let (expires_at, ttl_seconds) = match expiry {
        Expiry::Never => (None, None),
        Expiry::At(instant) => (Some(*instant), None),
        // Not the instant it leads to: the same body again is the same registration.
        Expiry::After(seconds) => (None, Some(*seconds)),
    };
    let allowed_models = terms.allowed_models.as_ref().map(|names| {
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted
    });
    let canonical = Canonical {
        id,
        organization_id: terms.organization,
        cost_limit_usd: cost_limit.map(Usd::normalized),
        status,
        allowed_models,
        token_limit: terms.token_limit,
        call_limit: terms.call_limit,
        max_concurrency: terms.max_concurrency,
        requests_per_minute: terms.requests_per_minute,
        max_output_tokens_per_call: terms.max_output_tokens_per_call,
        on_cap: terms.on_cap,
        require_token: terms.require_token,
        expires_at,
        ttl_seconds,
        metadata: metadata::canonical(metadata),
        control: control::canonical(&terms.control),
        providers: run_providers::canonical(providers),
    };
    let bytes = serde_json::to_vec(&canonical).map_err(|error| {
        Fault::internal(
            Code::InternalError,
            "The registration could not be read; try again.",
            error,
        )
    })?;
    Ok(Sha256::digest(bytes).into())
}
