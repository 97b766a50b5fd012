//! What operators and owners do to organizations: set limits, hand out keys, put credits in.
//!
//! What was changed is looked up again at once, so that this gateway's calls hear of it before the
//! answer does.

use chrono::DateTime;
use secrecy::SecretString;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{CreditId, KeyId, OrchestratorKeyId, OrganizationId};
use crate::domain::key::{NewKeySecret, NoRandomness, TokenHash};
use crate::domain::money::Usd;
use crate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, SettingsPatch};
use crate::domain::usage::Tokens;
use crate::ledger::Page;
use crate::ledger::organizations::{
    BudgetStanding, Credit, CreditKind, KeyRecord, NewKey, OrchestratorKey, OrganizationRecord,
    OrganizationsError,
};

use super::runs::{Rows, cut, one_more};
use super::{Gateway, unavailable};

impl Gateway {
    /// Makes an organization.
    ///
    /// # Errors
    /// 409 if the name is taken.
    pub async fn create_organization(&self, name: String) -> Result<OrganizationRecord, Fault> {
        let id = OrganizationId::generate();
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
        self.refresh_organization(id).await;
        Ok(record)
    }

    /// Makes an inference key. Its secret is told this once.
    ///
    /// # Errors
    /// 400 without a limit of tokens; 404 if there is no such organization.
    pub async fn mint_key(
        &self,
        organization: OrganizationId,
        terms: KeyTerms,
        limits: KeyLimits,
    ) -> Result<(KeyRecord, SecretString), Fault> {
        if limits.monthly_tokens == Tokens::ZERO {
            let says = "A key needs a monthly limit of at least one token.";
            return Err(Fault::new(Code::InvalidRequest, says).param("monthly_token_limit"));
        }
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
        found.ok_or_else(|| fault(OrganizationsError::NotFound))
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
        let record = changed.map_err(fault)?;
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
        let record = rotated.map_err(fault)?;
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

    /// Whose runs this secret is good for; `None` if it is no active orchestrator key.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn orchestrator(&self, secret: &str) -> Result<Option<OrchestratorKey>, Fault> {
        let found = self.ledger.find_orchestrator_key(TokenHash::of(secret)).await;
        found.map_err(unavailable)
    }

    /// Puts credits in. The first ones make the organization a prepaid one.
    ///
    /// # Errors
    /// 400 if it is nothing; 404 if there is no such organization.
    pub async fn add_credit(
        &self,
        organization: OrganizationId,
        kind: CreditKind,
        amount: Usd,
        note: String,
    ) -> Result<BudgetStanding, Fault> {
        if amount == Usd::ZERO {
            let says = "Put in more than nothing.";
            return Err(Fault::new(Code::InvalidRequest, says).param("amount_usd"));
        }
        let (id, created_at) = (CreditId::generate(), DateTime::UNIX_EPOCH);
        let credit = Credit { id, kind, amount, note, created_at };
        let standing = self.ledger.add_credit(organization, credit).await.map_err(fault)?;
        self.refresh_organization(organization).await;
        Ok(standing)
    }
}

fn no_randomness(error: NoRandomness) -> Fault {
    Fault::internal(Code::InternalError, "The gateway could not make a secret.", error)
}

fn fault(error: OrganizationsError) -> Fault {
    match error {
        OrganizationsError::Taken => {
            Fault::new(Code::RunConflict, "That name is taken. Choose another one.").param("name")
        }
        OrganizationsError::NotFound => {
            Fault::new(Code::NotFound, "There is no such organization, or no such object in it.")
        }
        OrganizationsError::NotConfigured => {
            Fault::new(Code::InvalidRequest, "The first configuration needs a monthly cost limit.")
                .param("monthly_cost_limit_cents")
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
