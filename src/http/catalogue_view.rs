//! A model at a provider and what it costs, as the control plane and the command line show it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::catalog::{Kind, Target};
use crate::domain::price::{ClassPrices, LongContext, Prices, UsdPerMillionTokens};
use crate::domain::tier::OtherTiers;
use crate::domain::usage::Tokens;
use crate::protocol::schema::UsdText;

use super::usage_view::plain;

/// One model at one provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CatalogueModel")]
pub struct TargetView {
    /// The name in the catalogue.
    model: String,
    provider: &'static str,
    /// Its id at the provider.
    upstream_model: String,
    /// Which endpoint it is for.
    #[schemars(extend("enum" = ["chat", "embedding"]))]
    kind: &'static str,
    /// The most input tokens of one request.
    context_window: Tokens,
    /// The most output tokens of one choice; null of an embedding.
    max_output_tokens: Option<Tokens>,
    #[serde(flatten)]
    prices: PricesView,
    long_context: Option<LongView>,
    /// What it costs in other service tiers; absent ones are not asked for.
    tiers: TiersView,
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

/// What other service tiers cost.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "TierPrices")]
struct TiersView {
    #[serde(skip_serializing_if = "Option::is_none")]
    flex: Option<TierView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<TierView>,
}

/// What one of them costs.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "TierPrice")]
struct TierView {
    #[serde(flatten)]
    prices: PricesView,
    long_context: Option<LongView>,
}

impl TargetView {
    /// This target; the caller knows whether its provider has a key or an address.
    pub fn of(target: &Target, configured: bool) -> Self {
        Self {
            model: target.model.clone(),
            provider: target.provider.name,
            upstream_model: target.upstream_model.clone(),
            kind: target.kind.name(),
            context_window: target.context_window,
            max_output_tokens: (target.kind == Kind::Chat).then_some(target.max_output),
            prices: PricesView::of(&target.prices.base),
            long_context: target.prices.long_context.as_ref().map(LongView::of),
            tiers: TiersView::of(&target.tiers),
            example_price: target.example_price,
            configured,
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

impl TiersView {
    fn of(tiers: &OtherTiers) -> Self {
        let view = |prices: &Prices| TierView {
            prices: PricesView::of(&prices.base),
            long_context: prices.long_context.as_ref().map(LongView::of),
        };
        Self { flex: tiers.flex.as_ref().map(view), priority: tiers.priority.as_ref().map(view) }
    }
}

impl LongView {
    fn of(long: &LongContext) -> Self {
        Self { above: long.above, prices: PricesView::of(&long.prices) }
    }
}
