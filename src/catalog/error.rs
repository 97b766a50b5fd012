//! What is wrong with a catalogue file, said in one line that names file, line and model.

use crate::domain::price::{MAX_PRICE_FRACTION_DIGITS, MAX_PRICE_INTEGER_DIGITS};

/// A catalogue file that is refused. Nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", subject(model.as_deref()))]
pub struct CatalogError {
    /// The file, as it was named to us.
    pub file: String,
    /// The line at fault, from 1.
    pub line: usize,
    /// The name of the model whose row it is, where the row has one.
    pub model: Option<String>,
    /// What is wrong.
    pub problem: Box<Problem>,
}

/// Which rule of catalogue files is violated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML.
    #[error("the file is not valid TOML: {0}")]
    Syntax(String),
    /// No row at all.
    #[error("the file has no [[models]] row")]
    Empty,
    /// A key that nobody reads: most likely a misspelt one.
    #[error("unknown key `{key}`; known are {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that may stand there.
        known: String,
    },
    /// Something that a row cannot do without.
    #[error("`{key}` is missing: {what}")]
    Missing {
        /// The key.
        key: String,
        /// What it says.
        what: &'static str,
    },
    /// A value of another type.
    #[error("`{key}` must be {wanted}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The type that it must have.
        wanted: &'static str,
        /// The type that it has.
        found: &'static str,
    },
    /// A price that is a TOML number, which other tools would read as a binary float.
    #[error("`{key}` is a price and must be quoted to be exact: {key} = \"{value}\"")]
    UnquotedPrice {
        /// The key.
        key: String,
        /// The number as it stands there.
        value: String,
    },
    /// A price that is no number.
    #[error("`{key}` = \"{value}\" is not a decimal number such as \"0.25\"")]
    MalformedPrice {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A price below zero.
    #[error("`{key}` = \"{value}\" must not be negative")]
    NegativePrice {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A price with which costs would not stay exact.
    #[error(
        "`{key}` = \"{value}\" may have at most {MAX_PRICE_INTEGER_DIGITS} integer and \
         {MAX_PRICE_FRACTION_DIGITS} fraction digits"
    )]
    PriceDigits {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A number outside of its range.
    #[error("`{key}` must be from {least} to {most}, not {value}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The smallest number allowed.
        least: u64,
        /// The largest number allowed.
        most: u64,
        /// The number as it stands there.
        value: String,
    },
    /// A name that could not stand in a header or a log line.
    #[error("`{key}` must be 1 to {most} printable ASCII characters without spaces")]
    BadName {
        /// The key.
        key: String,
        /// The longest name allowed.
        most: usize,
    },
    /// A word that is none of the known ones.
    #[error("`{key}` = \"{value}\" is unknown; known are {known}")]
    UnknownWord {
        /// The key.
        key: String,
        /// The word.
        value: String,
        /// The words that may stand there.
        known: String,
    },
    /// Two ways to count.
    #[error("`tokenizer_file` stands beside `tokenizer`; give one of them")]
    TwoTokenizers,
    /// A file that a row names and that is of no use.
    #[error("`{key}` = \"{path}\" cannot be used: {why}")]
    BadFile {
        /// The key.
        key: String,
        /// The path, as it stands there.
        path: String,
        /// What is wrong with the file.
        why: String,
    },
    /// A provider that does not count for its clients.
    #[error("`tokenizer` = \"anthropic\": `{0}` has no endpoint that counts tokens")]
    DoesNotCount(&'static str),
    /// Prices of tiers that are never asked for.
    #[error("`tiers`: `{0}` is asked for no service tier, so nobody is charged at their prices")]
    NoTiers(&'static str),
    /// A key that says something about output, in the row of a model that has none.
    #[error("`{key}` is not for embeddings: they have no output tokens")]
    NotOfEmbeddings {
        /// The key.
        key: String,
    },
    /// Two rows for one model at one provider.
    #[error("the provider `{provider}` already has this model on line {first}")]
    Duplicate {
        /// The provider.
        provider: &'static str,
        /// Where the other row begins.
        first: usize,
    },
    /// A name that is also the prefixed name of another row.
    #[error("the name is ambiguous: it also means the row of `{provider}` on line {other}")]
    AmbiguousName {
        /// The other row's provider.
        provider: &'static str,
        /// Where the other row begins.
        other: usize,
    },
    /// One upstream model with two sets of prices: an answer that names it could not be priced.
    #[error("`{upstream}` at `{provider}` has other prices on line {first}")]
    TwoPrices {
        /// The model's id at the provider.
        upstream: String,
        /// The provider.
        provider: &'static str,
        /// Where the other row begins.
        first: usize,
    },
}

fn subject(model: Option<&str>) -> String {
    model.map_or_else(String::new, |name| format!("model \"{name}\": "))
}
