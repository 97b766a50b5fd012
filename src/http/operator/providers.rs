//! The providers of an organization. No answer holds a key.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::fault::Fault;
use crate::gateway::providers::WantedProvider;
use crate::http::route::Right;
use crate::ledger::providers::ProviderConfiguration;
use crate::protocol::schema::InstantText;
use crate::upstream::address::MAX_BASE_URL_BYTES;

use super::Operator;
use super::credential::Caller;
use super::exchange::Exchange;
use super::fields::Fields;
use super::members::{Kind, Member, not_null, optional};
use super::view::ListView;
use crate::http::usage_view::instant;

/// Most bytes of a key.
pub(super) const MAX_KEY_BYTES: usize = 4096;
/// Most bytes of a provider's name.
const MAX_NAME_BYTES: usize = 64;

/// The members of a configuration.
pub(super) static FIELDS: &[Member] = &[
    Member {
        name: "provider",
        kind: Kind::Text(MAX_NAME_BYTES),
        required: true,
        nullable: false,
        about: "Its name, as in `openai/gpt-4o-mini`.",
    },
    not_null("api_key", Kind::Text(MAX_KEY_BYTES), "Its key. It is kept encrypted, never shown."),
    not_null("enabled", Kind::Flag, "Whether it may be called; true at first."),
    optional(
        "base_url",
        Kind::Text(MAX_BASE_URL_BYTES),
        "Where it is, if not at its own address; `null` takes it away. A public https address, \
         unless the operator sets it. Of azure_openai that of the resource, which is needed.",
    ),
    not_null(
        "eu_endpoint",
        Kind::Flag,
        "Attests that this address is in the EU; it is never concluded from anything else.",
    ),
];

/// A provider that an organization has configured.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Provider")]
pub(super) struct ProviderView {
    provider: String,
    enabled: bool,
    /// Where it is, if not at its own address.
    base_url: Option<String>,
    eu_endpoint: bool,
    /// Whether a key is kept, which is never shown.
    has_key: bool,
    #[schemars(with = "InstantText")]
    updated_at: String,
}

impl ProviderView {
    fn of(kept: ProviderConfiguration) -> Self {
        Self {
            provider: kept.provider,
            enabled: kept.enabled,
            base_url: kept.base_url,
            eu_endpoint: kept.eu_endpoint,
            has_key: kept.key.is_some(),
            updated_at: instant(kept.updated_at),
        }
    }
}

/// A provider that is not configured any more.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ProviderGone")]
pub(super) struct GoneView {
    provider: String,
    #[schemars(extend("const" = true))]
    deleted: bool,
}

/// `GET /organizations/{org}/inference/providers`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        exchange.query(&[])?;
        let organization = exchange.organization()?;
        let kept = exchange.operator.gateway.provider_configurations(organization).await?;
        let data = kept.into_iter().map(ProviderView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next: None })
    };
    exchange.answer(work).await
}

/// `PUT /organizations/{org}/inference/providers`
pub(super) async fn put(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (caller, body) = exchange.body(payload, Right::Manage).await?;
        let wanted = read(body.text()?)?;
        let organization = exchange.organization()?;
        let by_operator = matches!(caller, Caller::Operator);
        let gateway = &exchange.operator.gateway;
        let kept = gateway.put_provider(organization, &wanted, by_operator).await?;
        exchange.json(StatusCode::OK, &ProviderView::of(kept))
    };
    exchange.answer(work).await
}

/// `DELETE /organizations/{org}/inference/providers/{provider}`
pub(super) async fn delete(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Manage).await?;
        exchange.query(&[])?;
        let organization = exchange.organization()?;
        let provider = exchange.part("provider").to_owned();
        exchange.operator.gateway.delete_provider(organization, &provider).await?;
        exchange.json(StatusCode::OK, &GoneView { provider, deleted: true })
    };
    exchange.answer(work).await
}

/// Reads a configuration.
fn read(body: &str) -> Result<WantedProvider, Fault> {
    read_members(&Fields::read(body, FIELDS, String::new())?)
}

/// Reads what there is of these members.
pub(super) fn read_members(fields: &Fields<'_>) -> Result<WantedProvider, Fault> {
    for member in FIELDS.iter().filter(|member| !member.nullable) {
        fields.not_null(member.name)?;
    }
    let provider = fields.storable("provider", MAX_NAME_BYTES)?;
    let base_url = fields.storable("base_url", MAX_BASE_URL_BYTES)?;
    Ok(WantedProvider {
        provider: provider.ok_or_else(|| fields.wrong("provider", "is missing"))?,
        api_key: fields.storable("api_key", MAX_KEY_BYTES)?.map(Into::into),
        enabled: fields.flag("enabled")?,
        base_url: fields.raw("base_url").map(|_| base_url),
        eu_endpoint: fields.flag("eu_endpoint")?,
    })
}
