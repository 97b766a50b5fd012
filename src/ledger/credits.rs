//! The part of the ledger's port that is about prepaid credits: what was put in, and what was taken
//! out of it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::id::{CreditId, KeyId, OrganizationId, RunId};
use crate::domain::money::Usd;

use super::organizations::{BudgetStanding, OrganizationsError};
use super::{LedgerError, Page};

/// Why credits were put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditKind {
    /// For nothing: a trial.
    Grant,
    /// For money.
    TopUp,
}

impl CreditKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Grant, Self::TopUp];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::TopUp => "top_up",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One amount that was put into an organization's credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Its id. The same id twice is booked once.
    pub id: CreditId,
    /// Why.
    pub kind: CreditKind,
    /// How much; more than nothing.
    pub amount: Usd,
    /// A note of whoever did it.
    pub note: String,
    /// When it was booked; what a caller says of this is not looked at.
    pub created_at: DateTime<Utc>,
}

/// What changed a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Credits were put in.
    Credit(Credit),
    /// A call was charged.
    Charge {
        /// The call's id.
        call: Uuid,
        /// What it cost, in US dollars; more than nothing.
        cost: Decimal,
        /// The run that it was made for, if any.
        run: Option<RunId>,
        /// The key that it was made with, if any.
        key: Option<KeyId>,
        /// The model's name in the catalogue.
        model: String,
        /// When it was admitted.
        created_at: DateTime<Utc>,
    },
}

/// A movement, and where it stands among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The later it was booked, or of a call admitted, the larger.
    pub position: Uuid,
    /// What happened.
    pub movement: Movement,
}

/// A page of an organization's transactions, the newest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The rows.
    pub transactions: Vec<Transaction>,
    /// Charges of calls that are not kept as rows any more, on no page, in US dollars.
    pub retired: Decimal,
}

/// Where a credit stands among transactions: first its time in milliseconds, as in the ids of calls
/// (UUID v7, RFC 9562), then what of its own id is left.
pub fn position_of(credit: &Credit) -> Uuid {
    let millis = u128::try_from(credit.created_at.timestamp_millis()).unwrap_or(0);
    let rest = credit.id.uuid().as_u128() & ((1 << 80) - 1);
    Uuid::from_u128(millis << 80 | rest)
}

/// Prepaid credits.
#[async_trait]
pub trait Credits: Send + Sync {
    /// Puts credits in; the first ones make the organization a prepaid one. Answers where they
    /// stand.
    async fn add_credit(
        &self,
        organization: OrganizationId,
        credit: Credit,
    ) -> Result<BudgetStanding, OrganizationsError>;

    /// What was put in under this id.
    async fn credit(
        &self,
        organization: OrganizationId,
        id: CreditId,
    ) -> Result<Option<Credit>, LedgerError>;

    /// What was put in and what calls were charged, the newest first. A page begins behind the
    /// transaction of a position.
    async fn credit_history(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<History, LedgerError>;
}
