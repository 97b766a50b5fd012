//! What an inference key allows and may spend, as bodies say it.

use std::collections::HashSet;

use crate::domain::fault::Fault;
use crate::domain::organization::{KeyLimits, KeyPatch, KeyTerms, MAX_IDENTITY_BYTES};
use crate::domain::usage::Tokens;
use crate::http::operator::fields::{Fields, MAX_COUNT};
use crate::http::operator::members::{Kind, Member, Range, not_null, optional};

use super::MAX_NAME_BYTES;
use super::settings::MAX_TOKENS;

/// Most names in `allowed_models`.
const MAX_MODELS: usize = 1_000;
/// The endpoints that a key can be bound to. Each stands for its other paths too.
const ENDPOINTS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
];

const POSITIVE: Kind = Kind::Count(Range::new(1, MAX_COUNT));
const TOKENS: Kind = Kind::Count(Range::new(1, MAX_TOKENS));

/// The members of a new key.
pub(super) static NEW_FIELDS: &[Member] = &[
    Member {
        required: true,
        ..not_null("name", Kind::Label(MAX_NAME_BYTES), "What its owner calls it.")
    },
    Member {
        required: true,
        ..not_null(
            "monthly_token_limit",
            TOKENS,
            "Most tokens in a month (UTC). There is no unlimited key.",
        )
    },
    optional("rate_limit_rpm", POSITIVE, "Most requests a minute, on each gateway."),
    optional("rate_limit_rps", POSITIVE, "Most requests a second, on each gateway."),
    optional("tokens_per_minute", POSITIVE, "Most tokens a minute, on each gateway."),
    optional("daily_token_limit", TOKENS, "Most tokens in a day (UTC)."),
    not_null("monthly_limit_usd", Kind::Usd, "Most dollars in a month (UTC)."),
    not_null("lifetime_limit_usd", Kind::Usd, "Most dollars over its lifetime."),
    optional("max_concurrency", POSITIVE, "Most calls at once, on each gateway."),
    optional("allowed_models", Kind::Names(MAX_MODELS), "The models it is good for; `null`: all."),
    optional(
        "allowed_endpoints",
        Kind::Words(&ENDPOINTS),
        "The endpoints it is good for, as `/v1/chat/completions`; `null`: all.",
    ),
    optional("expires_at", Kind::Instant, "When it stops being good by itself."),
    optional("require_run", Kind::Flag, "Whether each of its calls must name a run."),
    optional(
        "client_identity",
        Kind::CertificateName,
        "The name in a client certificate that is as good as its secret, as \
         `san:dns:agent.example`. Names belong to all organizations, so only the operator gives \
         them.",
    ),
];

/// The members of a change: those of a new key, none of which must be there.
pub(super) static PATCH_FIELDS: &[Member] = &[
    not_null("name", Kind::Label(MAX_NAME_BYTES), "What its owner calls it."),
    not_null("monthly_token_limit", TOKENS, "Most tokens in a month (UTC)."),
    not_null("require_run", Kind::Flag, "Whether each of its calls must name a run."),
    optional("rate_limit_rpm", POSITIVE, "Most requests a minute, on each gateway; `null`: any."),
    optional("rate_limit_rps", POSITIVE, "Most requests a second, on each gateway; `null`: any."),
    optional("tokens_per_minute", POSITIVE, "Most tokens a minute, on each gateway; `null`: any."),
    optional("daily_token_limit", TOKENS, "Most tokens in a day (UTC); `null`: no such limit."),
    optional("monthly_limit_usd", Kind::Usd, "Most dollars in a month (UTC); `null`: no limit."),
    optional("lifetime_limit_usd", Kind::Usd, "Most dollars over its lifetime; `null`: no limit."),
    optional("max_concurrency", POSITIVE, "Most calls at once, on each gateway; `null`: any."),
    optional("allowed_models", Kind::Names(MAX_MODELS), "The models it is good for; `null`: all."),
    optional(
        "allowed_endpoints",
        Kind::Words(&ENDPOINTS),
        "The endpoints it is good for, as `/v1/chat/completions`; `null`: all.",
    ),
    optional("expires_at", Kind::Instant, "When it stops being good; `null`: never by itself."),
    optional(
        "client_identity",
        Kind::CertificateName,
        "The name in a client certificate that is as good as its secret; `null`: none. Only the \
         operator gives or takes it.",
    ),
];

/// Reads a new key.
pub(super) fn read_new(body: &str) -> Result<(KeyTerms, KeyLimits), Fault> {
    let fields = Fields::read(body, NEW_FIELDS, String::new())?;
    let name = fields.label("name", MAX_NAME_BYTES)?;
    let name = fields.required("name", name)?;
    let tokens = fields.count("monthly_token_limit")?;
    let tokens = fields.required("monthly_token_limit", tokens)?;
    let terms = KeyTerms {
        name,
        allowed_models: read_names(&fields, "allowed_models", MAX_MODELS)?,
        allowed_endpoints: read_endpoints(&fields)?,
        rate_limit_rpm: fields.small_count("rate_limit_rpm")?,
        max_concurrency: fields.small_count("max_concurrency")?,
        expires_at: fields.instant("expires_at")?,
        require_run: fields.flag("require_run")?.unwrap_or(false),
        rate_limit_rps: fields.small_count("rate_limit_rps")?,
        tokens_per_minute: fields.small_count("tokens_per_minute")?,
        client_identity: fields.label("client_identity", MAX_IDENTITY_BYTES)?,
    };
    let limits = KeyLimits {
        monthly_tokens: Tokens::new(tokens),
        daily_tokens: fields.count("daily_token_limit")?.map(Tokens::new),
        monthly_usd: fields.usd("monthly_limit_usd")?,
        lifetime_usd: fields.usd("lifetime_limit_usd")?,
    };
    Ok((terms, limits))
}

/// Reads a change. A `null` takes a limit away.
pub(super) fn read_patch(body: &str) -> Result<KeyPatch, Fault> {
    let fields = Fields::read(body, PATCH_FIELDS, String::new())?;
    for member in PATCH_FIELDS.iter().filter(|member| !member.nullable) {
        fields.not_null(member.name)?;
    }
    let given = |name: &str| fields.raw(name).is_some();
    let count = |name: &str| fields.small_count(name).map(|count| given(name).then_some(count));
    // A null is no amount of dollars, so it is not read as one.
    let usd = |name: &str| match fields.given(name) {
        Some(_) => fields.usd(name).map(Some),
        None => Ok(given(name).then_some(None)),
    };
    let daily = fields.count("daily_token_limit")?.map(Tokens::new);
    let models = read_names(&fields, "allowed_models", MAX_MODELS)?;
    let endpoints = read_endpoints(&fields)?;
    let expires_at = fields.instant("expires_at")?;
    let identity = fields.label("client_identity", MAX_IDENTITY_BYTES)?;
    Ok(KeyPatch {
        name: fields.label("name", MAX_NAME_BYTES)?,
        allowed_models: given("allowed_models").then_some(models),
        allowed_endpoints: given("allowed_endpoints").then_some(endpoints),
        rate_limit_rpm: count("rate_limit_rpm")?,
        rate_limit_rps: count("rate_limit_rps")?,
        tokens_per_minute: count("tokens_per_minute")?,
        max_concurrency: count("max_concurrency")?,
        expires_at: given("expires_at").then_some(expires_at),
        require_run: fields.flag("require_run")?,
        client_identity: given("client_identity").then_some(identity),
        monthly_tokens: fields.count("monthly_token_limit")?.map(Tokens::new),
        daily_tokens: given("daily_token_limit").then_some(daily),
        monthly_usd: usd("monthly_limit_usd")?,
        lifetime_usd: usd("lifetime_limit_usd")?,
    })
}

fn read_endpoints(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Fault> {
    const NAME: &str = "allowed_endpoints";
    let names = read_names(fields, NAME, ENDPOINTS.len())?;
    let known = |name: &String| ENDPOINTS.contains(&name.as_str());
    if names.iter().flatten().all(known) {
        return Ok(names);
    }
    Err(fields.wrong(NAME, format!("must be among {}", ENDPOINTS.join(", "))))
}

/// The names as they were given, each once.
fn read_names(fields: &Fields<'_>, name: &str, most: usize) -> Result<Option<Vec<String>>, Fault> {
    let Some(raw) = fields.given(name) else { return Ok(None) };
    let says = || format!("must be an array of 1 to {most} strings, or null for all");
    let mut names: Vec<String> =
        serde_json::from_str(raw).map_err(|_| fields.wrong(name, says()))?;
    if names.is_empty() || names.len() > most || names.iter().any(|name| name.contains('\0')) {
        return Err(fields.wrong(name, says()));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(Some(names))
}
