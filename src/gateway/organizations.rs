//! What operators and owners do to organizations: set limits, hand out keys, put credits in.
//!
//! What was changed is looked up again at once, so that this gateway's calls hear of it before the
//! answer does.

use chrono::DateTime;
use secrecy::SecretString;

use crate::catalog::Unresolved;
use crate::domain::fault::{Code, Fault};
use crate::domain::id::{KeyId, OrchestratorKeyId, OrganizationId};
use crate::domain::key::{NewKeySecret, NoRandomness};
use crate::domain::organization::{
    KeyLimits, KeyPatch, KeyStatus, KeyTerms, SettingsPatch, client_identity,
};
use crate::domain::usage::Tokens;
use crate::ledger::Page;
use crate::ledger::organizations::{
    KeyRecord, NewKey, OrchestratorKey, OrganizationRecord, OrganizationsError,
};
use crate::protocol::json;

use super::providers::{TRIES, busy};
use super::runs::{Rows, cut, one_more};
use super::{Gateway, unavailable};

impl Gateway {
    /// Makes an organization.
    ///
    /// # Errors
    /// 409 if the name or the id is taken.
    pub async fn create_organization(
        &self,
        id: OrganizationId,
        name: String,
    ) -> Result<OrganizationRecord, Fault> {
        self.ledger.create_organization(id, name).await.map_err(fault)
    }

    /// An organization with where its budgets stand.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn organization_record(
        &self,
        id: OrganizationId,
    ) -> Result<OrganizationRecord, Fault> {
        let found = self.ledger.organization(id).await.map_err(unavailable)?;
        found.ok_or_else(|| fault(OrganizationsError::NotFound))
    }

    /// Organizations in the order in which they were made.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn organization_records(
        &self,
        page: Page,
    ) -> Result<Rows<OrganizationRecord>, Fault> {
        let rows = self.ledger.organizations(one_more(page)).await.map_err(unavailable)?;
        Ok(cut(rows, page))
    }

    /// Changes settings, limits and the circuit.
    ///
    /// # Errors
    /// 400 if the first configuration has no monthly limit; 404 if there is no such organization.
    pub async fn put_settings(
        &self,
        id: OrganizationId,
        patch: SettingsPatch,
    ) -> Result<OrganizationRecord, Fault> {
        let record = self.ledger.put_settings(id, patch).await.map_err(fault)?;
        // Residency holds here before this is answered; others hear of it.
        self.reaches.forget(id);
        self.refresh_organization(id).await;
        Ok(record)
    }

    /// Makes an inference key. Its secret is told this once.
    ///
    /// # Errors
    /// 400 without a limit of tokens, or with a model that nobody knows; 404 if there is no such
    /// organization.
    pub async fn mint_key(
        &self,
        organization: OrganizationId,
        terms: KeyTerms,
        limits: KeyLimits,
    ) -> Result<(KeyRecord, SecretString), Fault> {
        check_limits(&limits)?;
        self.check_models_of(&terms)?;
        let terms = KeyTerms { client_identity: identity(terms.client_identity)?, ..terms };
        let NewKeySecret { secret, hash, prefix } =
            NewKeySecret::inference().map_err(no_randomness)?;
        let new = NewKey { id: KeyId::generate(), organization, terms, limits, hash, prefix };
        Ok((self.ledger.mint_key(new).await.map_err(fault)?, secret))
    }

    /// A key of an organization.
    ///
    /// # Errors
    /// 404 if it has no such key.
    pub async fn key_record(
        &self,
        organization: OrganizationId,
        id: KeyId,
    ) -> Result<KeyRecord, Fault> {
        let found = self.ledger.key(organization, id).await.map_err(unavailable)?;
        found.ok_or_else(no_object)
    }

    /// The keys of an organization in the order in which they were made.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn key_records(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<Rows<KeyRecord>, Fault> {
        let rows = self.ledger.keys(organization, one_more(page)).await.map_err(unavailable)?;
        Ok(cut(rows, page))
    }

    /// Changes what a key allows and may spend. Once this has answered no call is admitted on what
    /// it was before, on any gateway.
    ///
    /// # Errors
    /// As for a new key; 404 if there is no such key; 409 if it is revoked.
    pub async fn patch_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        mut patch: KeyPatch,
    ) -> Result<KeyRecord, Fault> {
        patch.client_identity = patch.client_identity.map(identity).transpose()?;
        for _ in 0..TRIES {
            let record = self.key_record(organization, id).await?;
            let limits = record.limits();
            let (terms, limits) = patch.clone().applied(record.key.terms, limits);
            check_limits(&limits)?;
            // A model that it was bound to before may have left the catalogue since.
            if patch.allowed_models.is_some() {
                self.check_models_of(&terms)?;
            }
            let changed =
                self.ledger.change_key(organization, id, record.key.version, (terms, limits));
            if let Some(record) = changed.await.map_err(fault_of_object)? {
                self.refresh_key(id).await;
                return Ok(record);
            }
        }
        Err(busy())
    }

    /// Suspends, resumes or revokes a key. Once this has answered a suspended or revoked key is
    /// good nowhere.
    ///
    /// # Errors
    /// 404 if there is no such key; 409 if it is revoked already and should be something else.
    pub async fn set_key_status(
        &self,
        organization: OrganizationId,
        id: KeyId,
        status: KeyStatus,
    ) -> Result<KeyRecord, Fault> {
        let changed = self.ledger.set_key_status(organization, id, status).await;
        let record = changed.map_err(fault_of_object)?;
        self.refresh_key(id).await;
        Ok(record)
    }

    /// Replaces a key's secret. Once this has answered the old one is good nowhere.
    ///
    /// # Errors
    /// 404 if there is no such key; 409 if it is revoked.
    pub async fn rotate_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
    ) -> Result<(KeyRecord, SecretString), Fault> {
        let NewKeySecret { secret, hash, prefix } =
            NewKeySecret::inference().map_err(no_randomness)?;
        let rotated = self.ledger.rotate_key(organization, id, hash, prefix).await;
        let record = rotated.map_err(fault_of_object)?;
        self.refresh_key(id).await;
        Ok((record, secret))
    }

    /// Makes a key for the runs of an organization. Its secret is told this once.
    ///
    /// # Errors
    /// 404 if there is no such organization.
    pub async fn mint_orchestrator_key(
        &self,
        organization: OrganizationId,
        name: String,
    ) -> Result<(OrchestratorKey, SecretString), Fault> {
        let NewKeySecret { secret, hash, prefix } =
            NewKeySecret::orchestrator().map_err(no_randomness)?;
        let key = OrchestratorKey {
            id: OrchestratorKeyId::generate(),
            organization,
            name,
            hash,
            prefix,
            status: KeyStatus::Active,
            created_at: DateTime::UNIX_EPOCH,
        };
        Ok((self.ledger.mint_orchestrator_key(key).await.map_err(fault)?, secret))
    }

    /// Every model that a key is bound to must be one that the catalogue knows.
    fn check_models_of(&self, terms: &KeyTerms) -> Result<(), Fault> {
        for name in terms.allowed_models.iter().flatten() {
            // A provider that is not configured today may be tomorrow.
            if let Err(Unresolved::Unknown) = self.catalog().resolve(name, |_| true) {
                let shown = json::Path::default().to_foreign(name);
                let message = format!(
                    "There is no model named {shown}. Name models as GET /models lists them."
                );
                return Err(Fault::new(Code::InvalidModel, message).param("allowed_models"));
            }
        }
        Ok(())
    }
}

/// A name in a client's certificate, as such names are compared.
fn identity(named: Option<String>) -> Result<Option<String>, Fault> {
    let read = |text: String| {
        client_identity(&text).ok_or_else(|| {
            let says = "This is no name in a certificate: `san:dns:…`, `san:uri:…`, \
                `san:email:…` or `subject:…`.";
            Fault::new(Code::InvalidRequest, says).param("client_identity")
        })
    };
    named.map(read).transpose()
}

fn check_limits(limits: &KeyLimits) -> Result<(), Fault> {
    if limits.monthly_tokens > Tokens::ZERO {
        return Ok(());
    }
    let says = "A key needs a monthly limit of at least one token.";
    Err(Fault::new(Code::InvalidRequest, says).param("monthly_token_limit"))
}

fn no_randomness(error: NoRandomness) -> Fault {
    Fault::internal(Code::InternalError, "The gateway could not make a secret.", error)
}

/// There is no such organization, as far as the reader may know.
pub fn no_organization() -> Fault {
    Fault::new(Code::NotFound, "There is no organization of this id. Check the path.")
}

pub(super) fn no_object() -> Fault {
    Fault::new(Code::NotFound, "The organization has nothing of this name or id. Check the path.")
}

pub(super) fn fault_of_object(error: OrganizationsError) -> Fault {
    match error {
        OrganizationsError::NotFound => no_object(),
        other => fault(other),
    }
}

pub(super) fn fault(error: OrganizationsError) -> Fault {
    match error {
        OrganizationsError::Taken => {
            Fault::new(Code::Conflict, "That name or id is taken. Choose another one.")
                .param("name")
        }
        OrganizationsError::NotFound => no_organization(),
        OrganizationsError::NotConfigured => {
            const SAYS: &str = "The first configuration needs monthly_cost_limit_cents: the most \
                                that a month may cost.";
            Fault::new(Code::InvalidRequest, SAYS).param("monthly_cost_limit_cents")
        }
        OrganizationsError::InvalidTransition(status) => Fault::new(
            Code::InvalidTransition,
            format!("The key is {} and stays so. Mint another one.", status.as_str()),
        ),
        OrganizationsError::TooMuch => {
            Fault::new(Code::InvalidRequest, "The amount is too large.").param("amount_usd")
        }
        OrganizationsError::Ledger(error) => unavailable(error),
    }
}
