//! A ledger whose database is gone, or goes while a run's calls are read.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rungate::domain::id::{CreditId, KeyId, OrchestratorKeyId, OrganizationId, RunId};
use rungate::domain::key::TokenHash;
use rungate::domain::organization::{
    KeyLimits, KeySnapshot, KeyStatus, KeyTerms, OrganizationSnapshot, Role, SettingsPatch,
};
use rungate::domain::reservation::{Ask, Refusal};
use rungate::domain::run::{
    Registration, RunPatch, RunProvider, RunSnapshot, RunStanding, RunState,
};
use rungate::ledger::audit::AuditRecord;
use rungate::ledger::credits::{Credit, History};
use rungate::ledger::members::{Member, PasswordHash};
use rungate::ledger::organizations::{
    BudgetStanding, KeyRecord, NewKey, OrchestratorKey, OrganizationRecord, OrganizationsError,
};
use rungate::ledger::providers::{ProviderConfiguration, ProvidersSnapshot};
use rungate::ledger::queue::Turn;
use rungate::ledger::{
    AuditLog, CallRecord, Close, Credits, Grant, Ledger, LedgerError, Members, Organizations, Page,
    Providers, Registered, RunKey, RunRecord, RunsError, Totals, TotalsQuery, UsageQuery, UsageRow,
};

#[derive(Default)]
pub(super) struct Broken {
    /// The first page of a run's calls, before it goes.
    pub(super) calls: Mutex<Vec<CallRecord>>,
    /// Whether sums take too long.
    pub(super) is_slow: bool,
}

fn gone() -> LedgerError {
    LedgerError::Unavailable("connection to postgres://secret@db refused".into())
}

#[async_trait]
impl Ledger for Broken {
    async fn admit(&self, _: Ask, _: &Arc<Turn>) -> Result<Result<Grant, Refusal>, LedgerError> {
        Err(gone())
    }

    async fn find(&self, _: RunKey) -> Result<Option<RunSnapshot>, LedgerError> {
        Err(gone())
    }

    async fn standings(&self, _: &[RunId]) -> Result<Vec<(RunId, RunStanding)>, LedgerError> {
        Err(gone())
    }

    async fn register(
        &self,
        _: Vec<(Registration, TokenHash)>,
    ) -> Result<Vec<Registered>, RunsError> {
        Err(gone().into())
    }

    async fn patch(&self, _: RunId, _: RunPatch) -> Result<RunRecord, RunsError> {
        Err(gone().into())
    }

    async fn close(&self, _: RunId, _: Close) -> Result<RunRecord, RunsError> {
        Err(gone().into())
    }

    async fn open_attempt(
        &self,
        _: RunId,
        _: RunState,
        _: TokenHash,
    ) -> Result<RunRecord, RunsError> {
        Err(gone().into())
    }

    async fn rotate_token(&self, _: RunId, _: TokenHash) -> Result<RunRecord, RunsError> {
        Err(gone().into())
    }

    async fn record(&self, _: RunId) -> Result<Option<RunRecord>, LedgerError> {
        Err(gone())
    }

    async fn list(
        &self,
        _: Option<OrganizationId>,
        _: Option<RunState>,
        _: Page,
    ) -> Result<Vec<RunRecord>, LedgerError> {
        Err(gone())
    }

    async fn calls(&self, _: RunId, _: Page) -> Result<Vec<CallRecord>, LedgerError> {
        let page = std::mem::take(&mut *self.calls.lock());
        if page.is_empty() { Err(gone()) } else { Ok(page) }
    }

    async fn totals(&self, _: &TotalsQuery) -> Result<Totals, LedgerError> {
        Err(if self.is_slow { LedgerError::TooMuch } else { gone() })
    }

    async fn usage(&self, _: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError> {
        Err(if self.is_slow { LedgerError::TooMuch } else { gone() })
    }

    async fn count_refusals(&self, _: Vec<(RunId, &'static str, u64)>) -> Result<(), LedgerError> {
        Err(gone())
    }

    async fn ready(&self) -> Result<(), LedgerError> {
        Err(gone())
    }

    async fn flush(&self) {}
}

/// Nothing of it is asked for here.
#[async_trait]
impl Organizations for Broken {
    async fn create_organization(
        &self,
        _: OrganizationId,
        _: String,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        Err(gone().into())
    }

    async fn find_organization(
        &self,
        _: OrganizationId,
    ) -> Result<Option<OrganizationSnapshot>, LedgerError> {
        Err(gone())
    }

    async fn organization(
        &self,
        _: OrganizationId,
    ) -> Result<Option<OrganizationRecord>, LedgerError> {
        Err(gone())
    }

    async fn organizations(&self, _: Page) -> Result<Vec<OrganizationRecord>, LedgerError> {
        Err(gone())
    }

    async fn put_settings(
        &self,
        _: OrganizationId,
        _: SettingsPatch,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        Err(gone().into())
    }

    async fn mint_key(&self, _: NewKey) -> Result<KeyRecord, OrganizationsError> {
        Err(gone().into())
    }

    async fn find_key(&self, _: TokenHash) -> Result<Option<KeySnapshot>, LedgerError> {
        Err(gone())
    }

    async fn find_key_by_identity(&self, _: &[String]) -> Result<Option<KeySnapshot>, LedgerError> {
        Err(gone())
    }

    async fn find_key_by_id(&self, _: KeyId) -> Result<Option<KeySnapshot>, LedgerError> {
        Err(gone())
    }

    async fn key(&self, _: OrganizationId, _: KeyId) -> Result<Option<KeyRecord>, LedgerError> {
        Err(gone())
    }

    async fn keys(&self, _: OrganizationId, _: Page) -> Result<Vec<KeyRecord>, LedgerError> {
        Err(gone())
    }

    async fn set_key_status(
        &self,
        _: OrganizationId,
        _: KeyId,
        _: KeyStatus,
    ) -> Result<KeyRecord, OrganizationsError> {
        Err(gone().into())
    }

    async fn change_key(
        &self,
        _: OrganizationId,
        _: KeyId,
        _: u64,
        _: (KeyTerms, KeyLimits),
    ) -> Result<Option<KeyRecord>, OrganizationsError> {
        Err(gone().into())
    }

    async fn rotate_key(
        &self,
        _: OrganizationId,
        _: KeyId,
        _: TokenHash,
        _: String,
    ) -> Result<KeyRecord, OrganizationsError> {
        Err(gone().into())
    }

    async fn mint_orchestrator_key(
        &self,
        _: OrchestratorKey,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        Err(gone().into())
    }

    async fn find_orchestrator_key(
        &self,
        _: TokenHash,
    ) -> Result<Option<OrchestratorKey>, LedgerError> {
        Err(gone())
    }

    async fn orchestrator_keys(
        &self,
        _: OrganizationId,
    ) -> Result<Vec<OrchestratorKey>, LedgerError> {
        Err(gone())
    }

    async fn revoke_orchestrator_key(
        &self,
        _: OrganizationId,
        _: OrchestratorKeyId,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        Err(gone().into())
    }
}

#[async_trait]
impl Credits for Broken {
    async fn add_credit(
        &self,
        _: OrganizationId,
        _: Credit,
    ) -> Result<BudgetStanding, OrganizationsError> {
        Err(gone().into())
    }

    async fn credit(&self, _: OrganizationId, _: CreditId) -> Result<Option<Credit>, LedgerError> {
        Err(gone())
    }

    async fn credit_history(&self, _: OrganizationId, _: Page) -> Result<History, LedgerError> {
        Err(gone())
    }
}

#[async_trait]
impl Members for Broken {
    async fn add_member(&self, _: Member, _: PasswordHash) -> Result<Member, OrganizationsError> {
        Err(gone().into())
    }

    async fn members(&self, _: OrganizationId) -> Result<Vec<Member>, LedgerError> {
        Err(gone())
    }

    async fn find_member(
        &self,
        _: OrganizationId,
        _: &str,
    ) -> Result<Option<(Role, PasswordHash)>, LedgerError> {
        Err(gone())
    }

    async fn remove_member(
        &self,
        _: OrganizationId,
        _: &str,
    ) -> Result<Member, OrganizationsError> {
        Err(gone().into())
    }
}

#[async_trait]
impl AuditLog for Broken {
    async fn audit(
        &self,
        _: Option<OrganizationId>,
        _: Option<i64>,
        _: u32,
    ) -> Result<Vec<AuditRecord>, LedgerError> {
        Err(gone())
    }
}

#[async_trait]
impl Providers for Broken {
    async fn run_providers(&self, _: RunId) -> Result<Vec<RunProvider>, LedgerError> {
        Err(gone())
    }

    async fn providers(&self, _: OrganizationId) -> Result<Option<ProvidersSnapshot>, LedgerError> {
        Err(gone())
    }

    async fn put_provider(
        &self,
        _: OrganizationId,
        _: ProviderConfiguration,
    ) -> Result<Option<ProviderConfiguration>, OrganizationsError> {
        Err(gone().into())
    }

    async fn delete_provider(&self, _: OrganizationId, _: &str) -> Result<(), OrganizationsError> {
        Err(gone().into())
    }
}
