//! Budgets: a limit on one scope, in one unit, over one window.

use rust_decimal::Decimal;

use super::id::BudgetId;
use super::money::Usd;
use super::usage::{Tokens, Usage};

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One run, over all its attempts or one of them.
    Run,
}

impl Scope {
    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
        }
    }
}

/// What a budget counts. The order is the order in which a call's budgets are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Upstream attempts that bought something.
    Calls,
    /// Input and output tokens together.
    Tokens,
    /// US dollars.
    Usd,
}

impl Unit {
    /// Every unit, in the order of checking.
    pub const ALL: [Self; 3] = [Self::Calls, Self::Tokens, Self::Usd];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Tokens => "tokens",
            Self::Usd => "usd",
        }
    }

    /// Reads the word used in storage.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == text)
    }
}

/// Over which time a budget counts. Each window is a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// From the scope's beginning to its end.
    Lifetime,
}

impl Window {
    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
        }
    }
}

/// Which row of the ledger limits what. It does not change for as long as its scope lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRef {
    /// The row.
    pub id: BudgetId,
    /// What the row counts.
    pub unit: Unit,
}

/// What one upstream attempt takes of each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// US dollars.
    pub usd: Usd,
    /// Input and output tokens together.
    pub tokens: Tokens,
    /// 1 for an attempt that bought something, 0 for one that did not.
    pub calls: u32,
}

impl Amounts {
    /// What an ended attempt takes: its cost, its tokens, and one call.
    pub const fn of_call(cost: Usd, usage: &Usage) -> Self {
        Self { usd: cost, tokens: usage.total(), calls: 1 }
    }

    /// The amount in one unit, as the ledger counts it.
    pub fn in_unit(&self, unit: Unit) -> Decimal {
        match unit {
            Unit::Usd => self.usd.decimal(),
            Unit::Tokens => Decimal::from(self.tokens.count()),
            Unit::Calls => Decimal::from(self.calls),
        }
    }
}

/// Where a budget stands: in dollars, tokens or calls, as its unit says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The most that may be spent and reserved together when something is admitted.
    pub limit: Decimal,
    /// The sum of what ended calls took.
    pub spent: Decimal,
    /// The sum of what calls in flight may take.
    pub reserved: Decimal,
}

/// Whether an amount fits a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It can be reserved now.
    Fits,
    /// Only what is reserved by calls in flight stands in the way.
    Waits,
    /// It is more than is left even when everything in flight costs nothing.
    Exceeds,
}

impl Balance {
    /// Whether `amount` fits. A limit is reached exactly, never passed.
    pub fn fit(&self, amount: Decimal) -> Fit {
        let beside_spent = self.limit.saturating_sub(self.spent);
        if amount <= beside_spent.saturating_sub(self.reserved) {
            Fit::Fits
        } else if amount <= beside_spent {
            Fit::Waits
        } else {
            Fit::Exceeds
        }
    }

    /// What may still be reserved: `limit − spent − reserved`, at least nothing.
    pub fn available(&self) -> Decimal {
        let rest = self.limit.saturating_sub(self.spent).saturating_sub(self.reserved);
        rest.max(Decimal::ZERO).normalize()
    }

    /// What is left beside what is already spent: `limit − spent`, at least nothing.
    pub fn unspent(&self) -> Decimal {
        self.limit.saturating_sub(self.spent).max(Decimal::ZERO).normalize()
    }
}
