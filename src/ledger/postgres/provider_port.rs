//! The port of providers, as the ledger in Postgres has it: each question in its time.

use async_trait::async_trait;

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::run::RunProvider;

use super::super::LedgerError;
use super::super::organizations::OrganizationsError;
use super::super::providers::{ProviderConfiguration, Providers, ProvidersSnapshot};
use super::{ANSWER_TIMEOUT, PostgresLedger, providers, unavailable, within};

#[async_trait]
impl Providers for PostgresLedger {
    async fn providers(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<ProvidersSnapshot>, LedgerError> {
        within(ANSWER_TIMEOUT, providers::find(&self.pool, organization)).await.map_err(unavailable)
    }

    async fn put_provider(
        &self,
        organization: OrganizationId,
        configuration: ProviderConfiguration,
    ) -> Result<Option<ProviderConfiguration>, OrganizationsError> {
        within(ANSWER_TIMEOUT, providers::put(&self.pool, organization, configuration)).await
    }

    async fn delete_provider(
        &self,
        organization: OrganizationId,
        provider: &str,
    ) -> Result<(), OrganizationsError> {
        within(ANSWER_TIMEOUT, providers::delete(&self.pool, organization, provider)).await
    }

    async fn run_providers(&self, run: RunId) -> Result<Vec<RunProvider>, LedgerError> {
        within(ANSWER_TIMEOUT, providers::of_runs::of(&self.pool, run)).await.map_err(unavailable)
    }
}
