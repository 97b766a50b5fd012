//! Service tiers: the same model served at another pace, and at other prices.

use serde::{Serialize, Serializer};

use super::money::{Overflow, Usd};
use super::price::{Caching, Prices};
use super::usage::Tokens;

/// The longest word for a tier that is kept, in bytes.
const MAX_TIER_BYTES: usize = 64;

/// How a call is to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// As everybody's.
    #[default]
    Default,
    /// When there is room, for less.
    Flex,
    /// Before others, for more.
    Priority,
}

impl ServiceTier {
    /// Every tier.
    pub const ALL: [Self; 3] = [Self::Default, Self::Flex, Self::Priority];

    /// Their words, in the same order.
    pub const WORDS: [&str; 3] =
        [Self::Default.as_str(), Self::Flex.as_str(), Self::Priority.as_str()];

    /// The word used in settings, storage and requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text)
    }
}

impl Serialize for ServiceTier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The tier that an answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedTier {
    /// One of ours.
    Known(ServiceTier),
    /// Another one, in the provider's word.
    Other(String),
}

impl ServedTier {
    /// Reads a provider's word. `None` names no tier: `auto` is only what may be asked for.
    ///
    /// Since July 2026 OpenAI calls priority processing *Fast mode* and takes both words for it
    /// (`developers.openai.com/api/docs/guides/fast-mode`), so either may be answered.
    pub fn read(word: &str) -> Option<Self> {
        match word {
            "auto" | "" => None,
            "fast" => Some(Self::Known(ServiceTier::Priority)),
            word => Some(ServiceTier::parse(word).map_or_else(|| Self::other(word), Self::Known)),
        }
    }

    fn other(word: &str) -> Self {
        let mut kept = String::new();
        for next in word.chars().filter(|next| !next.is_control()) {
            if kept.len() + next.len_utf8() > MAX_TIER_BYTES {
                break;
            }
            kept.push(next);
        }
        Self::Other(kept)
    }

    /// The word that is kept.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(tier) => tier.as_str(),
            Self::Other(word) => word,
        }
    }
}

/// What a target charges in other tiers than the default one, where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherTiers {
    /// The prices of [`ServiceTier::Flex`].
    pub flex: Option<Prices>,
    /// The prices of [`ServiceTier::Priority`].
    pub priority: Option<Prices>,
}

impl OtherTiers {
    /// The prices of a tier; those of the default one stand elsewhere.
    pub const fn get(&self, tier: ServiceTier) -> Option<&Prices> {
        match tier {
            ServiceTier::Default => None,
            ServiceTier::Flex => self.flex.as_ref(),
            ServiceTier::Priority => self.priority.as_ref(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.flex.is_none() && self.priority.is_none()
    }
}

/// What a call may turn out to be charged at: the prices of the tier that it asks for, or those of
/// the default one, in which a provider may serve it instead. It is served in one of them as a
/// whole, so the dearer whole counts and not the dearest of each class.
#[derive(Clone, Copy, Debug)]
pub struct AskedPrices {
    asked: Prices,
    instead: Option<Prices>,
}

impl From<Prices> for AskedPrices {
    /// Those of a call in the default tier.
    fn from(asked: Prices) -> Self {
        Self { asked, instead: None }
    }
}

impl AskedPrices {
    /// Those of a call that asks for a tier with prices of its own, beside the default ones.
    pub const fn of_tier(asked: Prices, default: Prices) -> Self {
        Self { asked, instead: Some(default) }
    }

    /// The prices that can come up with this use of caches.
    #[must_use]
    pub fn with_caching(self, caching: Caching) -> Self {
        Self {
            asked: self.asked.with_caching(caching),
            instead: self.instead.map(|prices| prices.with_caching(caching)),
        }
    }

    /// The most that any usage within these bounds can cost, whichever tier serves it.
    ///
    /// # Errors
    /// If the amount cannot be represented exactly.
    pub fn worst_case(&self, input: Tokens, output: Tokens) -> Result<Usd, Overflow> {
        let asked = self.asked.worst_case(input, output)?;
        match &self.instead {
            None => Ok(asked),
            Some(instead) => Ok(asked.max(instead.worst_case(input, output)?)),
        }
    }

    /// The most output tokens that `amount` buys beside `input` tokens of input, by the worst
    /// case; `None` if not even the input is affordable.
    pub fn output_affordable(&self, amount: Usd, input: Tokens) -> Option<Tokens> {
        let asked = self.asked.output_affordable(amount, input)?;
        match &self.instead {
            None => Some(asked),
            Some(instead) => Some(asked.min(instead.output_affordable(amount, input)?)),
        }
    }
}
