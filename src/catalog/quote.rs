//! What a price list says of a model, and how that is put into the row of a catalogue.
//!
//! Catalogues are changed as documents: what a quote does not speak of stays as it was written.

use toml_edit::{InlineTable, Item, Table, Value, value};

use super::Kind;
use crate::domain::price::{ClassPrices, UsdPerMillionTokens};
use crate::domain::usage::Tokens;

/// The prices that a list states. A class without one costs as much as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedPrices {
    /// Input that no cache took part in.
    pub input: UsdPerMillionTokens,
    /// Input read from a cache.
    pub cached_input: Option<UsdPerMillionTokens>,
    /// Input written to a cache.
    pub cache_write: Option<UsdPerMillionTokens>,
    /// Input written to a cache to live for an hour.
    pub long_cache_write: Option<UsdPerMillionTokens>,
    /// Output; nothing of an embedding.
    pub output: UsdPerMillionTokens,
}

/// What a list says of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The ordinary prices.
    pub base: QuotedPrices,
    /// The prices of requests with more input tokens than this.
    pub long_context: Option<(Tokens, QuotedPrices)>,
    /// The most input tokens, where it is told.
    pub context_window: Option<Tokens>,
    /// The most output tokens, where it is told.
    pub max_output: Option<Tokens>,
}

impl QuotedPrices {
    /// A price for every class.
    pub fn classes(&self) -> ClassPrices {
        let cache_write = self.cache_write.unwrap_or(self.input);
        ClassPrices {
            input: self.input,
            cached_input: self.cached_input.unwrap_or(self.input),
            cache_write,
            long_cache_write: self.long_cache_write.unwrap_or(cache_write),
            output: self.output,
        }
    }

    /// The members of a row, in their order; those of `None` are not to be there.
    fn members(&self, kind: Kind) -> [(&'static str, Option<UsdPerMillionTokens>); 5] {
        [
            ("input", Some(self.input)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.long_cache_write),
            ("output", Some(self.output).filter(|_| kind == Kind::Chat)),
        ]
    }
}

impl Quote {
    /// Puts the prices and limits into a row. `example_price` goes: these are somebody's prices.
    pub(super) fn write(&self, row: &mut Table, kind: Kind) {
        row.remove("example_price");
        let limits = [
            ("context_window", self.context_window),
            ("max_output_tokens", self.max_output.filter(|_| kind == Kind::Chat)),
        ];
        for (key, tokens) in limits {
            if let Some(tokens) = tokens {
                row.insert(key, value(tokens.signed()));
            }
        }
        for (key, price) in self.base.members(kind) {
            match price {
                Some(price) => row.insert(key, value(text(price))),
                None => row.remove(key),
            };
        }
        row.remove("long_context");
        let Some((above, prices)) = self.long_context else { return };
        let mut tier = InlineTable::new();
        tier.insert("above", Value::from(above.signed()));
        for (key, price) in prices.members(kind) {
            if let Some(price) = price {
                tier.insert(key, Value::from(text(price)));
            }
        }
        row.insert("long_context", Item::Value(Value::InlineTable(tier)));
    }
}

fn text(price: UsdPerMillionTokens) -> String {
    price.decimal().normalize().to_string()
}
