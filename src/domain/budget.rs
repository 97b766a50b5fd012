//! Budgets: a limit on one scope, in one unit, over one window.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::id::BudgetId;
use super::money::Usd;
use super::usage::{Tokens, Usage};

/// Whose budget it is.
///
/// The order is the order in which budgets of dollars are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One inference key.
    Key,
    /// All calls of an organization: what its monthly dollars limit is the *cost circuit*.
    Organization,
    /// What an organization has paid for in advance.
    Credits,
    /// One run, over all its attempts or one of them.
    Run,
}

impl Scope {
    /// Every scope, in the order of checking.
    pub const ALL: [Self; 4] = [Self::Key, Self::Organization, Self::Credits, Self::Run];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Key => "key",
            Self::Organization => "organization",
            Self::Credits => "credits",
        }
    }

    /// Reads the word used in storage.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// From the scope's beginning to its end.
    Lifetime,
    /// A day in UTC.
    Day,
    /// A month in UTC.
    Month,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 3] = [Self::Lifetime, Self::Day, Self::Month];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Reads the word used in storage.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == text)
    }

    /// The first day of the window that a time is in; `None` for a lifetime.
    pub fn first_day(self, time: DateTime<Utc>) -> Option<NaiveDate> {
        let day = time.date_naive();
        match self {
            Self::Lifetime => None,
            Self::Day => Some(day),
            Self::Month => day.with_day(1),
        }
    }

    /// When the window that a time is in is over; `None` for a lifetime.
    pub fn end(self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first = self.first_day(time)?;
        let next = match self {
            Self::Lifetime => None,
            Self::Day => first.checked_add_signed(TimeDelta::days(1)),
            Self::Month => first.checked_add_months(Months::new(1)),
        };
        Some(next?.and_hms_opt(0, 0, 0)?.and_utc())
    }
}

/// A budget of the ledger and what it limits. It does not change for as long as its scope lives:
/// where the window is a day or a month, it stands for all of them, each of which is a row of its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRef {
    /// The row, or the template of the windows' rows.
    pub id: BudgetId,
    /// Whose budget it is.
    pub scope: Scope,
    /// What it counts.
    pub unit: Unit,
    /// Over which time.
    pub window: Window,
}

impl BudgetRef {
    /// A budget of a run.
    pub const fn of_run(id: BudgetId, unit: Unit) -> Self {
        Self { id, scope: Scope::Run, unit, window: Window::Lifetime }
    }

    /// Its place in the published order of refusals: calls, tokens, then the dollars of the key, of
    /// the organization, of the credits and of the run; the shorter window of two first.
    pub fn rank(&self) -> (Unit, Scope, Window) {
        (self.unit, self.scope, self.window)
    }
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
