//! Which models there are, what they cost, and how their tokens are counted.
//!
//! A [`Catalog`] is an immutable snapshot of its files. It does not know which providers have keys,
//! or when files change.

pub mod tokenizer;
mod vocabulary;
mod error;
mod fields;
mod file;
pub mod quote;
mod left_out;
pub mod price_map;
pub mod import;
pub mod offer;
pub mod refresh;

pub use error::{CatalogError, Problem};
pub use vocabulary::Vocabulary;

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::domain::bound::{BoundConstants, InputShape};
use crate::domain::price::Prices;
use crate::domain::tier::{AskedPrices, OtherTiers, ServiceTier};
use crate::domain::usage::Tokens;
use crate::protocol::translate::Thinking;
use crate::providers::{self, Provider};

use file::Row;
use tokenizer::Counting;

/// The built-in files, one for each provider, in the order of the registry.
const BUILT_IN: [(&str, &str); 9] = [
    ("openai.toml", include_str!("models/openai.toml")),
    ("anthropic.toml", include_str!("models/anthropic.toml")),
    ("mistral.toml", include_str!("models/mistral.toml")),
    ("azure_openai.toml", include_str!("models/azure_openai.toml")),
    ("groq.toml", include_str!("models/groq.toml")),
    ("deepseek.toml", include_str!("models/deepseek.toml")),
    ("chutes.toml", include_str!("models/chutes.toml")),
    ("openrouter.toml", include_str!("models/openrouter.toml")),
    ("targon.toml", include_str!("models/targon.toml")),
];
const VERSION_DIGITS: usize = 12;

/// An immutable snapshot of all models.
#[derive(Debug)]
pub struct Catalog {
    version: String,
    text: String,
    models: Vec<Arc<Model>>,
    by_name: HashMap<String, Arc<Model>>,
    by_provider: HashMap<&'static str, AtProvider>,
}

/// What a client names: a route of one target per provider, in catalogue order, never empty.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name in the catalogue.
    pub name: String,
    /// Who serves it.
    pub targets: Vec<Arc<Target>>,
}

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages.
    Chat,
    /// Vectors. Only its input is counted and priced.
    Embedding,
}

impl Kind {
    /// Its name in catalogue files and in the list of models.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
        }
    }
}

/// One model at one provider, priced and bounded.
#[derive(Clone, Debug)]
pub struct Target {
    /// The model's name in the catalogue.
    pub model: String,
    /// Who serves it.
    pub provider: &'static Provider,
    /// Its id at the provider.
    pub upstream_model: String,
    /// What it makes.
    pub kind: Kind,
    /// What it costs.
    pub prices: Prices,
    /// What it costs in other service tiers.
    pub tiers: OtherTiers,
    /// The most input tokens of one request; of a model for embeddings, of one of its inputs.
    pub context_window: Tokens,
    /// The most output tokens of one choice, reasoning included; none of an embedding.
    pub max_output: Tokens,
    /// How its tokens are counted.
    pub tokenizer: Counting,
    /// What the provider adds around the text; an input of an embedding counts as a message.
    pub constants: BoundConstants,
    /// It may think where nobody sees it, so output that was seen says little about its cost.
    pub hidden_reasoning: bool,
    /// How it is told to think in Anthropic's format.
    pub thinking: Thinking,
    /// The prices are examples that an operator should override.
    pub example_price: bool,
}

impl Target {
    /// The most input tokens that a request of this shape is served with.
    pub fn most_input(&self, shape: InputShape) -> Tokens {
        match self.kind {
            Kind::Chat => self.context_window,
            Kind::Embedding => self.context_window.times(u64::from(shape.messages)),
        }
    }

    /// What it costs in a tier, if that is known.
    pub const fn prices_in(&self, tier: ServiceTier) -> Option<&Prices> {
        match tier {
            ServiceTier::Default => Some(&self.prices),
            ServiceTier::Flex | ServiceTier::Priority => self.tiers.get(tier),
        }
    }

    /// What a call may turn out to cost that asks for a tier; without prices of its own that is
    /// what the default one costs.
    pub fn prices_asked(&self, tier: ServiceTier) -> AskedPrices {
        match self.tiers.get(tier) {
            None => self.prices.into(),
            Some(asked) => AskedPrices::of_tier(*asked, self.prices),
        }
    }
}

/// Why a name leads to no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No model has this name.
    #[error("no such model")]
    Unknown,
    /// The model is known, and not served by the provider that was asked for.
    #[error("the provider does not serve it")]
    Elsewhere,
    /// The model is known; the (first) provider that serves it is not configured.
    #[error("the provider {} is not configured", .0.name)]
    NotConfigured(&'static Provider),
}

#[derive(Debug, Default)]
struct AtProvider {
    by_name: HashMap<String, Arc<Target>>,
    by_upstream: HashMap<String, Arc<Target>>,
}

impl Catalog {
    /// The catalogue that is compiled in.
    ///
    /// # Errors
    /// Never: a test parses the same text.
    pub fn built_in() -> Result<Self, CatalogError> {
        Self::parse_all(&BUILT_IN)
    }

    /// Reads a catalogue file. `file_name` is for messages, and the vocabularies that the text
    /// names are read from files relative to it.
    ///
    /// # Errors
    /// The first rule that the file violates, in the order of its rows.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, CatalogError> {
        Self::parse_all(&[(file_name, text)])
    }

    fn parse_all(files: &[(&str, &str)]) -> Result<Self, CatalogError> {
        let mut rows = Vec::new();
        for (name, text) in files {
            rows.extend(file::rows(name, text)?);
        }
        check_names(&rows)?;
        let text = files.iter().map(|(_, text)| *text).collect::<String>();
        let mut version = hex::encode(Sha256::digest(text.as_bytes()));
        version.truncate(VERSION_DIGITS);
        Ok(Self::of(version, text, rows))
    }

    /// The text of all its files, which as one file is the same catalogue of the same version.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the model of this id at this provider makes.
    fn kind_of(&self, provider: &str, upstream: &str) -> Kind {
        let there = self.by_provider.get(provider);
        there.and_then(|there| there.by_upstream.get(upstream)).map_or(Kind::Chat, |it| it.kind)
    }

    /// The *price version* that calls are booked under: the first 12 hex digits of the SHA-256 of
    /// the catalogue's text, all files in their order.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The model of exactly this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name)
    }

    /// The target that serves `name`: an exact catalogue name (the first configured target of its
    /// route), else `provider/` before a catalogue name or an upstream id at that provider.
    ///
    /// # Errors
    /// If there is no such model, or nobody who serves it is configured.
    pub fn resolve(
        &self,
        name: &str,
        configured: impl Fn(&Provider) -> bool,
    ) -> Result<Arc<Target>, Unresolved> {
        self.resolve_at(name, None, configured)
    }

    /// The same, at one provider if one is named.
    ///
    /// # Errors
    /// If there is no such model, or nobody who may serve it is configured.
    pub fn resolve_at(
        &self,
        name: &str,
        provider: Option<&str>,
        configured: impl Fn(&Provider) -> bool,
    ) -> Result<Arc<Target>, Unresolved> {
        let is_there = |target: &&Arc<Target>| {
            provider.is_none_or(|provider| target.provider.name == provider)
        };
        if let Some(model) = self.model(name) {
            let mut there = model.targets.iter().filter(is_there);
            let first = there.clone().next().ok_or(Unresolved::Elsewhere)?;
            let found = there.find(|target| configured(target.provider));
            return found.cloned().ok_or(Unresolved::NotConfigured(first.provider));
        }
        let (prefix, rest) = name.split_once('/').ok_or(Unresolved::Unknown)?;
        let there = self.by_provider.get(prefix).ok_or(Unresolved::Unknown)?;
        let found = there.by_name.get(rest).or_else(|| there.by_upstream.get(rest));
        let target = found.ok_or(Unresolved::Unknown)?;
        if !is_there(&target) {
            return Err(Unresolved::Elsewhere);
        }
        if configured(target.provider) {
            Ok(Arc::clone(target))
        } else {
            Err(Unresolved::NotConfigured(target.provider))
        }
    }

    /// The priced target for the model id that a provider's answer names: its own id first, else
    /// the catalogue's name there.
    pub fn served(&self, provider: &Provider, answered: &str) -> Option<&Arc<Target>> {
        let there = self.by_provider.get(provider.name)?;
        there.by_upstream.get(answered).or_else(|| there.by_name.get(answered))
    }

    /// Every model, in catalogue order.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }

    fn of(version: String, text: String, rows: Vec<Row>) -> Self {
        let mut models: Vec<Model> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut by_provider: HashMap<&'static str, AtProvider> = HashMap::new();
        for row in rows {
            let target = Arc::new(row.target);
            let there = by_provider.entry(target.provider.name).or_default();
            there.by_name.insert(target.model.clone(), Arc::clone(&target));
            let upstream = target.upstream_model.clone();
            there.by_upstream.entry(upstream).or_insert_with(|| Arc::clone(&target));
            let place = *places.entry(target.model.clone()).or_insert(models.len());
            match models.get_mut(place) {
                Some(model) => model.targets.push(target),
                None => models.push(Model { name: target.model.clone(), targets: vec![target] }),
            }
        }
        let models: Vec<Arc<Model>> = models.into_iter().map(Arc::new).collect();
        let by_name = models.iter().map(|model| (model.name.clone(), Arc::clone(model))).collect();
        Self { version, text, models, by_name, by_provider }
    }
}

/// Whether every name leads to one row, and every upstream id to one set of prices.
fn check_names(rows: &[Row]) -> Result<(), CatalogError> {
    let mut names: HashMap<(&str, &str), &Row> = HashMap::new();
    let mut upstreams: HashMap<(&str, &str), &Row> = HashMap::new();
    for row in rows {
        let target = &row.target;
        let provider = target.provider.name;
        let refuse = |problem| Err(row.fault(problem));
        if let Some(first) = names.insert((provider, &target.model), row) {
            return refuse(Problem::Duplicate { provider, first: first.line });
        }
        let first = upstreams.entry((provider, &target.upstream_model)).or_insert(row);
        let prices = |row: &Row| (row.target.prices, row.target.tiers);
        if prices(first) != prices(row) {
            let upstream = target.upstream_model.clone();
            return refuse(Problem::TwoPrices { upstream, provider, first: first.line });
        }
    }
    for row in rows {
        let Some((prefix, rest)) = row.target.model.split_once('/') else { continue };
        let Some(provider) = providers::find(prefix) else { continue };
        let key = (provider.name, rest);
        let mut others = names.get(&key).into_iter().chain(upstreams.get(&key));
        if let Some(other) = others.find(|other| !std::ptr::eq(**other, row)) {
            let problem = Problem::AmbiguousName { provider: provider.name, other: other.line };
            return Err(row.fault(problem));
        }
    }
    Ok(())
}
