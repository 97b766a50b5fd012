//! Inference keys: what applications call the data plane with.

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
use crate::domain::organization::KeyStatus;
use crate::domain::usage::Tokens;
use crate::http::operator::change::read_nothing;
use crate::http::operator::credential::Caller;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::view::ListView;
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::{instant, plain};
use crate::ledger::organizations::{BudgetStanding, KeyRecord};
use crate::protocol::schema::{InstantText, UsdText};

use super::key_terms;

/// An inference key.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "InferenceKey")]
pub(super) struct KeyView {
    id: KeyId,
    name: String,
    /// The beginning of its secret.
    key_prefix: String,
    monthly_token_limit: Tokens,
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
        let limits = record.limits();
        let KeyRecord { key, prefix, created_at, rotated_at, standings } = record;
        let spent = |unit: Unit, window: Window| {
            let of = |found: &&BudgetStanding| (found.budget.unit, found.budget.window);
            let found = standings.iter().find(|found| of(found) == (unit, window));
            found.map(|found| found.balance.spent)
        };
        let tokens = |window| {
            let spent = spent(Unit::Tokens, window)?;
            Some(Tokens::new(spent.to_u64().unwrap_or(u64::MAX)))
        };
        let terms = key.terms;
        Self {
            id: key.id,
            name: terms.name,
            key_prefix: prefix,
            monthly_token_limit: limits.monthly_tokens,
            rate_limit_rpm: terms.rate_limit_rpm,
            rate_limit_rps: terms.rate_limit_rps,
            tokens_per_minute: terms.tokens_per_minute,
            status: key.status,
            tokens_used_cycle: tokens(Window::Month).unwrap_or_default(),
            daily_token_limit: limits.daily_tokens,
            tokens_used_today: tokens(Window::Day),
            monthly_limit_usd: limits.monthly_usd,
            monthly_spent_usd: spent(Unit::Usd, Window::Month).map(plain),
            lifetime_limit_usd: limits.lifetime_usd,
            lifetime_spent_usd: spent(Unit::Usd, Window::Lifetime).map(plain),
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

/// Names in certificates belong to all organizations.
fn check_identity(is_given: bool, caller: &Caller) -> Result<(), Fault> {
    if !is_given || matches!(caller, Caller::Operator) {
        return Ok(());
    }
    let says = "Only the operator says which certificate stands for a key.";
    Err(Fault::new(Code::Forbidden, says).param("client_identity"))
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
        let (terms, limits) = key_terms::read_new(body.text()?)?;
        check_identity(terms.client_identity.is_some(), &caller)?;
        let organization = exchange.organization()?;
        let minted = exchange.operator.gateway.mint_key(organization, terms, limits).await?;
        exchange.json(StatusCode::CREATED, &MintedView::of(minted))
    };
    exchange.answer(work).await
}

/// `PATCH /organizations/{org}/inference/keys/{key}`
pub(super) async fn patch(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (caller, body) = exchange.body(payload, Right::Manage).await?;
        let patch = key_terms::read_patch(body.text()?)?;
        check_identity(patch.client_identity.is_some(), &caller)?;
        let (organization, key) = (exchange.organization()?, key_id(&exchange)?);
        let patched = exchange.operator.gateway.patch_key(organization, key, patch);
        let record = Box::pin(patched).await?;
        exchange.json(StatusCode::OK, &KeyView::of(record))
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
