//! What was used over a time, whosever run it was: sums of ended calls, by one of their properties.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::money::add_exact;

/// The property that calls are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The model's name in the catalogue.
    Model,
    /// Who was asked.
    Provider,
    /// The run.
    Run,
    /// The day of admission, in UTC.
    Day,
}

impl GroupBy {
    /// Every property.
    pub const ALL: [Self; 4] = [Self::Model, Self::Provider, Self::Run, Self::Day];

    /// The word in requests and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Run => "run",
            Self::Day => "day",
        }
    }

    /// Reads the word of a request.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.as_str() == text)
    }

    /// What groups are ordered by, the largest first, before their names: their cost, unless they
    /// have an order of their own.
    pub const fn rank(self, cost: Decimal) -> Decimal {
        match self {
            Self::Model | Self::Provider | Self::Run => cost,
            Self::Day => Decimal::ZERO,
        }
    }
}

/// Which calls to sum, and which of their groups to answer.
#[derive(Clone, Debug)]
pub struct TotalsQuery {
    /// Calls that were admitted then or later count.
    pub from: DateTime<Utc>,
    /// Calls that were admitted then or later do not count any more.
    pub to: DateTime<Utc>,
    /// What they are summed by.
    pub group_by: GroupBy,
    /// Rank and name of the last group of the page before.
    pub after: Option<(Decimal, String)>,
    /// The most groups to answer.
    pub limit: u32,
}

/// Sums over calls that bought something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many they are.
    pub calls: u64,
    /// All input.
    pub input_tokens: u64,
    /// The part of the input that came from a cache.
    pub cached_input_tokens: u64,
    /// All output.
    pub output_tokens: u64,
    /// The exact sum, in US dollars.
    pub cost: Decimal,
}

impl Sums {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        let Self { calls, input_tokens, cached_input_tokens, output_tokens, cost } = other;
        self.calls = self.calls.saturating_add(*calls);
        self.input_tokens = self.input_tokens.saturating_add(*input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(*cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(*output_tokens);
        self.cost = add_exact(self.cost, *cost).unwrap_or(Decimal::MAX);
    }
}

/// The sums of a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sums of each group after the cursor, by rank, the largest first, then by name. A day is
    /// named as `2026-01-31`.
    pub groups: Vec<(String, Sums)>,
    /// The sums of all groups, those before the cursor and beyond the limit included.
    pub total: Sums,
}
