//! The catalogue's file format: TOML in, rows or one clear error out.
//!
//! Read by hand instead of by serde, so that every error can name line and model, and so that a
//! price never passes through a number type of TOML.

use toml::de::{DeTable, DeValue};

use super::error::{CatalogError, Problem};
use super::fields::{Fields, Lines, Source, line_of};
use super::tokenizer::{Counting, Tokenizer};
use super::vocabulary::Vocabularies;
use super::{Kind, Target};
use crate::domain::bound::BoundConstants;
use crate::domain::price::{ClassPrices, LongContext, Prices, UsdPerMillionTokens};
use crate::domain::tier::{OtherTiers, ServiceTier};
use crate::domain::usage::Tokens;
use crate::protocol::translate::Thinking;
use crate::providers::{self, Format, Provider};

const FILE_KEYS: [&str; 1] = ["models"];
const ROW_KEYS: [&str; 19] = [
    "name",
    "provider",
    "upstream_model",
    "kind",
    "context_window",
    "max_output_tokens",
    "tokenizer",
    "tokenizer_file",
    "hidden_reasoning",
    "thinking",
    "example_price",
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "long_context",
    "tiers",
    "bound",
];
const LONG_CONTEXT_KEYS: [&str; 6] =
    ["above", "input", "cached_input", "cache_write", "cache_write_1h", "output"];
/// What a service tier may say: prices as they stand in a row.
const TIER_KEYS: [&str; 6] =
    ["input", "cached_input", "cache_write", "cache_write_1h", "output", "long_context"];
const BOUND_KEYS: [&str; 4] = ["per_request", "per_message", "per_tool", "per_image"];

/// What only a model that answers in tokens can have.
const CHAT_KEYS: [&str; 6] =
    ["max_output_tokens", "hidden_reasoning", "thinking", "output", "long_context", "tiers"];

/// The service tiers that a row may have prices of, and the paths to those in messages.
const TIERS: [(&str, &str, &str); 2] = [
    (ServiceTier::Flex.as_str(), "tiers.flex.", "tiers.flex.long_context."),
    (ServiceTier::Priority.as_str(), "tiers.priority.", "tiers.priority.long_context."),
];

const KINDS: [Kind; 2] = [Kind::Chat, Kind::Embedding];
const TOKENIZERS: [Counting; 4] = [
    Counting::With(Tokenizer::O200k),
    Counting::With(Tokenizer::Cl100k),
    Counting::With(Tokenizer::Bytes),
    Counting::Anthropic,
];

const THINKINGS: [(&str, Thinking); 2] =
    [("adaptive", Thinking::Adaptive), ("budget", Thinking::Budget)];

const PRICE: &str = "a price in USD per million tokens, such as \"0.25\"";

/// One row, and where it begins.
pub(super) struct Row {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) target: Target,
}

impl Row {
    /// What is wrong with this row beside the others.
    pub(super) fn fault(&self, problem: Problem) -> CatalogError {
        CatalogError {
            file: self.file.clone(),
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
    let vocabularies = Vocabularies::beside(file);
    let source = Source { file, text, vocabularies: &vocabularies };
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
    let mut lines = Lines { text, offset: 0, line: 1 };
    elements
        .iter()
        .map(|element| match element.get_ref() {
            DeValue::Table(table) => {
                let row = Fields { at: element.span(), table, ..top.clone() };
                let line = lines.advance_to(row.at.start);
                Ok(Row { file: file.to_owned(), line, target: row.target()? })
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

impl<'a> Fields<'a> {
    fn target(mut self) -> Result<Target, CatalogError> {
        let name = self.required("name", self.name("name")?, "what clients call the model")?;
        self.model = Some(name);
        self.only(&ROW_KEYS)?;
        let provider = self.provider()?;
        let upstream_model = self.name("upstream_model")?.unwrap_or(name);
        let kind = self.kind()?;
        let window = self.tokens("context_window", 1)?;
        Ok(Target {
            model: name.to_owned(),
            provider,
            upstream_model: upstream_model.to_owned(),
            kind,
            context_window: self.required("context_window", window, "the most input tokens")?,
            max_output: self.max_output(kind)?,
            tokenizer: self.tokenizer(provider)?,
            hidden_reasoning: self.flag("hidden_reasoning")?,
            thinking: self.thinking()?,
            example_price: self.flag("example_price")?,
            prices: self.prices(kind, "long_context.")?,
            tiers: self.tiers(provider)?,
            constants: self.constants()?,
        })
    }

    /// What the model makes. An embedding is no output that is counted or priced, so such a row may
    /// not speak of one.
    fn kind(&self) -> Result<Kind, CatalogError> {
        let kind = match self.text("kind")? {
            None => Kind::Chat,
            Some(word) => {
                let found = KINDS.into_iter().find(|kind| kind.name() == word);
                let names = KINDS.into_iter().map(Kind::name);
                found.ok_or_else(|| self.unknown_word("kind", word, names))?
            }
        };
        match CHAT_KEYS.into_iter().find(|key| self.get(key).is_some()) {
            Some(key) if kind == Kind::Embedding => {
                Err(self.fault_at(key, Problem::NotOfEmbeddings { key: self.key(key) }))
            }
            _ => Ok(kind),
        }
    }

    fn max_output(&self, kind: Kind) -> Result<Tokens, CatalogError> {
        match kind {
            Kind::Embedding => Ok(Tokens::ZERO),
            Kind::Chat => {
                let output = self.tokens("max_output_tokens", 1)?;
                self.required("max_output_tokens", output, "the most output tokens")
            }
        }
    }

    fn provider(&self) -> Result<&'static Provider, CatalogError> {
        let name = self.required("provider", self.text("provider")?, "who serves the model")?;
        providers::find(name).ok_or_else(|| {
            let names = providers::REGISTRY.iter().map(|provider| provider.name);
            self.unknown_word("provider", name, names)
        })
    }

    fn thinking(&self) -> Result<Thinking, CatalogError> {
        let Some(word) = self.text("thinking")? else { return Ok(Thinking::default()) };
        let found = THINKINGS.into_iter().find(|(known, _)| *known == word);
        let names = THINKINGS.into_iter().map(|(known, _)| known);
        found.map(|(_, it)| it).ok_or_else(|| self.unknown_word("thinking", word, names))
    }

    fn tokenizer(&self, provider: &Provider) -> Result<Counting, CatalogError> {
        let word = self.text("tokenizer")?;
        if let Some(path) = self.text("tokenizer_file")? {
            if word.is_some() {
                return Err(self.fault_at("tokenizer_file", Problem::TwoTokenizers));
            }
            return self.source.vocabularies.get(path).map(Counting::File).map_err(|why| {
                let (key, path) = (self.key("tokenizer_file"), path.to_owned());
                self.fault_at("tokenizer_file", Problem::BadFile { key, path, why })
            });
        }
        let word = self.required("tokenizer", word, "how tokens are counted")?;
        match TOKENIZERS.into_iter().find(|known| known.name() == word) {
            Some(Counting::Anthropic) if !counts_for_free(provider) => {
                Err(self.fault_at("tokenizer", Problem::DoesNotCount(provider.name)))
            }
            Some(known) => Ok(known),
            None => {
                let names = TOKENIZERS.iter().map(Counting::name);
                Err(self.unknown_word("tokenizer", word, names))
            }
        }
    }

    fn class_prices(&self, kind: Kind) -> Result<ClassPrices, CatalogError> {
        let input = self.required("input", self.price("input")?, PRICE)?;
        let cache_write = self.price("cache_write")?.unwrap_or(input);
        Ok(ClassPrices {
            input,
            cached_input: self.price("cached_input")?.unwrap_or(input),
            cache_write,
            long_cache_write: self.price("cache_write_1h")?.unwrap_or(cache_write),
            output: match kind {
                Kind::Embedding => UsdPerMillionTokens::ZERO,
                Kind::Chat => self.required("output", self.price("output")?, PRICE)?,
            },
        })
    }

    /// The prices of a row or of one of its tiers, whose long requests stand at a path.
    fn prices(&self, kind: Kind, long: &'static str) -> Result<Prices, CatalogError> {
        Ok(Prices { base: self.class_prices(kind)?, long_context: self.long_context(long)? })
    }

    /// The prices of other service tiers. A provider that is not asked for one has none: nobody
    /// would ever be charged at them.
    fn tiers(&self, provider: &Provider) -> Result<OtherTiers, CatalogError> {
        let Some(tiers) = self.table("tiers", "tiers.")? else { return Ok(OtherTiers::default()) };
        if !provider.dialect.service_tier {
            return Err(self.fault_at("tiers", Problem::NoTiers(provider.name)));
        }
        tiers.only(&TIERS.map(|(key, ..)| key))?;
        let [flex, priority] = TIERS.map(|(key, path, long)| {
            let Some(tier) = tiers.table(key, path)? else { return Ok(None) };
            tier.only(&TIER_KEYS)?;
            let prices = tier.prices(Kind::Chat, long)?;
            // Long requests would be charged as if they were short.
            if self.get("long_context").is_some() && prices.long_context.is_none() {
                let what = "the row has other prices for long requests";
                let problem = Problem::Missing { key: tier.key("long_context"), what };
                return Err(tier.fault(&tier.at, problem));
            }
            Ok(Some(prices))
        });
        Ok(OtherTiers { flex: flex?, priority: priority? })
    }

    fn long_context(&self, path: &'static str) -> Result<Option<LongContext>, CatalogError> {
        let Some(tier) = self.table("long_context", path)? else { return Ok(None) };
        tier.only(&LONG_CONTEXT_KEYS)?;
        let above = tier.tokens("above", 0)?;
        let above = tier.required("above", above, "dearer are requests with more input tokens")?;
        Ok(Some(LongContext { above, prices: tier.class_prices(Kind::Chat)? }))
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
}

/// Whether a provider counts what it is asked, for nothing: messages have an endpoint for that.
fn counts_for_free(provider: &Provider) -> bool {
    provider.formats.contains(&Format::Messages)
}
