//! Which providers an organization's calls may go to, and with which keys.
//!
//! The default organization has the operator's providers, those of the environment; every other one
//! has its own and, unless they are shared, nothing of the operator's. What an organization has
//! configured takes the place of the operator's provider of that name, even where it is disabled.
//!
//! What was read is kept, opened, for as long as it is used and nothing is heard of a change; at
//! every look of [`Gateway::reread_providers`] it is read again, so that a notification that got
//! lost is made up for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::OrganizationId;
use crate::domain::seal::{EncryptionKeys, Place, Sealed};
use crate::ledger::LedgerError;
use crate::ledger::providers::ProvidersSnapshot;
use crate::providers::{self, Provider};
use crate::upstream::Access;

use super::{Gateway, unavailable};

/// How many organizations are read at once; calls never take the connections that others need.
const MAX_READS: usize = 3;

/// How organizations come to providers of their own.
#[derive(Clone, Debug, Default)]
pub struct Tenancy {
    /// What opens their keys.
    pub keys: Option<EncryptionKeys>,
    /// Whether they have the operator's providers where they have none.
    pub shared: bool,
    /// Whether every call goes to the simulated provider.
    pub simulated: bool,
    /// Where this gateway listens, which is no provider's address.
    pub listens: Vec<std::net::SocketAddr>,
}

/// How somebody wants a provider to be reached.
pub(super) struct Chosen<'a> {
    /// Where it is, if not where the provider itself is.
    pub(super) base_url: Option<&'a str>,
    /// Whether the operator chose that.
    pub(super) anywhere: bool,
    /// Whether it is attested to be in the EU.
    pub(super) eu_endpoint: bool,
    /// The key, and where it opens.
    pub(super) key: Option<(&'a Sealed, Place<'a>)>,
}

/// The providers of one organization.
#[derive(Debug)]
pub struct Reach {
    organization: OrganizationId,
    /// How often the organization had been changed when this was read.
    version: u64,
    eu_only: bool,
    access: HashMap<&'static str, Arc<Access>>,
    /// What the organization has configured and switched off.
    disabled: HashSet<&'static str>,
}

impl Reach {
    /// The same for a run that brings keys of its own for these providers: with none where its key
    /// cannot be used. What its organization has switched off stays off.
    pub(super) fn with_own(&self, own: &HashMap<&'static str, Option<Arc<Access>>>) -> Self {
        let mut access = self.access.clone();
        for (name, own) in own.iter().filter(|(name, _)| !self.disabled.contains(*name)) {
            match own {
                Some(own) => access.insert(name, Arc::clone(own)),
                None => access.remove(name),
            };
        }
        Self { access, disabled: self.disabled.clone(), ..*self }
    }

    /// Whether a provider is configured, wherever it is.
    pub fn is_configured(&self, provider: &Provider) -> bool {
        self.access.contains_key(provider.name)
    }

    /// Whether calls may go to a provider.
    pub fn serves(&self, provider: &Provider) -> bool {
        self.access.get(provider.name).is_some_and(|access| self.may_go_to(access))
    }

    /// The access to a provider.
    ///
    /// # Errors
    /// 412 if it is not configured; 403 if the organization is bound to the EU and it is not there.
    pub fn access(&self, provider: &Provider) -> Result<&Arc<Access>, Fault> {
        match self.access.get(provider.name) {
            Some(access) if self.may_go_to(access) => Ok(access),
            Some(_) => Err(outside_the_eu()),
            None => Err(self.not_configured(provider)),
        }
    }

    fn may_go_to(&self, access: &Access) -> bool {
        access.eu_endpoint || !self.eu_only
    }

    /// There is no access to this provider.
    pub(super) fn not_configured(&self, provider: &Provider) -> Fault {
        let (name, prefix) = (provider.name, provider.settings_prefix);
        let says = if self.organization != OrganizationId::DEFAULT {
            format!(
                "This organization has not configured {name}, which serves this model. Its owner \
                 can: PUT /organizations/{{org}}/inference/providers."
            )
        } else {
            let settings = match provider.default_base_url {
                Some(_) => format!("{prefix}_API_KEY"),
                None => format!("{prefix}_API_KEY and {prefix}_BASE_URL"),
            };
            format!(
                "The provider of this model is not configured. Its operator can set {settings}."
            )
        };
        Fault::new(Code::ProviderNotConfigured, says).param("model")
    }
}

/// The organization is bound to the EU, and nobody who is attested to be there serves the model.
pub(super) fn outside_the_eu() -> Fault {
    Fault::new(
        Code::EuResidencyUnavailable,
        "This organization's calls stay in the EU, and no provider of this model is attested to be \
         there. Its owner can configure one with eu_endpoint, or another model.",
    )
    .param("model")
}

/// What was read of the organizations that were met.
pub(super) struct Reaches {
    environment: HashMap<&'static str, Arc<Access>>,
    pub(super) tenancy: Tenancy,
    known: RwLock<HashMap<OrganizationId, Known>>,
    /// How many changes were heard of. What was read before one is not kept after it.
    changes: AtomicU64,
    pub(super) reads: Semaphore,
}

struct Known {
    reach: Arc<Reach>,
    used: AtomicBool,
}

impl Reaches {
    pub(super) fn new(environment: Vec<Access>, tenancy: Tenancy) -> Self {
        let environment = environment.into_iter();
        Self {
            environment: environment
                .map(|access| (access.provider.name, Arc::new(access)))
                .collect(),
            tenancy,
            known: RwLock::default(),
            changes: AtomicU64::new(0),
            reads: Semaphore::new(MAX_READS),
        }
    }

    pub(super) fn has_environment(&self) -> bool {
        !self.environment.is_empty()
    }

    /// What the operator's own providers are, whatever is configured beside them.
    pub(super) fn of_environment(&self) -> Reach {
        let organization = OrganizationId::DEFAULT;
        let (access, disabled) = (self.environment.clone(), HashSet::new());
        Reach { organization, version: 0, eu_only: false, access, disabled }
    }

    /// The operator's access to a provider.
    fn environment(&self, provider: &str) -> Option<&Arc<Access>> {
        self.environment.get(provider)
    }

    fn known(&self, organization: OrganizationId, since: u64) -> Option<Arc<Reach>> {
        let known = self.known.read();
        let found = known.get(&organization).filter(|found| found.reach.version >= since)?;
        found.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&found.reach))
    }

    /// Something of an organization changed: whoever asks next reads it anew.
    pub(super) fn forget(&self, organization: OrganizationId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.known.write().remove(&organization);
    }

    /// Changes may have been missed.
    pub(super) fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.known.write().clear();
    }

    /// Keeps what was read when so many changes had been heard of, unless there are more by now.
    fn keep(&self, reach: &Arc<Reach>, changes: u64, used: bool) -> bool {
        let mut known = self.known.write();
        if self.changes.load(Ordering::Acquire) != changes {
            return false;
        }
        let kept = Known { reach: Arc::clone(reach), used: AtomicBool::new(used) };
        known.insert(reach.organization, kept);
        true
    }

    /// Forgets those that nobody asked for since the last time; answers the others.
    fn in_use(&self) -> Vec<OrganizationId> {
        let mut known = self.known.write();
        known.retain(|_, known| known.used.swap(false, Ordering::Relaxed));
        known.keys().copied().collect()
    }

    /// The providers of an organization, out of what is kept of it.
    fn build(&self, organization: OrganizationId, kept: Option<ProvidersSnapshot>) -> Reach {
        let Tenancy { shared, simulated, .. } = self.tenancy;
        let has_environment = organization == OrganizationId::DEFAULT || shared || simulated;
        let mut access = if has_environment { self.environment.clone() } else { HashMap::new() };
        let eu_only = kept.as_ref().is_some_and(|kept| kept.eu_only);
        let version = kept.as_ref().map_or(0, |kept| kept.version);
        let mut disabled = HashSet::new();
        for configuration in kept.into_iter().flat_map(|kept| kept.providers) {
            let Some(provider) = providers::find(&configuration.provider) else { continue };
            if !configuration.enabled {
                disabled.insert(provider.name);
            }
            let place = configuration.place(organization);
            let chosen = Chosen {
                base_url: configuration.base_url.as_deref(),
                anywhere: configuration.anywhere,
                eu_endpoint: configuration.eu_endpoint,
                key: configuration.key.as_ref().map(|key| (key, place)),
            };
            let built = configuration.enabled.then(|| {
                self.access(provider, &chosen).inspect_err(|problem| {
                    tracing::error!(
                        organization.id = %organization,
                        provider = provider.name,
                        problem,
                        "providers.unreadable: the provider counts as not configured"
                    );
                })
            });
            match built {
                Some(Ok(built)) => access.insert(provider.name, Arc::new(built)),
                Some(Err(_)) | None => access.remove(provider.name),
            };
        }
        Reach { organization, version, eu_only, access, disabled }
    }

    /// A configured access, or what is wrong, in words without a secret.
    pub(super) fn access(
        &self,
        provider: &'static Provider,
        chosen: &Chosen<'_>,
    ) -> Result<Access, String> {
        let simulated = self.environment.get(provider.name).filter(|_| self.tenancy.simulated);
        let built = match simulated {
            Some(simulated) => Access::clone(simulated),
            None => {
                let key = match (chosen.key, &self.tenancy.keys) {
                    (None, _) => None,
                    (Some(_), None) => return Err("ENCRYPTION_KEY is not set".to_owned()),
                    (Some((sealed, place)), Some(keys)) => {
                        let opened = keys.open(sealed, place);
                        Some(opened.map_err(|error| error.to_string())?)
                    }
                };
                let built = Access::new(provider, chosen.base_url, key.as_ref());
                let built = built.map_err(|error| error.to_string())?;
                // The provider's own address is nobody's choice.
                let narrow = chosen.base_url.is_some() && !chosen.anywhere;
                if narrow { built.in_public() } else { built }
            }
        };
        Ok(built.in_the_eu(chosen.eu_endpoint))
    }
}

impl Gateway {
    /// The providers of an organization, as of this version of it or a later one.
    pub(super) async fn reach(
        &self,
        organization: OrganizationId,
        since: u64,
    ) -> Result<Arc<Reach>, Fault> {
        if let Some(known) = self.reaches.known(organization, since) {
            return Ok(known);
        }
        let _place = self.reaches.reads.acquire().await;
        // Meanwhile somebody may have read the same.
        match self.reaches.known(organization, since) {
            Some(known) => Ok(known),
            None => self.read_reach(organization, true).await.map_err(unavailable),
        }
    }

    async fn read_reach(
        &self,
        organization: OrganizationId,
        used: bool,
    ) -> Result<Arc<Reach>, LedgerError> {
        loop {
            let changes = self.reaches.changes.load(Ordering::Acquire);
            let kept = self.ledger.providers(organization).await?;
            let reach = Arc::new(self.reaches.build(organization, kept));
            if self.reaches.keep(&reach, changes, used) {
                return Ok(reach);
            }
        }
    }

    /// The operator's access to a provider, which price lists are asked for with.
    pub(super) fn environment_access(&self, provider: &str) -> Option<&Arc<Access>> {
        self.reaches.environment(provider)
    }

    /// The default organization's providers; the operator's alone while the ledger is away.
    pub async fn default_reach(&self) -> Arc<Reach> {
        let found = self.reach(OrganizationId::DEFAULT, 0).await;
        found.unwrap_or_else(|_the_ledger_is_away| Arc::new(self.reaches.of_environment()))
    }

    /// Reads the providers of the organizations whose calls came since the last time again, and
    /// forgets the others with their keys.
    pub async fn reread_providers(&self) {
        for organization in self.reaches.in_use() {
            if let Err(error) = self.read_reach(organization, false).await {
                self.reaches.forget(organization);
                tracing::warn!(
                    organization.id = %organization,
                    error = &error as &dyn std::error::Error,
                    "providers.reread_failed"
                );
            }
        }
    }
}
