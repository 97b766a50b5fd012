//! What a price list says of a model, and how that is put into the row of a catalogue.
//!
//! Catalogues are changed as documents: what a quote does not speak of stays as it was written.

use toml_edit::{InlineTable, Item, Table, Value, value};

use super::Kind;
use crate::domain::price::{ClassPrices, UsdPerMillionTokens};
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;

const LONG_CONTEXT: &str = "long_context";

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

/// The prices of requests with more input tokens than this.
pub type LongQuote = Option<(Tokens, QuotedPrices)>;

/// The service tiers that a list may tell the prices of.
pub const TIERS: [ServiceTier; 2] = [ServiceTier::Flex, ServiceTier::Priority];

/// What a list says of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The ordinary prices.
    pub base: QuotedPrices,
    /// The prices of requests with more input tokens than this.
    pub long_context: LongQuote,
    /// The prices of other service tiers, in the order of [`TIERS`].
    pub tiers: [Option<(QuotedPrices, LongQuote)>; 2],
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

    /// The members that are there, as a table.
    fn table(&self, kind: Kind) -> InlineTable {
        let there = self.members(kind).into_iter();
        let there = there.filter_map(|(key, price)| Some((key, Value::from(text(price?)))));
        there.collect()
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
        let mut tiers = InlineTable::new();
        for (tier, quoted) in TIERS.into_iter().zip(self.tiers) {
            let Some((prices, long)) = quoted else { continue };
            let mut table = prices.table(kind);
            if let Some(long) = long {
                table.insert(LONG_CONTEXT, Value::InlineTable(long_table(long, kind)));
            }
            tiers.insert(tier.as_str(), Value::InlineTable(table));
        }
        let long = self.long_context.map(|long| long_table(long, kind));
        let tiers = Some(tiers).filter(|tiers| !tiers.is_empty());
        for (key, table) in [(LONG_CONTEXT, long), ("tiers", tiers)] {
            match table {
                Some(table) => row.insert(key, Item::Value(Value::InlineTable(table))),
                None => row.remove(key),
            };
        }
    }
}

fn long_table((above, prices): (Tokens, QuotedPrices), kind: Kind) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("above", Value::from(above.signed()));
    for (key, price) in prices.table(kind) {
        table.insert(key, price);
    }
    table
}

fn text(price: UsdPerMillionTokens) -> String {
    price.decimal().normalize().to_string()
}
