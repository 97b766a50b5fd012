//! Inference keys: what applications call the data plane with.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use rust_decimal::prelude::ToPrimitive as _;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::domain::budget::{Unit, Window};
use crate::domain::fault::{Code, Fault};
use crate::domain::id::KeyId;
use crate::domain::money::Usd;
use crate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, MAX_IDENTITY_BYTES};
use crate::domain::usage::Tokens;
use crate::http::operator::change::read_nothing;
use crate::http::operator::credential::Caller;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::fields::{Fields, MAX_COUNT};
use crate::http::operator::members::{Kind, Member, Range, not_null, optional};
use crate::http::operator::view::{ListView, instant};
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::plain;
use crate::ledger::organizations::{BudgetStanding, KeyRecord};
use crate::protocol::schema::{InstantText, UsdText};

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

/// An inference key.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "InferenceKey")]
pub(super) struct KeyView {
    id: KeyId,
    name: String,
    /// The beginning of its secret.
    key_prefix: String,
    monthly_token_limit: Option<Tokens>,
    rate_limit_rpm: Option<u32>,
    rate_limit_rps: Option<u32>,
    tokens_per_minute: Option<u32>,
    status: KeyStatus,
    /// What was used of `monthly_token_limit`.
    tokens_used_cycle: Tokens,
    daily_token_limit: Option<Tokens>,
    /// What was used of `daily_token_limit`, if there is one.
    tokens_used_today: Option<Tokens>,
    monthly_limit_usd: Option<Usd>,
    /// What was spent of `monthly_limit_usd`, if there is one.
    #[schemars(with = "Option<UsdText>")]
    monthly_spent_usd: Option<String>,
    lifetime_limit_usd: Option<Usd>,
    /// What was spent of `lifetime_limit_usd`, if there is one.
    #[schemars(with = "Option<UsdText>")]
    lifetime_spent_usd: Option<String>,
    max_concurrency: Option<u32>,
    allowed_models: Option<Vec<String>>,
    allowed_endpoints: Option<Vec<String>>,
    #[schemars(with = "Option<InstantText>")]
    expires_at: Option<String>,
    require_run: bool,
    client_identity: Option<String>,
    #[schemars(with = "InstantText")]
    created_at: String,
    #[schemars(with = "Option<InstantText>")]
    rotated_at: Option<String>,
}

/// A key with its secret, which is shown once.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MintedInferenceKey")]
pub(super) struct MintedView {
    key: KeyView,
    secret: String,
}

impl KeyView {
    fn of(record: KeyRecord) -> Self {
        let KeyRecord { key, prefix, created_at, rotated_at, standings } = record;
        let standing = |unit: Unit, window: Window| {
            let of = |found: &&BudgetStanding| (found.budget.unit, found.budget.window);
            standings.iter().find(|found| of(found) == (unit, window))
        };
        let tokens = |window| standing(Unit::Tokens, window);
        let usd = |window| standing(Unit::Usd, window);
        let count =
            |number: rust_decimal::Decimal| Tokens::new(number.to_u64().unwrap_or(u64::MAX));
        let limit_usd =
            |window| usd(window).and_then(|found| Usd::from_decimal(found.balance.limit).ok());
        let terms = key.terms;
        Self {
            id: key.id,
            name: terms.name,
            key_prefix: prefix,
            monthly_token_limit: tokens(Window::Month).map(|found| count(found.balance.limit)),
            rate_limit_rpm: terms.rate_limit_rpm,
            rate_limit_rps: terms.rate_limit_rps,
            tokens_per_minute: terms.tokens_per_minute,
            status: key.status,
            tokens_used_cycle: tokens(Window::Month)
                .map(|found| count(found.balance.spent))
                .unwrap_or_default(),
            daily_token_limit: tokens(Window::Day).map(|found| count(found.balance.limit)),
            tokens_used_today: tokens(Window::Day).map(|found| count(found.balance.spent)),
            monthly_limit_usd: limit_usd(Window::Month),
            monthly_spent_usd: usd(Window::Month).map(|found| plain(found.balance.spent)),
            lifetime_limit_usd: limit_usd(Window::Lifetime),
            lifetime_spent_usd: usd(Window::Lifetime).map(|found| plain(found.balance.spent)),
            max_concurrency: terms.max_concurrency,
            allowed_models: terms.allowed_models,
            allowed_endpoints: terms.allowed_endpoints,
            expires_at: terms.expires_at.map(instant),
            require_run: terms.require_run,
            client_identity: terms.client_identity,
            created_at: instant(created_at),
            rotated_at: rotated_at.map(instant),
        }
    }
}

impl MintedView {
    fn of((key, secret): (KeyRecord, SecretString)) -> Self {
        Self { key: KeyView::of(key), secret: secret.expose_secret().to_owned() }
    }
}

fn read_new(body: &str) -> Result<(KeyTerms, KeyLimits), Fault> {
    let fields = Fields::read(body, NEW_FIELDS, String::new())?;
    let name = fields.label("name", MAX_NAME_BYTES)?;
    let name = fields.required("name", name)?;
    let tokens = fields.count("monthly_token_limit")?;
    let tokens = fields.required("monthly_token_limit", tokens)?;
    let terms = KeyTerms {
        name,
        allowed_models: read_names(&fields, "allowed_models", MAX_MODELS)?,
        allowed_endpoints: read_names(&fields, "allowed_endpoints", ENDPOINTS.len())?,
        rate_limit_rpm: fields.small_count("rate_limit_rpm")?,
        max_concurrency: fields.small_count("max_concurrency")?,
        expires_at: fields.instant("expires_at")?,
        require_run: fields.flag("require_run")?.unwrap_or(false),
        rate_limit_rps: fields.small_count("rate_limit_rps")?,
        tokens_per_minute: fields.small_count("tokens_per_minute")?,
        client_identity: fields.label("client_identity", MAX_IDENTITY_BYTES)?,
    };
    let mut endpoints = terms.allowed_endpoints.iter().flatten();
    if endpoints.any(|endpoint| !ENDPOINTS.contains(&endpoint.as_str())) {
        let says = format!("must be among {}", ENDPOINTS.join(", "));
        return Err(fields.wrong("allowed_endpoints", says));
    }
    let limits = KeyLimits {
        monthly_tokens: Tokens::new(tokens),
        daily_tokens: fields.count("daily_token_limit")?.map(Tokens::new),
        monthly_usd: fields.usd("monthly_limit_usd")?,
        lifetime_usd: fields.usd("lifetime_limit_usd")?,
    };
    Ok((terms, limits))
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

/// The key that the path names.
fn key_id(exchange: &Exchange) -> Result<KeyId, Fault> {
    KeyId::parse(exchange.part("key")).ok_or_else(|| {
        Fault::new(Code::NotFound, "The key's id in the path is not a UUID. Check the path.")
    })
}

/// `POST /organizations/{org}/inference/keys`
pub(super) async fn mint(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (caller, body) = exchange.body(payload, Right::Manage).await?;
        let (terms, limits) = read_new(body.text()?)?;
        if terms.client_identity.is_some() && !matches!(caller, Caller::Operator) {
            let says = "Only the operator says which certificate stands for a key.";
            return Err(Fault::new(Code::Forbidden, says).param("client_identity"));
        }
        let organization = exchange.organization()?;
        let minted = exchange.operator.gateway.mint_key(organization, terms, limits).await?;
        exchange.json(StatusCode::CREATED, &MintedView::of(minted))
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/inference/keys`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        let page = paging::read(&exchange.query(paging::PAGE)?)?;
        let found = exchange.operator.gateway.key_records(exchange.organization()?, page).await?;
        let next = found.rows.last().filter(|_| found.more).map(|record| record.key.id.to_string());
        let data = found.rows.into_iter().map(KeyView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/inference/keys/{key}`
pub(super) async fn show(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        exchange.query(&[])?;
        let (organization, key) = (exchange.organization()?, key_id(&exchange)?);
        let record = exchange.operator.gateway.key_record(organization, key).await?;
        exchange.json(StatusCode::OK, &KeyView::of(record))
    };
    exchange.answer(work).await
}

/// `POST …/inference/keys/{key}/suspend`, `…/resume`, and `DELETE …/inference/keys/{key}`
pub(super) async fn set_status(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
    status: KeyStatus,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Manage).await?;
        read_nothing(body.text()?)?;
        let (organization, key) = (exchange.organization()?, key_id(&exchange)?);
        let record = exchange.operator.gateway.set_key_status(organization, key, status).await?;
        exchange.json(StatusCode::OK, &KeyView::of(record))
    };
    exchange.answer(work).await
}

/// `POST …/inference/keys/{key}/rotate`
pub(super) async fn rotate(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Manage).await?;
        read_nothing(body.text()?)?;
        let (organization, key) = (exchange.organization()?, key_id(&exchange)?);
        let minted = exchange.operator.gateway.rotate_key(organization, key).await?;
        exchange.json(StatusCode::OK, &MintedView::of(minted))
    };
    exchange.answer(work).await
}
