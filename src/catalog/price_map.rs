//! LiteLLM's price map, `model_prices_and_context_window.json`, as quotes.
//!
//! Its form is told by its own first row, `sample_spec`, and by `litellm/cost_calculator.py` of
//! `BerriAI/litellm`. Prices are JSON numbers, US dollars for one token, and are read as the text
//! that they are. Of a row with a price that no class of ours has, nothing is used.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Kind;
pub use super::left_out::LeftOut;
use super::quote::{LongQuote, Quote, QuotedPrices, TIERS};
use crate::domain::money::parse_exact;
use crate::domain::price::UsdPerMillionTokens;
use crate::domain::tier::ServiceTier;
use crate::domain::usage::{MAX_TOKENS, Tokens};
use crate::providers::{self, Provider};

/// The names of providers there that are others here.
const OTHER_NAMES: [(&str, &str); 1] = [("azure", "azure_openai")];

/// Prices of what the gateway never asks for: other service tiers than [`TIERS`], the provider's
/// own tools, and caches that keep for half a day (`prompt_cache_retention`).
const NEVER_ASKED_ENDINGS: [&str; 4] = ["_batches", "_batch_requests", "_ultrafast", "_decisions"];
const NEVER_ASKED: [&str; 9] = [
    "search_context_cost_per_query",
    "code_interpreter_cost_per_session",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
    "file_search_cost_per_1k_calls",
    "file_search_cost_per_gb_per_day",
    "vector_store_cost_per_gb_per_day",
    // The same price under its older name.
    "input_cost_per_token_cache_hit",
    // Cheaper hours; the price of the others is charged all day.
    "off_peak_pricing",
];
const HALF_A_DAY: &str = "cache_creation_input_token_cost_above_12hr";

const INPUT: &str = "input_cost_per_token";
const OUTPUT: &str = "output_cost_per_token";
const REASONING: &str = "output_cost_per_reasoning_token";

/// One row of the map.
#[derive(Debug)]
pub struct Listing {
    /// Its key.
    pub key: String,
    /// What it says, or why it cannot be used.
    pub listed: Result<Listed, LeftOut>,
}

/// A row that can be used.
#[derive(Debug)]
pub struct Listed {
    /// Who serves the model.
    pub provider: &'static Provider,
    /// Its id there.
    pub id: String,
    /// What it makes.
    pub kind: Kind,
    /// Whether it may think.
    pub reasons: bool,
    /// What it costs and how much it takes.
    pub quote: Quote,
}

/// Not a price map at all.
#[derive(Debug, thiserror::Error)]
#[error("it is no price map: a JSON object of objects, by the names of models")]
pub struct NoPriceMap(#[source] serde_json::Error);

/// The rows of a map, in its order.
///
/// # Errors
/// If the text is no JSON object.
pub fn read(text: &str) -> Result<Vec<Listing>, NoPriceMap> {
    let Members(rows) = serde_json::from_str(text).map_err(NoPriceMap)?;
    let mut seen = std::collections::HashMap::<String, u32>::new();
    for (key, _) in &rows {
        *seen.entry(key.clone()).or_default() += 1;
    }
    let listing = |(key, raw): (String, &RawValue)| {
        let once = seen.get(&key).is_none_or(|times| *times == 1);
        let listed = if once { row(&key, raw) } else { Err(LeftOut::Twice) };
        Listing { key, listed }
    };
    Ok(rows.into_iter().map(listing).collect())
}

fn row(key: &str, raw: &RawValue) -> Result<Listed, LeftOut> {
    let members: Members<'_> =
        serde_json::from_str(raw.get()).map_err(|_not_an_object| LeftOut::Malformed)?;
    let there = members.text("litellm_provider").ok_or(LeftOut::Malformed)?;
    let here = OTHER_NAMES.into_iter().find(|(theirs, _)| *theirs == there);
    let provider = providers::find(here.map_or(&there, |(_, ours)| ours));
    let provider = provider.ok_or_else(|| LeftOut::Provider(there.clone()))?;
    let kind = match members.text("mode").as_deref() {
        Some("chat") => Kind::Chat,
        Some("embedding") => Kind::Embedding,
        other => return Err(LeftOut::Mode(other.unwrap_or("(none)").to_owned())),
    };
    let prefix = format!("{there}/");
    let id = key.strip_prefix(&prefix).unwrap_or(key);
    check_id(provider, id)?;
    Ok(Listed {
        provider,
        id: id.to_owned(),
        kind,
        reasons: members.raw("supports_reasoning") == Some("true"),
        quote: Quote { tiers: members.tiers(provider, kind), ..members.quote(kind)? },
    })
}

/// Keys that are no name of a model which a request could ask for.
fn check_id(provider: &Provider, id: &str) -> Result<(), LeftOut> {
    if id.starts_with("ft:") {
        return Err(LeftOut::FineTuned);
    }
    if provider.name == "azure_openai" && id.contains('/') {
        return Err(LeftOut::Region);
    }
    if id.contains("-search-") || id.ends_with("-search") {
        return Err(LeftOut::Searches);
    }
    Ok(())
}

/// The members of an object in their order, each as it stands there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    /// A member that is there and not null.
    fn raw(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
    }

    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    fn quote(&self, kind: Kind) -> Result<Quote, LeftOut> {
        let threshold = self.check_classes()?;
        let base = match self.raw("tiered_pricing") {
            Some(steps) => return self.stepped(steps, kind),
            None => self.prices("", kind)?,
        };
        let long_context = match &threshold {
            None => None,
            Some(suffix) => {
                Some((above(suffix).ok_or(LeftOut::Tiers)?, self.prices(suffix, kind)?))
            }
        };
        self.bounded(kind, base, long_context)
    }

    fn bounded(
        &self,
        kind: Kind,
        base: QuotedPrices,
        long_context: LongQuote,
    ) -> Result<Quote, LeftOut> {
        let limit = |name: &'static str| {
            let tokens = self.raw(name).and_then(tokens);
            tokens.filter(|tokens| *tokens > Tokens::ZERO).ok_or(LeftOut::Unbounded(name))
        };
        Ok(Quote {
            base,
            long_context,
            tiers: [None; 2],
            context_window: Some(limit("max_input_tokens")?),
            max_output: match kind {
                Kind::Chat => Some(limit("max_output_tokens")?),
                Kind::Embedding => None,
            },
        })
    }

    /// `tiered_pricing`: all of a request is charged by the step that its input falls into. One
    /// step, or one for long requests, is what a catalogue can say.
    fn stepped(&self, steps: &str, kind: Kind) -> Result<Quote, LeftOut> {
        let steps: Vec<Members<'_>> =
            serde_json::from_str(steps).map_err(|_no_list| LeftOut::Tiers)?;
        for step in &steps {
            if step.check_classes()?.is_some() {
                return Err(LeftOut::Tiers);
            }
        }
        let (base, long_context) = match steps.as_slice() {
            [all] => (all.prices("", kind)?, None),
            [short, long] => {
                let range: Vec<&RawValue> = long
                    .raw("range")
                    .and_then(|range| serde_json::from_str(range).ok())
                    .ok_or(LeftOut::Tiers)?;
                let above = range.first().and_then(|above| tokens(above.get()));
                let long = long.prices("", kind)?;
                (short.prices("", kind)?, Some((above.ok_or(LeftOut::Tiers)?, long)))
            }
            _ => return Err(LeftOut::Tiers),
        };
        self.bounded(kind, base, long_context)
    }

    /// The prices whose names end in `suffix`. A cache's price of 0 means that it has none of its
    /// own: such input costs what input costs.
    fn prices(&self, suffix: &str, kind: Kind) -> Result<QuotedPrices, LeftOut> {
        let optional = |name: &str| {
            let found = self.price(&format!("{name}{suffix}"))?;
            Ok(found.filter(|price| *price != UsdPerMillionTokens::ZERO))
        };
        let required = |name: &'static str| {
            self.price(&format!("{name}{suffix}"))?.ok_or(LeftOut::Unpriced(name))
        };
        let input = required(INPUT)?;
        if input == UsdPerMillionTokens::ZERO {
            return Err(LeftOut::Free);
        }
        let output = match kind {
            Kind::Chat => required(OUTPUT)?,
            Kind::Embedding if optional(OUTPUT)?.is_some() => {
                return Err(LeftOut::Class(OUTPUT.to_owned()));
            }
            Kind::Embedding => UsdPerMillionTokens::ZERO,
        };
        let reasoning = optional(REASONING)?;
        if kind == Kind::Chat && reasoning.is_some_and(|reasoning| reasoning != output) {
            return Err(LeftOut::Class(REASONING.to_owned()));
        }
        Ok(QuotedPrices {
            input,
            cached_input: optional("cache_read_input_token_cost")?,
            cache_write: optional("cache_creation_input_token_cost")?,
            long_cache_write: optional("cache_creation_input_token_cost_above_1hr")?,
            output,
        })
    }

    /// The prices of other service tiers, where the provider is asked for one.
    fn tiers(&self, provider: &Provider, kind: Kind) -> [Option<(QuotedPrices, LongQuote)>; 2] {
        let has_tiers = provider.dialect.service_tier && kind == Kind::Chat;
        TIERS.map(|tier| self.tier(tier).filter(|_| has_tiers))
    }

    /// The prices of a tier, if it has one of each class that the row has one of, and no other.
    fn tier(&self, tier: ServiceTier) -> Option<(QuotedPrices, LongQuote)> {
        let classes = |of: Option<ServiceTier>| {
            let named = self.0.iter().filter_map(|(name, raw)| {
                let is_price = (name.contains("cost") || name.contains("pric"))
                    && !never_asked(name)
                    && !is_nothing(raw.get());
                let name = match of {
                    Some(tier) => without_tier(name, tier)?,
                    None if is_of_tier(name) => return None,
                    None => name.clone(),
                };
                is_price.then_some(name)
            });
            named.collect::<BTreeSet<String>>()
        };
        let (ordinary, own) = (classes(None), classes(Some(tier)));
        if own.is_empty() || own != ordinary {
            return None;
        }
        let renamed =
            self.0.iter().filter_map(|(name, raw)| Some((without_tier(name, tier)?, *raw)));
        let quote = Self(renamed.collect());
        let long = match quote.check_classes().ok()? {
            None => None,
            Some(suffix) => Some((above(&suffix)?, quote.prices(&suffix, Kind::Chat).ok()?)),
        };
        Some((quote.prices("", Kind::Chat).ok()?, long))
    }

    fn price(&self, name: &str) -> Result<Option<UsdPerMillionTokens>, LeftOut> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        // Some write the number into a string.
        let text: String = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
        let inexact = |_| LeftOut::Inexact { field: name.to_owned(), text: text.clone() };
        UsdPerMillionTokens::parse_per_token(&text).map(Some).map_err(inexact)
    }

    /// Refuses prices of other classes than ours, and tells the ending of those for long requests.
    fn check_classes(&self) -> Result<Option<String>, LeftOut> {
        let mut threshold: Option<String> = None;
        for (name, raw) in &self.0 {
            let is_price = name.contains("cost") || name.contains("pric");
            if !is_price || is_of_tier(name) || never_asked(name) || is_nothing(raw.get()) {
                continue;
            }
            if name == "tiered_pricing" {
                continue;
            }
            let (class, suffix) = split(name);
            if !CLASSES.contains(&class) {
                return Err(LeftOut::Class(name.clone()));
            }
            if suffix.is_empty() {
                continue;
            }
            if threshold.as_ref().is_some_and(|known| known != suffix) {
                return Err(LeftOut::Tiers);
            }
            threshold = Some(suffix.to_owned());
        }
        Ok(threshold)
    }
}

const CLASSES: [&str; 6] = [
    INPUT,
    OUTPUT,
    REASONING,
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
];

fn never_asked(name: &str) -> bool {
    NEVER_ASKED.contains(&name)
        || name.starts_with(HALF_A_DAY)
        || NEVER_ASKED_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The name of the same price in the default tier, if this is one of the tier: its word stands at
/// the end, or before the threshold of long requests.
fn without_tier(name: &str, tier: ServiceTier) -> Option<String> {
    let (class, threshold) = split(name);
    let stripped = |text: &str| {
        let rest = text.strip_suffix(tier.as_str())?;
        rest.strip_suffix('_').map(str::to_owned)
    };
    match threshold {
        "" => stripped(name),
        threshold => stripped(class).map(|class| class + threshold),
    }
}

fn is_of_tier(name: &str) -> bool {
    TIERS.into_iter().any(|tier| without_tier(name, tier).is_some())
}

/// Whether a price is that of nothing.
fn is_nothing(raw: &str) -> bool {
    raw == "null" || parse_exact(raw).is_ok_and(|price| price.is_zero())
}

/// A name before and from the ending that names a threshold, such as `_above_200k_tokens`.
fn split(name: &str) -> (&str, &str) {
    let at = name.strip_suffix("k_tokens").and_then(|rest| rest.rfind("_above_"));
    at.and_then(|at| name.split_at_checked(at)).unwrap_or((name, ""))
}

/// The threshold that an ending names.
fn above(suffix: &str) -> Option<Tokens> {
    let thousands = suffix.strip_prefix("_above_")?.strip_suffix("k_tokens")?;
    let thousands: u32 = thousands.parse().ok()?;
    Some(Tokens::new(u64::from(thousands) * 1000))
}

/// A whole number of tokens, which may be written as `256000.0`.
pub(super) fn tokens(raw: &str) -> Option<Tokens> {
    let number = parse_exact(raw).ok()?.normalize();
    let count = u64::try_from(number).ok().filter(|_| number.scale() == 0)?;
    (count <= MAX_TOKENS).then(|| Tokens::new(count))
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members).map_err(de::Error::custom)
    }
}
