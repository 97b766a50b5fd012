//! How organizations configure their providers.

use std::net::SocketAddr;

use chrono::Utc;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::run::RunProvider;
use crate::domain::seal::{Place, SealError, Sealed};
use crate::ledger::organizations::OrganizationsError;
use crate::ledger::providers::ProviderConfiguration;
use crate::providers::{self, Provider};
use crate::upstream::address;

use super::{Gateway, unavailable};

/// How often a change is begun anew because somebody else made one.
pub(super) const TRIES: u32 = 5;

/// What somebody wants of a configuration. Absent members stay as they are.
#[derive(Debug, Default)]
pub struct WantedProvider {
    /// The provider's name.
    pub provider: String,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// Whether it may be called.
    pub enabled: Option<bool>,
    /// Where it is; `Some(None)`: where the provider itself is.
    pub base_url: Option<Option<String>>,
    /// Whether it is attested to be in the EU.
    pub eu_endpoint: Option<bool>,
}

impl Gateway {
    /// What an organization has configured, by the providers' names.
    ///
    /// # Errors
    /// 404 if there is no such organization.
    pub async fn provider_configurations(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<ProviderConfiguration>, Fault> {
        let kept = self.ledger.providers(organization).await.map_err(unavailable)?;
        kept.map(|kept| kept.providers).ok_or_else(no_organization)
    }

    /// Configures a provider of an organization. Once this has answered no call of this gateway
    /// begins with what was before; the others hear of it as they hear of everything.
    ///
    /// # Errors
    /// 400 if it cannot be used as it would be then, or an address is the operator's to choose;
    /// 404 if there is no such organization; 412 if no key can be kept here.
    pub async fn put_provider(
        &self,
        organization: OrganizationId,
        wanted: &WantedProvider,
        by_operator: bool,
    ) -> Result<ProviderConfiguration, Fault> {
        let provider = known(&wanted.provider)?;
        check_key(wanted.api_key.as_ref())?;
        for _ in 0..TRIES {
            let kept = self.provider_configurations(organization).await?;
            let before = kept.into_iter().find(|kept| kept.provider == provider.name);
            let next = self.merged(organization, provider, before, wanted, by_operator)?;
            let written = self.ledger.put_provider(organization, next).await.map_err(fault)?;
            if let Some(written) = written {
                self.reaches.forget(organization);
                return Ok(written);
            }
        }
        Err(busy())
    }

    /// Takes a provider away from an organization, its key with it.
    ///
    /// # Errors
    /// 404 if it is not configured.
    pub async fn delete_provider(
        &self,
        organization: OrganizationId,
        provider: &str,
    ) -> Result<(), Fault> {
        self.ledger.delete_provider(organization, provider).await.map_err(fault)?;
        self.reaches.forget(organization);
        Ok(())
    }

    /// What the configuration becomes.
    fn merged(
        &self,
        organization: OrganizationId,
        provider: &'static Provider,
        before: Option<ProviderConfiguration>,
        wanted: &WantedProvider,
        by_operator: bool,
    ) -> Result<ProviderConfiguration, Fault> {
        let mut next = before.unwrap_or_else(|| ProviderConfiguration {
            provider: provider.name.to_owned(),
            enabled: true,
            base_url: None,
            anywhere: false,
            eu_endpoint: false,
            key: None,
            version: 0,
            updated_at: Utc::now(),
        });
        next.enabled = wanted.enabled.unwrap_or(next.enabled);
        if let Some(base_url) = &wanted.base_url {
            let listens = &self.reaches.tenancy.listens;
            let base_url = base_url.as_deref().map(|url| fit(url, by_operator, listens));
            let base_url = base_url.transpose()?;
            if base_url != next.base_url {
                // A key goes where it was meant to go: it is sealed for the address, too. And who
                // attests something attests it of an address.
                if next.key.is_some() && wanted.api_key.is_none() {
                    return Err(key_again());
                }
                (next.key, next.eu_endpoint) = (None, false);
                next.anywhere = by_operator && base_url.is_some();
                next.base_url = base_url;
            }
        }
        next.eu_endpoint = wanted.eu_endpoint.unwrap_or(next.eu_endpoint);
        if let Some(key) = &wanted.api_key {
            next.key = Some(self.sealed(key, next.place(organization))?);
        }
        if next.base_url.is_none() && provider.default_base_url.is_none() {
            return Err(no_address(provider));
        }
        // Only what the operator put somewhere may ask for no key.
        if next.key.is_none() && !next.anywhere {
            return Err(bad("api_key", "api_key is needed"));
        }
        Ok(next)
    }

    /// A provider as a run that is registered brings it along, its key sealed.
    ///
    /// # Errors
    /// 400 if it cannot be used, or its address is the operator's to choose; 412 if no key can be
    /// kept here.
    pub fn brought(
        &self,
        (organization, run): (OrganizationId, RunId),
        wanted: &WantedProvider,
        by_operator: bool,
    ) -> Result<RunProvider, Fault> {
        let provider = known(&wanted.provider)?;
        check_key(wanted.api_key.as_ref())?;
        let key = wanted.api_key.as_ref().ok_or_else(|| bad("api_key", "api_key is needed"))?;
        let listens = &self.reaches.tenancy.listens;
        let base_url = wanted.base_url.iter().flatten().next();
        let base_url = base_url.map(|url| fit(url, by_operator, listens)).transpose()?;
        if base_url.is_none() && provider.default_base_url.is_none() {
            return Err(no_address(provider));
        }
        let place = Place {
            organization,
            run: Some(run),
            provider: provider.name,
            base_url: base_url.as_deref(),
        };
        Ok(RunProvider {
            key: self.sealed(key, place)?,
            provider: provider.name.to_owned(),
            anywhere: by_operator && base_url.is_some(),
            base_url,
            eu_endpoint: wanted.eu_endpoint.unwrap_or(false),
        })
    }

    fn sealed(&self, key: &SecretString, place: Place<'_>) -> Result<Sealed, Fault> {
        let keys = self.reaches.tenancy.keys.as_ref().ok_or_else(|| {
            Fault::new(
                Code::ProviderNotConfigured,
                "This gateway keeps no provider keys, since ENCRYPTION_KEY is not set. Its \
                 operator can set it to what `openssl rand -base64 32` prints.",
            )
            .param("api_key")
        })?;
        keys.seal(key, place).map_err(|error: SealError| {
            Fault::internal(
                Code::InternalError,
                "The key could not be encrypted right now. Nothing was changed; try again.",
                error,
            )
        })
    }
}

/// Somebody else was faster, each time.
pub(super) fn busy() -> Fault {
    Fault::new(
        Code::Unavailable,
        "Others change this configuration at the same time. Nothing was changed; try again.",
    )
    .retry_after(1)
}

fn known(name: &str) -> Result<&'static Provider, Fault> {
    providers::find(name).ok_or_else(|| {
        let names = providers::REGISTRY.map(|provider| provider.name).join(", ");
        bad("provider", &format!("provider must be one of {names}"))
    })
}

fn check_key(key: Option<&SecretString>) -> Result<(), Fault> {
    let Some(key) = key else { return Ok(()) };
    let key = key.expose_secret();
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(bad("api_key", "api_key must be what an HTTP header can carry, without spaces"))
}

fn fit(url: &str, by_operator: bool, listens: &[SocketAddr]) -> Result<String, Fault> {
    address::checked(url, by_operator, listens)
        .map_err(|problem| bad("base_url", &format!("base_url {problem}")))
}

fn no_address(provider: &Provider) -> Fault {
    let says = format!("{} has an address for each customer: base_url", provider.name);
    bad("base_url", &format!("{says} is needed"))
}

fn key_again() -> Fault {
    bad(
        "api_key",
        "api_key must be sent again with a new base_url, since a key is kept for the address that \
         it was given for",
    )
}

fn bad(param: &'static str, says: &str) -> Fault {
    Fault::new(Code::InvalidRequest, format!("{says}.")).param(param)
}

fn fault(error: OrganizationsError) -> Fault {
    match error {
        OrganizationsError::Ledger(error) => unavailable(error),
        OrganizationsError::NotFound => Fault::new(
            Code::NotFound,
            "There is no such organization, or it has not configured this provider.",
        ),
        other => Fault::internal(
            Code::InternalError,
            "The configuration could not be changed. Nothing was changed; try again.",
            other,
        ),
    }
}

fn no_organization() -> Fault {
    Fault::new(Code::NotFound, "There is no such organization. Check its id.")
}
