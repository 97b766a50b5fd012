//! What an organization used over a time: sums of ended calls by one of their properties, a row for
//! each provider.

use chrono::{DateTime, Utc};

use crate::domain::id::{KeyId, OrganizationId};

use super::Sums;

/// What calls that belong to no run or no key are grouped under.
pub const NONE: &str = "none";

/// The property that an organization's calls are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageBy {
    /// The model, under the name that its provider's prefix makes: `openai/gpt-4o-mini`.
    Model,
    /// The inference key.
    Key,
    /// The run.
    Run,
    /// Who was asked.
    Provider,
    /// The day of admission, in UTC.
    Day,
}

impl UsageBy {
    /// Every property.
    pub const ALL: [Self; 5] = [Self::Model, Self::Key, Self::Run, Self::Provider, Self::Day];

    /// The word in requests and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Key => "key",
            Self::Run => "run",
            Self::Provider => "provider",
            Self::Day => "day",
        }
    }

    /// Reads the word of a request.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

/// Which calls to sum, and which of their groups to answer.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// Whose calls.
    pub organization: OrganizationId,
    /// Only calls with this key, if one is named.
    pub key: Option<KeyId>,
    /// Calls that were admitted then or later count.
    pub from: DateTime<Utc>,
    /// Calls that were admitted then or later do not count any more.
    pub to: DateTime<Utc>,
    /// What they are summed by.
    pub group_by: UsageBy,
    /// Group and provider of the last row of the page before.
    pub after: Option<(String, String)>,
    /// The most rows to answer.
    pub limit: u32,
}

/// The sums of one group at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The group: a model, an id, a provider, a day such as `2026-01-31`, or [`NONE`]. Rows are in
    /// the order of the bytes of this and then of the provider.
    pub group: String,
    /// What people call it, if its group is a key.
    pub name: Option<String>,
    /// Who was asked.
    pub provider: String,
    /// The sums.
    pub sums: Sums,
}
