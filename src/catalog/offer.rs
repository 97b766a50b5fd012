//! A provider's own list of models, as it answers `/models`: what each costs now.
//!
//! `pricing.prompt` and `pricing.completion` are prices of input and output,
//! `pricing.input_cache_read` and `pricing.input_cache_write` those of caches. Any other price is
//! of something that is not told apart here; if it is not 0, the model cannot be priced.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::price_map::tokens;
use super::quote::{Quote, QuotedPrices};
use crate::domain::money::parse_exact;
use crate::domain::price::UsdPerMillionTokens;
use crate::domain::usage::Tokens;
use crate::providers::PricedBy;

/// Why a model's prices are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOffer {
    /// The list has no such model.
    #[error("the list does not have it")]
    NotListed,
    /// The list has it twice.
    #[error("the list has it twice")]
    Twice,
    /// A price is missing.
    #[error("`pricing.{0}` is missing")]
    Missing(&'static str),
    /// A price that is negative, no number, or one that would not stay exact.
    #[error("`pricing.{name}` {text} is no price that stays exact")]
    Malformed {
        /// Which.
        name: String,
        /// The price.
        text: String,
    },
    /// A price that is too far from the configured one to be believed.
    #[error("`{class}` {told} is not within {factor} times of the configured {configured}")]
    TooFar {
        /// The class of tokens.
        class: &'static str,
        /// What the list says, for a million.
        told: String,
        /// What the catalogue says.
        configured: String,
        /// How far it may be.
        factor: u32,
    },
    /// The row has prices for long requests, of which the list says nothing.
    #[error("the catalogue has other prices for long requests, and the list tells of none")]
    LongContext,
    /// Something costs that is not told apart here. The model must not be served.
    #[error("`pricing.{0}` is not 0, and nothing here is charged by it")]
    Class(String),
}

/// Not a list of models.
#[derive(Debug, thiserror::Error)]
#[error("it is no list of models")]
pub struct NoList(#[source] serde_json::Error);

/// What a list offers, by the provider's ids.
#[derive(Debug)]
pub struct Offers(HashMap<String, Result<Quote, NoOffer>>);

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    id: String,
    #[serde(borrow, default)]
    pricing: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    context_length: Option<&'a RawValue>,
}

impl Offers {
    /// Reads a list.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(text: &str, unit: PricedBy) -> Result<Self, NoList> {
        let list: List<'_> = serde_json::from_str(text).map_err(NoList)?;
        let mut offers = HashMap::new();
        for row in list.data {
            let quote = quote(&row, unit);
            let twice = offers.contains_key(&row.id);
            offers.insert(row.id, if twice { Err(NoOffer::Twice) } else { quote });
        }
        Ok(Self(offers))
    }

    /// What it says of a model.
    ///
    /// # Errors
    /// If that is nothing that can be used.
    pub fn of(&self, id: &str) -> Result<Quote, NoOffer> {
        self.0.get(id).cloned().unwrap_or(Err(NoOffer::NotListed))
    }
}

fn quote(row: &Row<'_>, unit: PricedBy) -> Result<Quote, NoOffer> {
    let none = BTreeMap::new();
    let pricing = row.pricing.as_ref().unwrap_or(&none);
    let price = |name: &str| match pricing.get(name).map(|raw| raw.get()) {
        None | Some("null") => Ok(None),
        Some(raw) => read(name, raw, unit).map(Some),
    };
    let required = |name: &'static str| price(name)?.ok_or(NoOffer::Missing(name));
    // A cache's price of 0 means that it has none of its own.
    let optional =
        |name: &str| Ok(price(name)?.filter(|price| *price != UsdPerMillionTokens::ZERO));
    let (input, output) = (required("prompt")?, required("completion")?);
    let base = QuotedPrices {
        input,
        cached_input: optional("input_cache_read")?,
        cache_write: optional("input_cache_write")?,
        long_cache_write: None,
        output,
    };
    for (name, raw) in pricing {
        let is_ours = ["prompt", "completion", "input_cache_read", "input_cache_write"]
            .contains(&name.as_str());
        // Reasoning at the price of output is charged as output.
        let as_output = name == "internal_reasoning" && price(name) == Ok(Some(output));
        if !is_ours && !as_output && !is_nothing(raw.get()) {
            return Err(NoOffer::Class(name.clone()));
        }
    }
    let window = row.context_length.and_then(|raw| tokens(raw.get()));
    let context_window = window.filter(|window| *window > Tokens::ZERO);
    Ok(Quote { base, long_context: None, tiers: [None; 2], context_window, max_output: None })
}

fn read(name: &str, raw: &str, unit: PricedBy) -> Result<UsdPerMillionTokens, NoOffer> {
    let text = unquoted(raw);
    let price = match unit {
        PricedBy::Token => UsdPerMillionTokens::parse_per_token(&text),
        PricedBy::Million => UsdPerMillionTokens::parse(&text),
    };
    let text: String = text.chars().take(40).collect();
    price.map_err(|_| NoOffer::Malformed { name: name.to_owned(), text })
}

/// Whether something costs nothing. What is no number, such as a note, may be anything.
fn is_nothing(raw: &str) -> bool {
    raw == "null" || parse_exact(&unquoted(raw)).is_ok_and(|price| price.is_zero())
}

/// A number that may be written into a string.
fn unquoted(raw: &str) -> String {
    serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
}
