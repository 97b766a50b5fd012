//! What belongs to whom on the control plane: people, orchestrators' keys, runs, the book of
//! changes.

use zeroize::Zeroizing;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrchestratorKeyId, OrganizationId, RunId};
use crate::domain::organization::{Role, RunDefaults};
use crate::ledger::audit::AuditRecord;
use crate::ledger::members::Member;
use crate::ledger::organizations::{OrchestratorKey, OrganizationsError};
use crate::ledger::{Page, RunKey};

use super::caller::run_not_found;
use super::organizations::{fault, fault_of_object, no_organization};
use super::runs::{Rows, cut};
use super::{Gateway, unavailable};

impl Gateway {
    /// Whether there is such an organization.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn must_have_organization(&self, id: OrganizationId) -> Result<(), Fault> {
        // The first migration made it, and nothing takes one away.
        if id == OrganizationId::DEFAULT {
            return Ok(());
        }
        let found = self.ledger.find_organization(id).await.map_err(unavailable)?;
        found.map(drop).ok_or_else(no_organization)
    }

    /// What the runs of an organization fall back to that surely exists, as last heard of.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn usual_run_defaults(&self, id: OrganizationId) -> Result<RunDefaults, Fault> {
        let known = self.directory.organization(id).await.map_err(unavailable)?;
        Ok(known.heard().settings.as_ref().map(|set| set.defaults).unwrap_or_default())
    }

    /// What the runs of an organization fall back to; `None` if there is no such organization.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn run_defaults(&self, id: OrganizationId) -> Result<Option<RunDefaults>, Fault> {
        let found = self.ledger.find_organization(id).await.map_err(unavailable)?;
        Ok(found.map(|known| known.settings.map(|set| set.defaults).unwrap_or_default()))
    }

    /// The keys for an organization's runs, in the order in which they were made.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn orchestrator_keys(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<Rows<OrchestratorKey>, Fault> {
        let mut keys = self.ledger.orchestrator_keys(organization).await.map_err(unavailable)?;
        keys.retain(|key| page.after.is_none_or(|after| key.id.uuid() > after));
        Ok(cut(keys, page))
    }

    /// Revokes a key for an organization's runs.
    ///
    /// # Errors
    /// 404 if there is no such key.
    pub async fn revoke_orchestrator_key(
        &self,
        organization: OrganizationId,
        id: OrchestratorKeyId,
    ) -> Result<OrchestratorKey, Fault> {
        self.ledger.revoke_orchestrator_key(organization, id).await.map_err(fault_of_object)
    }

    /// Adds a member.
    ///
    /// # Errors
    /// 409 if the name is taken.
    pub async fn add_member(
        &self,
        organization: OrganizationId,
        (name, role): (String, Role),
        password: Zeroizing<String>,
    ) -> Result<Member, Fault> {
        let hash = self.hash_password(password).await?;
        let member = Member { organization, name, role, created_at: chrono::Utc::now() };
        self.ledger.add_member(member, hash).await.map_err(|error| match error {
            OrganizationsError::Taken => {
                let says = "There is a member of this name already. Choose another one.";
                Fault::new(Code::Conflict, says).param("name")
            }
            other => fault(other),
        })
    }

    /// The members of an organization, by their names.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn members(&self, organization: OrganizationId) -> Result<Vec<Member>, Fault> {
        self.ledger.members(organization).await.map_err(unavailable)
    }

    /// Takes a member out.
    ///
    /// # Errors
    /// 404 if there is none of this name.
    pub async fn remove_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Member, Fault> {
        self.ledger.remove_member(organization, name).await.map_err(fault_of_object)
    }

    /// What was changed, the newest first.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn audit(
        &self,
        organization: Option<OrganizationId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Rows<AuditRecord>, Fault> {
        let page = Page { after: None, limit };
        let asked = self.ledger.audit(organization, before, limit.saturating_add(1));
        Ok(cut(asked.await.map_err(unavailable)?, page))
    }

    /// Whether a run is an organization's. Whose a run is never changes.
    ///
    /// # Errors
    /// 404 if it is not, or if there is none.
    pub async fn must_own_run(&self, owner: OrganizationId, run: RunId) -> Result<(), Fault> {
        let found = self.ledger.find(RunKey::Id(run)).await.map_err(unavailable)?;
        let owned = found.filter(|found| found.terms.organization == owner);
        owned.map(drop).ok_or_else(run_not_found)
    }
}
