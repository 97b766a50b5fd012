//! How organizations reach providers, as the ledger in memory keeps it.

use async_trait::async_trait;

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::run::RunProvider;

use super::super::organizations::OrganizationsError;
use super::super::providers::{ProviderConfiguration, Providers, ProvidersSnapshot};
use super::super::{Event, LedgerError};
use super::MemoryLedger;

#[async_trait]
impl Providers for MemoryLedger {
    async fn providers(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<ProvidersSnapshot>, LedgerError> {
        let state = self.books.state.lock();
        let Some(record) = state.shared.organizations.get(&organization) else { return Ok(None) };
        let eu_only = record.organization.settings.as_ref().is_some_and(|set| set.eu_only);
        let kept =
            state.shared.providers.get(&organization).into_iter().flat_map(|all| all.values());
        let version = record.organization.version;
        Ok(Some(ProvidersSnapshot { version, eu_only, providers: kept.cloned().collect() }))
    }

    async fn put_provider(
        &self,
        organization: OrganizationId,
        configuration: ProviderConfiguration,
    ) -> Result<Option<ProviderConfiguration>, OrganizationsError> {
        let now = (self.clock)();
        let written = {
            let mut state = self.books.state.lock();
            if !state.shared.organizations.contains_key(&organization) {
                return Err(OrganizationsError::NotFound);
            }
            let kept = state.shared.providers.entry(organization).or_default();
            let version = kept.get(&configuration.provider).map_or(0, |kept| kept.version);
            if version != configuration.version {
                return Ok(None);
            }
            let version = version + 1;
            let written = ProviderConfiguration { version, updated_at: now, ..configuration };
            kept.insert(written.provider.clone(), written.clone());
            if let Some(record) = state.shared.organizations.get_mut(&organization) {
                record.organization.version += 1;
            }
            written
        };
        let _nobody_listens = self.events.send(Event::OrganizationChanged(organization));
        Ok(Some(written))
    }

    async fn delete_provider(
        &self,
        organization: OrganizationId,
        provider: &str,
    ) -> Result<(), OrganizationsError> {
        {
            let mut state = self.books.state.lock();
            let kept = state.shared.providers.get_mut(&organization);
            let gone = kept.and_then(|kept| kept.remove(provider));
            gone.ok_or(OrganizationsError::NotFound)?;
            if let Some(record) = state.shared.organizations.get_mut(&organization) {
                record.organization.version += 1;
            }
        }
        let _nobody_listens = self.events.send(Event::OrganizationChanged(organization));
        Ok(())
    }

    async fn run_providers(&self, run: RunId) -> Result<Vec<RunProvider>, LedgerError> {
        let state = self.books.state.lock();
        Ok(state.runs.get(&run).map(|account| account.providers().to_vec()).unwrap_or_default())
    }
}
