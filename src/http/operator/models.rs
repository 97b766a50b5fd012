//! The catalogue, with prices. An endpoint of our own: the contract lists none for it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::catalog::Target;
use crate::domain::fault::Fault;
use crate::domain::price::{ClassPrices, LongContext, UsdPerMillionTokens};
use crate::domain::usage::Tokens;
use crate::gateway::Gateway;
use crate::http::route::Param;
use crate::http::usage_view::plain;
use crate::protocol::schema::UsdText;
use crate::providers::REGISTRY;

use super::Operator;
use super::exchange::{Exchange, Query};
use super::fields::invalid;

/// What `GET /models` may be asked.
pub(super) static QUERY: &[Param] = &[Param {
    name: "provider",
    about: "Only what this provider serves.",
    schema: || json!({"type": "string", "enum": names()}),
}];

/// Every model at every provider that serves it, in the order of the catalogue.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Catalogue")]
pub(super) struct CatalogueView {
    data: Vec<TargetView>,
    /// The catalogue, as calls name the one that they were priced with.
    price_version: String,
    /// Always null: the catalogue is answered whole.
    next: Option<String>,
}

/// One model at one provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CatalogueModel")]
struct TargetView {
    /// The name in the catalogue.
    model: String,
    provider: &'static str,
    /// Its id at the provider.
    upstream_model: String,
    /// Which endpoint it is for.
    #[schemars(extend("enum" = ["chat"]))]
    kind: &'static str,
    /// The most input tokens of one request.
    context_window: Tokens,
    /// The most output tokens of one choice.
    max_output_tokens: Tokens,
    #[serde(flatten)]
    prices: PricesView,
    long_context: Option<LongView>,
    /// Whether the prices are round figures that an operator should replace.
    example_price: bool,
    /// Whether the provider has a key or an address here.
    configured: bool,
}

/// US dollars for a million tokens.
#[derive(JsonSchema, Serialize)]
struct PricesView {
    #[schemars(with = "UsdText")]
    input_usd_per_million: String,
    #[schemars(with = "UsdText")]
    cached_input_usd_per_million: String,
    #[schemars(with = "UsdText")]
    cache_write_usd_per_million: String,
    #[schemars(with = "UsdText")]
    output_usd_per_million: String,
}

/// What a whole request costs that is longer than usual.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "LongContextPrices")]
struct LongView {
    /// For requests with more input tokens than this.
    above: Tokens,
    #[serde(flatten)]
    prices: PricesView,
}

/// What a target is for.
const fn kind(_: &Target) -> &'static str {
    "chat"
}

impl CatalogueView {
    fn of(gateway: &Gateway, provider: Option<&str>) -> Self {
        let targets = gateway.catalog.models().flat_map(|model| &model.targets);
        let wanted = targets.filter(|target| provider.is_none_or(|it| it == target.provider.name));
        Self {
            data: wanted.map(|target| TargetView::of(gateway, target)).collect(),
            price_version: gateway.catalog.version().to_owned(),
            next: None,
        }
    }
}

impl TargetView {
    fn of(gateway: &Gateway, target: &Target) -> Self {
        Self {
            model: target.model.clone(),
            provider: target.provider.name,
            upstream_model: target.upstream_model.clone(),
            kind: kind(target),
            context_window: target.context_window,
            max_output_tokens: target.max_output,
            prices: PricesView::of(&target.prices.base),
            long_context: target.prices.long_context.as_ref().map(LongView::of),
            example_price: target.example_price,
            configured: gateway.access(target.provider.name).is_some(),
        }
    }
}

impl PricesView {
    fn of(prices: &ClassPrices) -> Self {
        let text = |price: UsdPerMillionTokens| plain(price.decimal());
        Self {
            input_usd_per_million: text(prices.input),
            cached_input_usd_per_million: text(prices.cached_input),
            cache_write_usd_per_million: text(prices.cache_write),
            output_usd_per_million: text(prices.output),
        }
    }
}

impl LongView {
    fn of(long: &LongContext) -> Self {
        Self { above: long.above, prices: PricesView::of(&long.prices) }
    }
}

/// `GET /models`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.authenticate()?;
        let query = exchange.query(QUERY)?;
        let view = CatalogueView::of(&exchange.operator.gateway, provider(&query)?);
        exchange.json(StatusCode::OK, &view)
    };
    exchange.answer(work).await
}

fn provider(query: &Query) -> Result<Option<&str>, Fault> {
    let Some(name) = query.get("provider") else { return Ok(None) };
    if names().contains(&name) {
        return Ok(Some(name));
    }
    let says = format!("must be one of {}", names().join(", "));
    Err(invalid("provider".to_owned(), says))
}

fn names() -> [&'static str; REGISTRY.len()] {
    REGISTRY.each_ref().map(|provider| provider.name)
}
