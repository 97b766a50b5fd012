//! A catalogue with the prices that providers tell now.
//!
//! Only models that are in the catalogue are touched, and of them only prices and window. Prices
//! are compared with the configured ones, not with the last ones heard, so that they cannot creep.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use toml_edit::{DocumentMut, Item, Table};

use super::import::{id, provider};
use super::offer::{NoOffer, Offers};
use super::quote::Quote;
use super::{Catalog, CatalogError, Target};
use crate::domain::price::{ClassPrices, UsdPerMillionTokens};
use crate::domain::usage::Tokens;

/// A model at a provider: the provider's name, and the id there.
type Key = (&'static str, String);

/// What was heard of the configured models.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    quotes: BTreeMap<Key, Quote>,
    unserved: BTreeSet<Key>,
}

/// What a list changes, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The model's name in the catalogue.
    pub model: String,
    /// What is new.
    pub what: What,
}

/// What is new of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It has these prices now.
    Prices(ClassPrices),
    /// The list cannot be believed or does not tell: it keeps the prices that it has.
    Kept(NoOffer),
    /// It costs what nobody is charged for: it is not served any more.
    Unserved(NoOffer),
}

/// A catalogue cannot be written anew.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The result breaks a rule of catalogues.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The configured text cannot be read as a document.
    #[error(transparent)]
    Document(#[from] toml_edit::TomlError),
}

impl Heard {
    /// Takes in what a provider's list says of the configured models that `wanted` names.
    pub fn hear(
        &mut self,
        configured: &Catalog,
        at: &str,
        offers: &Offers,
        factor: u32,
        wanted: impl Fn(&Target) -> bool,
    ) -> Vec<News> {
        let targets = configured.models().flat_map(|model| &model.targets);
        let theirs = targets.filter(|target| target.provider.name == at && wanted(target));
        let mut news = Vec::new();
        for target in theirs {
            let key = (target.provider.name, target.upstream_model.clone());
            let offer = offers.of(&target.upstream_model);
            let what = match offer.and_then(|quote| believed(target, quote, factor)) {
                Ok(quote) => {
                    let is_back = self.unserved.remove(&key);
                    let before = self.quotes.insert(key, quote);
                    if before == Some(quote) && !is_back {
                        continue;
                    }
                    What::Prices(quote.base.classes())
                }
                Err(why @ NoOffer::Class(_)) => {
                    if !self.unserved.insert(key) {
                        continue;
                    }
                    What::Unserved(why)
                }
                Err(why) => What::Kept(why),
            };
            news.push(News { model: target.model.clone(), what });
        }
        news
    }

    /// The configured catalogue with all that was heard.
    ///
    /// # Errors
    /// If the result is no catalogue, as when nothing in it may be served.
    pub fn apply(&self, configured: &Catalog) -> Result<Catalog, RefreshError> {
        let mut document: DocumentMut = configured.text().parse()?;
        let heard = |row: &Table| {
            let key = |(at, model): &&Key| *at == provider(row) && *model == id(row);
            let unserved = self.unserved.iter().any(|known| key(&known));
            (unserved, self.quotes.iter().find(|(known, _)| key(known)).map(|(_, quote)| *quote))
        };
        if let Some(rows) = document.get_mut("models").and_then(Item::as_array_of_tables_mut) {
            rows.retain(|row| !heard(row).0);
            for row in rows.iter_mut() {
                let Some(quote) = heard(row).1 else { continue };
                let kind = configured.kind_of(provider(row), id(row));
                quote.write(row, kind);
            }
        }
        Ok(Catalog::parse("the catalogue with the providers' prices", &document.to_string())?)
    }
}

/// The quote, if it is not too far from what is configured.
fn believed(target: &Target, quote: Quote, factor: u32) -> Result<Quote, NoOffer> {
    if target.prices.long_context.is_some() {
        return Err(NoOffer::LongContext);
    }
    let (told, configured) = (quote.base.classes(), target.prices.base);
    let classes = [
        ("input", told.input, configured.input),
        ("cached_input", told.cached_input, configured.cached_input),
        ("cache_write", told.cache_write, configured.cache_write),
        ("output", told.output, configured.output),
    ];
    for (class, told, configured) in classes {
        if !is_within(told, configured, factor) && !is_cheap_cache(class, told, &quote) {
            let text = |price: UsdPerMillionTokens| price.decimal().normalize().to_string();
            let (told, configured) = (text(told), text(configured));
            return Err(NoOffer::TooFar { class, told, configured, factor });
        }
    }
    // A larger window than the configured one would unbound what was bounded on purpose.
    let least = target.context_window.count() / u64::from(factor);
    let window = quote
        .context_window
        .filter(|window| (Tokens::new(least)..=target.context_window).contains(window));
    Ok(Quote { context_window: window, ..quote })
}

/// Whether a cache costs something, and no more than input, whose price was believed.
fn is_cheap_cache(class: &str, told: UsdPerMillionTokens, quote: &Quote) -> bool {
    class.starts_with("cache") && told > UsdPerMillionTokens::ZERO && told <= quote.base.input
}

/// Whether neither price is more than `factor` times the other.
fn is_within(told: UsdPerMillionTokens, configured: UsdPerMillionTokens, factor: u32) -> bool {
    let factor = Decimal::from(factor);
    let not_above = |small: UsdPerMillionTokens, large: UsdPerMillionTokens| {
        large.decimal().checked_mul(factor).is_some_and(|large| small.decimal() <= large)
    };
    not_above(told, configured) && not_above(configured, told)
}
