//! The port of organizations, as the ledger in Postgres has it: each question in its time.

use async_trait::async_trait;

use crate::domain::id::{KeyId, OrchestratorKeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::organization::{
    KeyLimits, KeySnapshot, KeyStatus, KeyTerms, OrganizationSnapshot, SettingsPatch,
};

use super::super::organizations::{
    KeyRecord, NewKey, OrchestratorKey, OrganizationRecord, Organizations, OrganizationsError,
};
use super::super::{LedgerError, Page};
use super::{
    ANSWER_TIMEOUT, PostgresLedger, WORK_TIMEOUT, keys, organizations, unavailable, within,
};

mod credits;
mod people;

#[async_trait]
impl Organizations for PostgresLedger {
    async fn create_organization(
        &self,
        id: OrganizationId,
        name: String,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        within(ANSWER_TIMEOUT, organizations::create(&self.pool, id, &name)).await
    }

    async fn find_organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationSnapshot>, LedgerError> {
        Ok(self.organization(id).await?.map(|record| record.organization))
    }

    async fn organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationRecord>, LedgerError> {
        within(ANSWER_TIMEOUT, organizations::organization(&self.pool, id))
            .await
            .map_err(unavailable)
    }

    async fn organizations(&self, page: Page) -> Result<Vec<OrganizationRecord>, LedgerError> {
        let listing =
            organizations::list(&self.pool, page.after.unwrap_or_default(), false, page.limit);
        within(WORK_TIMEOUT, listing).await.map_err(unavailable)
    }

    async fn put_settings(
        &self,
        id: OrganizationId,
        patch: SettingsPatch,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        within(ANSWER_TIMEOUT, organizations::put_settings(&self.pool, id, patch)).await
    }

    async fn mint_key(&self, new: NewKey) -> Result<KeyRecord, OrganizationsError> {
        within(ANSWER_TIMEOUT, keys::mint(&self.pool, new)).await
    }

    async fn find_key(&self, hash: TokenHash) -> Result<Option<KeySnapshot>, LedgerError> {
        within(ANSWER_TIMEOUT, keys::by_secret(&self.pool, hash)).await.map_err(unavailable)
    }

    async fn find_key_by_identity(
        &self,
        names: &[String],
    ) -> Result<Option<KeySnapshot>, LedgerError> {
        within(ANSWER_TIMEOUT, keys::by_identity(&self.pool, names)).await.map_err(unavailable)
    }

    async fn find_key_by_id(&self, id: KeyId) -> Result<Option<KeySnapshot>, LedgerError> {
        within(ANSWER_TIMEOUT, keys::by_id(&self.pool, id)).await.map_err(unavailable)
    }

    async fn key(
        &self,
        organization: OrganizationId,
        id: KeyId,
    ) -> Result<Option<KeyRecord>, LedgerError> {
        within(ANSWER_TIMEOUT, keys::record(&self.pool, organization, id))
            .await
            .map_err(unavailable)
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<Vec<KeyRecord>, LedgerError> {
        within(WORK_TIMEOUT, keys::list(&self.pool, organization, page)).await.map_err(unavailable)
    }

    async fn set_key_status(
        &self,
        organization: OrganizationId,
        id: KeyId,
        status: KeyStatus,
    ) -> Result<KeyRecord, OrganizationsError> {
        let change = keys::Change::Status(status);
        within(ANSWER_TIMEOUT, keys::change(&self.pool, organization, id, change)).await
    }

    async fn change_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        version: u64,
        changed: (KeyTerms, KeyLimits),
    ) -> Result<Option<KeyRecord>, OrganizationsError> {
        let change = keys::terms::change(&self.pool, (organization, id), version, changed);
        within(ANSWER_TIMEOUT, change).await
    }

    async fn rotate_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        hash: TokenHash,
        prefix: String,
    ) -> Result<KeyRecord, OrganizationsError> {
        let change = keys::Change::Secret(hash, prefix);
        within(ANSWER_TIMEOUT, keys::change(&self.pool, organization, id, change)).await
    }

    async fn mint_orchestrator_key(
        &self,
        key: OrchestratorKey,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        within(ANSWER_TIMEOUT, keys::orchestrator::mint(&self.pool, key)).await
    }

    async fn find_orchestrator_key(
        &self,
        hash: TokenHash,
    ) -> Result<Option<OrchestratorKey>, LedgerError> {
        within(ANSWER_TIMEOUT, keys::orchestrator::by_secret(&self.pool, hash))
            .await
            .map_err(unavailable)
    }

    async fn orchestrator_keys(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<OrchestratorKey>, LedgerError> {
        within(WORK_TIMEOUT, keys::orchestrator::list(&self.pool, organization))
            .await
            .map_err(unavailable)
    }

    async fn revoke_orchestrator_key(
        &self,
        organization: OrganizationId,
        id: OrchestratorKeyId,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        within(ANSWER_TIMEOUT, keys::orchestrator::revoke(&self.pool, organization, id)).await
    }
}
