//! The catalogue's file format: TOML in, rows or one clear error out.
//!
//! Read by hand instead of by serde, so that every error can name line and model, and so that a
//! price never passes through a number type of TOML.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Target;
use super::error::{CatalogError, Problem};
use super::tokenizer::Tokenizer;
use crate::domain::bound::BoundConstants;
use crate::domain::money::MoneyError;
use crate::domain::price::{ClassPrices, LongContext, Prices, UsdPerMillionTokens};
use crate::domain::usage::{MAX_TOKENS, Tokens};
use crate::providers::{self, Provider};

const MAX_NAME_CHARACTERS: usize = 200;

const FILE_KEYS: [&str; 1] = ["models"];
const ROW_KEYS: [&str; 14] = [
    "name",
    "provider",
    "upstream_model",
    "context_window",
    "max_output_tokens",
    "tokenizer",
    "hidden_reasoning",
    "example_price",
    "input",
    "cached_input",
    "cache_write",
    "output",
    "long_context",
    "bound",
];
const LONG_CONTEXT_KEYS: [&str; 5] = ["above", "input", "cached_input", "cache_write", "output"];
const BOUND_KEYS: [&str; 4] = ["per_request", "per_message", "per_tool", "per_image"];

const TOKENIZERS: [(&str, Tokenizer); 3] =
    [("o200k", Tokenizer::O200k), ("cl100k", Tokenizer::Cl100k), ("bytes", Tokenizer::Bytes)];

const PRICE: &str = "a price in USD per million tokens, such as \"0.25\"";

/// One row, and where it begins.
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) target: Target,
}

impl Row {
    /// What is wrong with this row beside the others.
    pub(super) fn fault(&self, file: &str, problem: Problem) -> CatalogError {
        CatalogError {
            file: file.to_owned(),
            line: self.line,
            model: Some(self.target.model.clone()),
            problem: Box::new(problem),
        }
    }
}

/// The rows of a file, in its order.
///
/// # Errors
/// The first rule that a row violates by itself.
pub(super) fn rows(file: &str, text: &str) -> Result<Vec<Row>, CatalogError> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        return Err(syntax_error(file, text, document.get_ref(), error));
    }
    let source = Source { file, text };
    let top = Fields { source, model: None, path: "", at: 0..0, table: document.get_ref() };
    top.only(&FILE_KEYS)?;
    let Some(models) = top.get("models") else { return Err(top.fault(&top.at, Problem::Empty)) };
    let wanted = "rows that begin with [[models]]";
    let DeValue::Array(elements) = models.get_ref() else {
        return Err(top.wrong_type("models", wanted, models));
    };
    if elements.is_empty() {
        return Err(top.fault(&models.span(), Problem::Empty));
    }
    elements
        .iter()
        .map(|element| match element.get_ref() {
            DeValue::Table(table) => {
                let row = Fields { at: element.span(), table, ..top.clone() };
                Ok(Row { line: line_of(text, row.at.start), target: row.target()? })
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => Err(top.wrong_type("models", wanted, element)),
        })
        .collect()
}

/// A syntax error, blamed on the row that begins last before it.
fn syntax_error(
    file: &str,
    text: &str,
    recovered: &DeTable<'_>,
    error: &toml::de::Error,
) -> CatalogError {
    let offset = error.span().map_or(0, |span| span.start);
    let rows = recovered.get("models").and_then(|models| models.get_ref().as_array());
    let before = rows.into_iter().flatten().take_while(|row| row.span().start <= offset);
    let row = before.last().and_then(|row| row.get_ref().get("name"));
    CatalogError {
        file: file.to_owned(),
        line: line_of(text, offset),
        model: row.and_then(|name| name.get_ref().as_str()).map(str::to_owned),
        problem: Box::new(Problem::Syntax(error.message().to_owned())),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

/// A table, and what an error about it should say.
#[derive(Clone)]
struct Fields<'a> {
    source: Source<'a>,
    model: Option<&'a str>,
    /// What stands before a key in messages: nothing, or the table's own key and a dot.
    path: &'static str,
    at: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> Fields<'a> {
    fn target(mut self) -> Result<Target, CatalogError> {
        let name = self.required("name", self.name("name")?, "what clients call the model")?;
        self.model = Some(name);
        self.only(&ROW_KEYS)?;
        let provider = self.provider()?;
        let upstream_model = self.name("upstream_model")?.unwrap_or(name);
        let window = self.tokens("context_window", 1)?;
        let output = self.tokens("max_output_tokens", 1)?;
        Ok(Target {
            model: name.to_owned(),
            provider,
            upstream_model: upstream_model.to_owned(),
            context_window: self.required("context_window", window, "the most input tokens")?,
            max_output: self.required("max_output_tokens", output, "the most output tokens")?,
            tokenizer: self.tokenizer()?,
            hidden_reasoning: self.flag("hidden_reasoning")?,
            example_price: self.flag("example_price")?,
            prices: Prices { base: self.class_prices()?, long_context: self.long_context()? },
            constants: self.constants()?,
        })
    }

    fn provider(&self) -> Result<&'static Provider, CatalogError> {
        let name = self.required("provider", self.text("provider")?, "who serves the model")?;
        providers::find(name).ok_or_else(|| {
            let names = providers::REGISTRY.iter().map(|provider| provider.name);
            self.unknown_word("provider", name, names)
        })
    }

    fn tokenizer(&self) -> Result<Tokenizer, CatalogError> {
        let word = self.required("tokenizer", self.text("tokenizer")?, "how tokens are counted")?;
        let found = TOKENIZERS.into_iter().find(|(known, _)| *known == word);
        let names = TOKENIZERS.into_iter().map(|(known, _)| known);
        found.map(|(_, it)| it).ok_or_else(|| self.unknown_word("tokenizer", word, names))
    }

    fn class_prices(&self) -> Result<ClassPrices, CatalogError> {
        let input = self.required("input", self.price("input")?, PRICE)?;
        Ok(ClassPrices {
            input,
            cached_input: self.price("cached_input")?.unwrap_or(input),
            cache_write: self.price("cache_write")?.unwrap_or(input),
            output: self.required("output", self.price("output")?, PRICE)?,
        })
    }

    fn long_context(&self) -> Result<Option<LongContext>, CatalogError> {
        let Some(tier) = self.table("long_context", "long_context.")? else { return Ok(None) };
        tier.only(&LONG_CONTEXT_KEYS)?;
        let above = tier.tokens("above", 0)?;
        let above = tier.required("above", above, "dearer are requests with more input tokens")?;
        Ok(Some(LongContext { above, prices: tier.class_prices()? }))
    }

    fn constants(&self) -> Result<BoundConstants, CatalogError> {
        let what = "what the provider adds around the text, in tokens";
        let bound = self.required("bound", self.table("bound", "bound.")?, what)?;
        bound.only(&BOUND_KEYS)?;
        let constant = |key| bound.required(key, bound.constant(key)?, "an upper bound in tokens");
        Ok(BoundConstants {
            per_request: constant("per_request")?,
            per_message: constant("per_message")?,
            per_tool: constant("per_tool")?,
            per_image: bound.constant("per_image")?,
        })
    }

    /// Refuses keys that nobody reads, the first one in the file.
    fn only(&self, known: &[&str]) -> Result<(), CatalogError> {
        let strange = self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        match strange.min_by_key(|(key, _)| key.span().start) {
            None => Ok(()),
            Some((key, _)) => {
                let problem = Problem::UnknownKey {
                    key: format!("{}{}", self.path, key.get_ref()),
                    known: known.join(", "),
                };
                Err(self.fault(&key.span(), problem))
            }
        }
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn required<T>(
        &self,
        key: &str,
        value: Option<T>,
        what: &'static str,
    ) -> Result<T, CatalogError> {
        value.ok_or_else(|| self.fault(&self.at, Problem::Missing { key: self.key(key), what }))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(text.as_ref())),
            _ => Err(self.wrong_type(key, "a string", value)),
        }
    }

    fn name(&self, key: &str) -> Result<Option<&'a str>, CatalogError> {
        let Some(name) = self.text(key)? else { return Ok(None) };
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && (1..=MAX_NAME_CHARACTERS).contains(&name.len()) {
            return Ok(Some(name));
        }
        let problem = Problem::BadName { key: self.key(key), most: MAX_NAME_CHARACTERS };
        Err(self.fault_at(key, problem))
    }

    fn flag(&self, key: &str) -> Result<bool, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, "true or false", value))
    }

    fn table(&self, key: &str, path: &'static str) -> Result<Option<Self>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => {
                Ok(Some(Self { path, at: value.span(), table, ..self.clone() }))
            }
            _ => Err(self.wrong_type(key, "a table", value)),
        }
    }

    fn tokens(&self, key: &str, least: u64) -> Result<Option<Tokens>, CatalogError> {
        Ok(self.whole(key, least, MAX_TOKENS)?.map(Tokens::new))
    }

    fn constant(&self, key: &str) -> Result<Option<u32>, CatalogError> {
        let number = self.whole(key, 0, u64::from(u32::MAX))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn whole(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let DeValue::Integer(digits) = value.get_ref() else {
            return Err(self.wrong_type(key, "a whole number", value));
        };
        let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let value = digits.as_str().to_owned();
                let problem = Problem::OutOfRange { key: self.key(key), least, most, value };
                Err(self.fault_at(key, problem))
            }
        }
    }

    fn price(&self, key: &str) -> Result<Option<UsdPerMillionTokens>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let unquoted = |value: &str| {
            let problem = Problem::UnquotedPrice { key: self.key(key), value: value.to_owned() };
            Err(self.fault_at(key, problem))
        };
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) => return unquoted(number.as_str()),
            DeValue::Float(number) => return unquoted(number.as_str()),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return Err(self.wrong_type(key, "a quoted price", value));
            }
        };
        let (key_path, value) = (self.key(key), text.to_owned());
        UsdPerMillionTokens::parse(text).map(Some).map_err(|error| {
            let problem = match error {
                MoneyError::Malformed => Problem::MalformedPrice { key: key_path, value },
                MoneyError::Negative => Problem::NegativePrice { key: key_path, value },
                MoneyError::TooManyDigits => Problem::PriceDigits { key: key_path, value },
            };
            self.fault_at(key, problem)
        })
    }

    fn unknown_word(
        &self,
        key: &str,
        value: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> CatalogError {
        let known = known.collect::<Vec<_>>().join(", ");
        let problem = Problem::UnknownWord { key: self.key(key), value: value.to_owned(), known };
        self.fault_at(key, problem)
    }

    fn wrong_type(
        &self,
        key: &str,
        wanted: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> CatalogError {
        let found = value.get_ref().type_str();
        self.fault(&value.span(), Problem::WrongType { key: self.key(key), wanted, found })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn fault_at(&self, key: &str, problem: Problem) -> CatalogError {
        let span = self.get(key).map_or_else(|| self.at.clone(), Spanned::span);
        self.fault(&span, problem)
    }

    fn fault(&self, at: &Range<usize>, problem: Problem) -> CatalogError {
        CatalogError {
            file: self.source.file.to_owned(),
            line: line_of(self.source.text, at.start),
            model: self.model.map(str::to_owned),
            problem: Box::new(problem),
        }
    }
}
