//! The part of the ledger's port that is about organizations: what they have set, their keys, what
//! they may spend.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_decimal::prelude::ToPrimitive as _;

use crate::domain::budget::{Balance, BudgetRef, Scope, Unit, Window};
use crate::domain::id::{KeyId, OrchestratorKeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::organization::{
    KeyLimits, KeySnapshot, KeyStatus, KeyTerms, OrganizationSnapshot, SettingsPatch,
};
use crate::domain::usage::Tokens;

use super::{LedgerError, Page};

/// Where a budget stands in one of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetStanding {
    /// The budget.
    pub budget: BudgetRef,
    /// When the window began; `None` for a lifetime.
    pub since: Option<DateTime<Utc>>,
    /// Its numbers.
    pub balance: Balance,
    /// Whether it stays closed until somebody resets it: an open cost circuit.
    pub latched: bool,
}

/// An organization with where its budgets stand.
#[derive(Clone, Debug)]
pub struct OrganizationRecord {
    /// What gateways know of it.
    pub organization: OrganizationSnapshot,
    /// Its name, which no other has.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its budgets in their current windows, in the order of checking.
    pub standings: Vec<BudgetStanding>,
}

impl KeyRecord {
    /// What it may spend.
    pub fn limits(&self) -> KeyLimits {
        let limit = |unit: Unit, window: Window| {
            let of = |found: &&BudgetStanding| (found.budget.unit, found.budget.window);
            let found = self.standings.iter().find(|found| of(found) == (unit, window));
            found.map(|found| found.balance.limit)
        };
        let tokens = |window| {
            let limit = limit(Unit::Tokens, window)?;
            Some(Tokens::new(limit.to_u64().unwrap_or(u64::MAX)))
        };
        let usd = |window| limit(Unit::Usd, window).and_then(|usd| Usd::from_decimal(usd).ok());
        KeyLimits {
            monthly_tokens: tokens(Window::Month).unwrap_or_default(),
            daily_tokens: tokens(Window::Day),
            monthly_usd: usd(Window::Month),
            lifetime_usd: usd(Window::Lifetime),
        }
    }
}

impl OrganizationRecord {
    /// Where its budget of a scope stands, if it has one.
    pub fn standing(&self, scope: Scope) -> Option<&BudgetStanding> {
        self.standings.iter().find(|standing| standing.budget.scope == scope)
    }
}

/// An inference key with where its budgets stand.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// What gateways know of it.
    pub key: KeySnapshot,
    /// The beginning of its secret.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its secret was replaced last.
    pub rotated_at: Option<DateTime<Utc>>,
    /// Its budgets in their current windows, in the order of checking.
    pub standings: Vec<BudgetStanding>,
}

/// An inference key that is to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Who pays.
    pub organization: OrganizationId,
    /// What it allows.
    pub terms: KeyTerms,
    /// What it may spend.
    pub limits: KeyLimits,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// The beginning of its secret.
    pub prefix: String,
}

/// A key for the runs of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrchestratorKey {
    /// Its id.
    pub id: OrchestratorKeyId,
    /// Whose runs it is good for.
    pub organization: OrganizationId,
    /// What its owner calls it.
    pub name: String,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// The beginning of its secret.
    pub prefix: String,
    /// Active or revoked.
    pub status: KeyStatus,
    /// When it was made; what a caller says of this is not looked at.
    pub created_at: DateTime<Utc>,
}

/// Why an organization or a key of it could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum OrganizationsError {
    /// The name is another organization's, or the id another object's.
    #[error("that name or id is taken")]
    Taken,
    /// There is no such organization, or no such object in it.
    #[error("there is no such organization, or no such object in it")]
    NotFound,
    /// The first configuration must have a monthly limit.
    #[error("the first configuration needs a monthly cost limit")]
    NotConfigured,
    /// The key is revoked for good.
    #[error("the key is {0:?}")]
    InvalidTransition(KeyStatus),
    /// The sum has too many digits.
    #[error("the amount is too large")]
    TooMuch,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Organizations and their keys.
///
/// Once a change has been answered nothing is admitted on the old state, on any gateway: whoever
/// changes a key or a limit first locks the budgets that its calls fall under, and counts the
/// change, so that an ask that goes by what was before is outdated.
#[async_trait]
pub trait Organizations: Send + Sync {
    /// Makes an organization. Until it is configured its cost circuit admits nothing.
    async fn create_organization(
        &self,
        id: OrganizationId,
        name: String,
    ) -> Result<OrganizationRecord, OrganizationsError>;

    /// An organization as gateways know it.
    async fn find_organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationSnapshot>, LedgerError>;

    /// An organization with where its budgets stand.
    async fn organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationRecord>, LedgerError>;

    /// Organizations in the order of their ids.
    async fn organizations(&self, page: Page) -> Result<Vec<OrganizationRecord>, LedgerError>;

    /// Changes settings and the monthly limit, which may be set below what is spent.
    async fn put_settings(
        &self,
        id: OrganizationId,
        patch: SettingsPatch,
    ) -> Result<OrganizationRecord, OrganizationsError>;

    /// Makes an inference key.
    async fn mint_key(&self, new: NewKey) -> Result<KeyRecord, OrganizationsError>;

    /// The key of this secret, whatever its status.
    async fn find_key(&self, hash: TokenHash) -> Result<Option<KeySnapshot>, LedgerError>;

    /// The key that the first of these names in a client's certificate stands for, unless it is
    /// revoked.
    async fn find_key_by_identity(
        &self,
        names: &[String],
    ) -> Result<Option<KeySnapshot>, LedgerError>;

    /// The key of this id, in whatever organization.
    async fn find_key_by_id(&self, id: KeyId) -> Result<Option<KeySnapshot>, LedgerError>;

    /// A key of an organization with where its budgets stand.
    async fn key(
        &self,
        organization: OrganizationId,
        id: KeyId,
    ) -> Result<Option<KeyRecord>, LedgerError>;

    /// The keys of an organization in the order in which they were made.
    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<Vec<KeyRecord>, LedgerError>;

    /// Suspends, resumes or revokes a key.
    async fn set_key_status(
        &self,
        organization: OrganizationId,
        id: KeyId,
        status: KeyStatus,
    ) -> Result<KeyRecord, OrganizationsError>;

    /// Changes what a key allows and may spend, in the place of the key of `version`. `None` if it
    /// was changed meanwhile. A limit that was not there counts what is spent from now on.
    async fn change_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        version: u64,
        changed: (KeyTerms, KeyLimits),
    ) -> Result<Option<KeyRecord>, OrganizationsError>;

    /// Replaces a key's secret. What it has spent stays spent.
    async fn rotate_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        hash: TokenHash,
        prefix: String,
    ) -> Result<KeyRecord, OrganizationsError>;

    /// Makes an orchestrator key.
    async fn mint_orchestrator_key(
        &self,
        key: OrchestratorKey,
    ) -> Result<OrchestratorKey, OrganizationsError>;

    /// The active orchestrator key of this secret.
    async fn find_orchestrator_key(
        &self,
        hash: TokenHash,
    ) -> Result<Option<OrchestratorKey>, LedgerError>;

    /// The orchestrator keys of an organization in the order in which they were made.
    async fn orchestrator_keys(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<OrchestratorKey>, LedgerError>;

    /// Revokes an orchestrator key for good.
    async fn revoke_orchestrator_key(
        &self,
        organization: OrganizationId,
        id: OrchestratorKeyId,
    ) -> Result<OrchestratorKey, OrganizationsError>;
}
