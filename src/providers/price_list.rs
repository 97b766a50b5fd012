//! Which providers tell their prices beside their models, and in what unit.
//!
//! Sources: OpenRouter, `openrouter.ai/docs/overview/models`: `pricing` has decimal strings, US
//! dollars for one token, request or unit. Chutes, `llm.chutes.ai/v1/models` as read in
//! `anomalyco/models.dev#1202`: `pricing.prompt`, `completion` and `input_cache_read` are US
//! dollars for a million tokens. Targon is a provider of OpenRouter, which asks its providers for
//! a list in its own form, dollars for a token. A list in another unit than stands here is not
//! believed, as its prices are a million times too high or too low.

use super::Provider;

/// For how many tokens a price is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PricedBy {
    /// For one.
    Token,
    /// For a million.
    Million,
}

/// The providers whose `/models` tell prices.
pub const PRICE_LISTS: [(&str, PricedBy); 3] =
    [("chutes", PricedBy::Million), ("openrouter", PricedBy::Token), ("targon", PricedBy::Token)];

impl Provider {
    /// The unit of its list of prices; `None` if it has no such list.
    pub fn price_list(&self) -> Option<PricedBy> {
        PRICE_LISTS.iter().find(|(name, _)| *name == self.name).map(|(_, unit)| *unit)
    }
}
