//! Organizations and their settings.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::budget::Scope;
use crate::domain::fault::Fault;
use crate::domain::id::OrganizationId;
use crate::domain::limits::Limits;
use crate::domain::money::Usd;
use crate::domain::organization::{RunDefaults, SettingsPatch};
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::fields::{Fields, MAX_COUNT};
use crate::http::operator::members::{Kind, Member, Range, not_null, optional};
use crate::http::operator::view::ListView;
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::{instant, plain};
use crate::ledger::organizations::{BudgetStanding, OrganizationRecord};
use crate::protocol::json;
use crate::protocol::schema::{InstantText, UsdText};

use super::MAX_NAME_BYTES;

/// The largest monthly limit: as many dollars as any limit may have, in cents.
const MAX_CENTS: u64 = 999_999_999_999;

const POSITIVE: Kind = Kind::Count(Range::new(1, MAX_COUNT));

/// The members of a new organization.
pub(super) static NEW_FIELDS: &[Member] = &[
    optional("id", Kind::Uuid, "Its id; one is made if none is given."),
    Member {
        required: true,
        ..not_null("name", Kind::Label(MAX_NAME_BYTES), "What it is called; no other is.")
    },
];

/// The members of settings.
pub(super) static SETTINGS_FIELDS: &[Member] = &[
    not_null(
        "monthly_cost_limit_cents",
        Kind::Count(Range::new(0, MAX_CENTS)),
        "What a month (UTC) may cost, in US cents; required at the first configuration. When it \
         is reached the cost circuit opens. It may be set below what is spent.",
    ),
    not_null("eu_only", Kind::Flag, "Whether only providers attested to be in the EU are reached."),
    not_null(
        "reset_circuit",
        Kind::Flag,
        "`true` closes an open cost circuit, if less is spent than the limit.",
    ),
    not_null(
        "service_tier",
        Kind::Word(&ServiceTier::WORDS),
        "The tier that its calls ask for, at providers that take one, of models that have prices \
         for it; other calls stay in `default`. A call is charged at the tier that served it.",
    ),
    not_null(
        "run_defaults",
        Kind::Object(DEFAULT_FIELDS),
        "What runs fall back to whose registration says nothing; as a whole.",
    ),
    not_null(
        "limits",
        Kind::Object(LIMIT_FIELDS),
        "How fast its calls may come, on each gateway; as a whole.",
    ),
];

static LIMIT_FIELDS: &[Member] = &[
    optional("rate_limit_rps", POSITIVE, "Most requests a second."),
    optional("rate_limit_rpm", POSITIVE, "Most requests a minute."),
    optional("tokens_per_minute", POSITIVE, "Most tokens a minute."),
    optional("max_concurrency", POSITIVE, "Most calls at once."),
];

static DEFAULT_FIELDS: &[Member] = &[
    not_null("cost_limit_usd", Kind::Usd, "The cap."),
    optional("token_limit", Kind::Count(Range::new(0, MAX_TOKENS)), "Most tokens."),
    optional("call_limit", Kind::Count(Range::new(0, MAX_COUNT)), "Most calls."),
    optional("max_concurrency", POSITIVE, "Most calls at once, on each gateway."),
    optional("requests_per_minute", POSITIVE, "Most requests a minute, on each gateway."),
    optional("max_output_tokens_per_call", POSITIVE, "Most output tokens of a choice of a call."),
];

/// Most tokens of a limit: 2^53 - 1, which every JSON reader tells exactly.
pub(super) const MAX_TOKENS: u64 = 9_007_199_254_740_991;

/// An organization.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Organization")]
pub(super) struct OrganizationView {
    id: OrganizationId,
    name: String,
    /// Whether its settings were ever put.
    configured: bool,
    circuit: Option<Circuit>,
    #[schemars(with = "InstantText")]
    created_at: String,
}

/// Whether an organization's calls are let through.
#[derive(Clone, Copy, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Circuit {
    /// They are, as far as the month's limit goes.
    Closed,
    /// None is, until somebody resets it.
    Open,
}

/// What an organization has set, and where its month stands.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OrganizationSettings")]
pub(super) struct SettingsView {
    organization_id: OrganizationId,
    /// Whether they were ever put.
    configured: bool,
    /// Exact, whatever it is: a whole number unless somebody set a fraction of a cent.
    #[schemars(with = "Option<u64>")]
    monthly_cost_limit_cents: Option<Box<RawValue>>,
    monthly_cost_limit_usd: Option<Usd>,
    eu_only: bool,
    circuit: Option<Circuit>,
    #[schemars(with = "Option<InstantText>")]
    month_started_at: Option<String>,
    #[schemars(with = "Option<UsdText>")]
    month_spent_usd: Option<String>,
    #[schemars(with = "Option<UsdText>")]
    month_reserved_usd: Option<String>,
    /// The tier that its calls ask for, where that has prices.
    service_tier: ServiceTier,
    run_defaults: DefaultsView,
    limits: LimitsView,
}

/// How fast an organization's calls may come, on each gateway.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OrganizationLimits")]
struct LimitsView {
    rate_limit_rps: Option<u32>,
    rate_limit_rpm: Option<u32>,
    tokens_per_minute: Option<u32>,
    max_concurrency: Option<u32>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "RunDefaults")]
struct DefaultsView {
    cost_limit_usd: Option<Usd>,
    token_limit: Option<Tokens>,
    call_limit: Option<u32>,
    max_concurrency: Option<u32>,
    requests_per_minute: Option<u32>,
    max_output_tokens_per_call: Option<Tokens>,
}

fn circuit(standing: &BudgetStanding) -> Circuit {
    if standing.latched { Circuit::Open } else { Circuit::Closed }
}

impl OrganizationView {
    fn of(record: OrganizationRecord) -> Self {
        Self {
            id: record.organization.id,
            circuit: record.standing(Scope::Organization).map(circuit),
            configured: record.organization.settings.is_some(),
            name: record.name,
            created_at: instant(record.created_at),
        }
    }
}

impl SettingsView {
    fn of(record: OrganizationRecord) -> Self {
        let month = record.standing(Scope::Organization);
        let configured = record.organization.settings.is_some();
        let limit = month.filter(|_| configured).map(|month| month.balance.limit);
        let set = record.organization.settings.clone().unwrap_or_default();
        let defaults = set.defaults;
        Self {
            organization_id: record.organization.id,
            configured,
            monthly_cost_limit_cents: limit.and_then(cents),
            monthly_cost_limit_usd: limit.and_then(|limit| Usd::from_decimal(limit).ok()),
            eu_only: set.eu_only,
            circuit: month.map(circuit),
            month_started_at: month.and_then(|month| month.since).map(instant),
            month_spent_usd: month.map(|month| plain(month.balance.spent)),
            month_reserved_usd: month.map(|month| plain(month.balance.reserved)),
            service_tier: set.service_tier,
            run_defaults: DefaultsView {
                cost_limit_usd: defaults.cost_limit,
                token_limit: defaults.token_limit,
                call_limit: defaults.call_limit,
                max_concurrency: defaults.max_concurrency,
                requests_per_minute: defaults.requests_per_minute,
                max_output_tokens_per_call: defaults.max_output_tokens_per_call,
            },
            limits: LimitsView {
                rate_limit_rps: set.limits.requests_per_second,
                rate_limit_rpm: set.limits.requests_per_minute,
                tokens_per_minute: set.limits.tokens_per_minute,
                max_concurrency: set.limits.max_concurrency,
            },
        }
    }
}

/// Dollars in cents, exactly, as a JSON number.
fn cents(usd: Decimal) -> Option<Box<RawValue>> {
    let cents = usd.checked_mul(Decimal::ONE_HUNDRED)?.normalize();
    RawValue::from_string(cents.to_string()).ok()
}

/// Reads the body of `POST /organizations`.
fn read_new(body: &str) -> Result<(OrganizationId, String), Fault> {
    let fields = Fields::read(body, NEW_FIELDS, String::new())?;
    let name = fields.label("name", MAX_NAME_BYTES)?;
    let name = fields.required("name", name)?;
    let Some(raw) = fields.given("id") else { return Ok((OrganizationId::generate(), name)) };
    let id = json::text(raw).and_then(|text| OrganizationId::parse(&text));
    let id = id.filter(|id| !id.uuid().is_nil());
    Ok((id.ok_or_else(|| fields.wrong("id", "must be a UUID, and not the nil one"))?, name))
}

/// Reads the body of `PUT …/inference/settings`.
fn read_settings(body: &str) -> Result<SettingsPatch, Fault> {
    let fields = Fields::read(body, SETTINGS_FIELDS, String::new())?;
    for member in SETTINGS_FIELDS {
        fields.not_null(member.name)?;
    }
    let limit = fields.count("monthly_cost_limit_cents")?.map(|cents| {
        let cents = i64::try_from(cents).unwrap_or(i64::MAX);
        Usd::from_decimal(Decimal::new(cents, 2).normalize())
    });
    let limit = limit.transpose();
    let limit = limit.map_err(|error| fields.wrong("monthly_cost_limit_cents", error))?;
    let defaults = fields.object("run_defaults", DEFAULT_FIELDS)?;
    let limits = fields.object("limits", LIMIT_FIELDS)?;
    Ok(SettingsPatch {
        monthly_cost_limit: limit,
        reset_circuit: fields.flag("reset_circuit")?.unwrap_or(false),
        eu_only: fields.flag("eu_only")?,
        service_tier: read_tier(&fields)?,
        defaults: defaults.as_ref().map(read_defaults).transpose()?,
        limits: limits.as_ref().map(read_limits).transpose()?,
    })
}

fn read_tier(fields: &Fields<'_>) -> Result<Option<ServiceTier>, Fault> {
    let Some(word) = fields.text("service_tier")? else { return Ok(None) };
    let says = "must be one of default, flex and priority";
    ServiceTier::parse(&word).map(Some).ok_or_else(|| fields.wrong("service_tier", says))
}

fn read_limits(fields: &Fields<'_>) -> Result<Limits, Fault> {
    Ok(Limits {
        requests_per_second: fields.small_count("rate_limit_rps")?,
        requests_per_minute: fields.small_count("rate_limit_rpm")?,
        tokens_per_minute: fields.small_count("tokens_per_minute")?,
        max_concurrency: fields.small_count("max_concurrency")?,
    })
}

fn read_defaults(fields: &Fields<'_>) -> Result<RunDefaults, Fault> {
    Ok(RunDefaults {
        cost_limit: fields.usd("cost_limit_usd")?,
        token_limit: fields.count("token_limit")?.map(Tokens::new),
        call_limit: fields.small_count("call_limit")?,
        max_concurrency: fields.small_count("max_concurrency")?,
        requests_per_minute: fields.small_count("requests_per_minute")?,
        max_output_tokens_per_call: fields.count("max_output_tokens_per_call")?.map(Tokens::new),
    })
}

/// `POST /organizations`
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Operator).await?;
        let (id, name) = read_new(body.text()?)?;
        let record = exchange.operator.gateway.create_organization(id, name).await?;
        exchange.json(StatusCode::CREATED, &OrganizationView::of(record))
    };
    exchange.answer(work).await
}

/// `GET /organizations`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        let page = paging::read(&exchange.query(paging::PAGE)?)?;
        let found = exchange.operator.gateway.organization_records(page).await?;
        let last = found.rows.last().filter(|_| found.more);
        let next = last.map(|record| record.organization.id.to_string());
        let data = found.rows.into_iter().map(OrganizationView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}`
pub(super) async fn show(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        exchange.query(&[])?;
        let record =
            exchange.operator.gateway.organization_record(exchange.organization()?).await?;
        exchange.json(StatusCode::OK, &OrganizationView::of(record))
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/inference/settings`
pub(super) async fn settings(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        exchange.query(&[])?;
        let record =
            exchange.operator.gateway.organization_record(exchange.organization()?).await?;
        exchange.json(StatusCode::OK, &SettingsView::of(record))
    };
    exchange.answer(work).await
}

/// `PUT /organizations/{org}/inference/settings`
pub(super) async fn put_settings(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Manage).await?;
        let patch = read_settings(body.text()?)?;
        let put = exchange.operator.gateway.put_settings(exchange.organization()?, patch);
        exchange.json(StatusCode::OK, &SettingsView::of(put.await?))
    };
    exchange.answer(work).await
}
