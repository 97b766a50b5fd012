//! The part of the ledger's port that keeps how organizations reach providers. Keys come here
//! sealed; nothing here can open them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::run::RunProvider;
use crate::domain::seal::{Place, Sealed};

use super::LedgerError;
use super::organizations::OrganizationsError;

/// How an organization reaches a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfiguration {
    /// The provider's name.
    pub provider: String,
    /// Whether it may be called.
    pub enabled: bool,
    /// Where it is, if not where the provider itself is.
    pub base_url: Option<String>,
    /// Whether the operator chose that address, so that it may lead anywhere.
    pub anywhere: bool,
    /// Whether it is attested to be in the EU.
    pub eu_endpoint: bool,
    /// Its key.
    pub key: Option<Sealed>,
    /// How often it was changed. Whoever writes says which version he has seen.
    pub version: u64,
    /// When it was changed; what a writer says of this is not looked at.
    pub updated_at: DateTime<Utc>,
}

impl ProviderConfiguration {
    /// Where its key opens.
    pub fn place(&self, organization: OrganizationId) -> Place<'_> {
        let (provider, base_url) = (self.provider.as_str(), self.base_url.as_deref());
        Place { organization, run: None, provider, base_url }
    }
}

/// Everything that says which providers an organization's calls may go to.
#[derive(Clone, Debug)]
pub struct ProvidersSnapshot {
    /// How often the organization was changed.
    pub version: u64,
    /// Whether only providers in the EU may be reached.
    pub eu_only: bool,
    /// What is configured, by the providers' names.
    pub providers: Vec<ProviderConfiguration>,
}

/// How organizations and their runs reach providers. Every change is told as one of the
/// organization.
#[async_trait]
pub trait Providers: Send + Sync {
    /// What an organization has configured, if there is such an organization.
    async fn providers(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<ProvidersSnapshot>, LedgerError>;

    /// Writes a configuration in the place of the one of that version, or, at version 0, of none.
    /// `None` if there is another one meanwhile.
    async fn put_provider(
        &self,
        organization: OrganizationId,
        configuration: ProviderConfiguration,
    ) -> Result<Option<ProviderConfiguration>, OrganizationsError>;

    /// Takes a configuration away, its key with it.
    async fn delete_provider(
        &self,
        organization: OrganizationId,
        provider: &str,
    ) -> Result<(), OrganizationsError>;

    /// The providers that a run brought keys of its own for, sealed.
    async fn run_providers(&self, run: RunId) -> Result<Vec<RunProvider>, LedgerError>;
}
