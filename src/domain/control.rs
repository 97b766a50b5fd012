//! What an orchestrator decides about the calls of a run.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::id::Attempt;

/// How a run's calls are made, as far as its orchestrator has a say. Empty for most runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunControl {
    /// Names that clients insist on, and the model of the catalogue that each stands for.
    pub model_aliases: BTreeMap<String, String>,
    /// Parameters of every request for text, whatever the client says: by name, as raw JSON.
    pub forced_parameters: BTreeMap<String, String>,
    /// The one provider that serves the run.
    pub provider: Option<String>,
    /// The providers that it brings keys of its own for, by name.
    pub own_providers: Vec<String>,
    /// Whether a call goes on to the next provider of its model when its own has failed.
    pub fallback: bool,
    /// What the run's limits are for.
    pub attempt_budget: AttemptBudget,
}

impl RunControl {
    /// The model that a name stands for: what it is an alias of, else itself.
    pub fn model<'a>(&'a self, asked: &'a str) -> &'a str {
        self.model_aliases.get(asked).map_or(asked, String::as_str)
    }
}

/// Whether the attempts of a run share its budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttemptBudget {
    /// All attempts spend from the same budgets.
    #[default]
    Shared,
    /// Each attempt has budgets of its own.
    PerAttempt,
}

impl AttemptBudget {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Shared, Self::PerAttempt];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::PerAttempt => "per_attempt",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == text)
    }

    /// Which attempt the budgets are for that a call of `attempt` spends from; `None`: all of them.
    pub const fn of(self, attempt: Attempt) -> Option<Attempt> {
        match self {
            Self::Shared => None,
            Self::PerAttempt => Some(attempt),
        }
    }
}

impl Serialize for AttemptBudget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
