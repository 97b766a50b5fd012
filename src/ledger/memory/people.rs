//! The ports of members and of the book of changes, as the ledger in memory has them.

use async_trait::async_trait;

use crate::domain::id::OrganizationId;
use crate::domain::organization::Role;

use super::super::LedgerError;
use super::super::audit::{AuditLog, AuditRecord};
use super::super::members::{Member, Members, PasswordHash};
use super::super::organizations::OrganizationsError;
use super::MemoryLedger;

#[async_trait]
impl Members for MemoryLedger {
    async fn add_member(
        &self,
        member: Member,
        password: PasswordHash,
    ) -> Result<Member, OrganizationsError> {
        self.on_shared(|shared, now| {
            if !shared.organizations.contains_key(&member.organization) {
                return Err(OrganizationsError::NotFound);
            }
            let at = (member.organization, member.name.clone());
            if shared.members.contains_key(&at) {
                return Err(OrganizationsError::Taken);
            }
            let member = Member { created_at: now, ..member };
            shared.members.insert(at, (member.clone(), password));
            Ok(member)
        })
    }

    async fn members(&self, organization: OrganizationId) -> Result<Vec<Member>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let all = shared.members.values().map(|(member, _)| member);
            all.filter(|member| member.organization == organization).cloned().collect()
        }))
    }

    async fn find_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<(Role, PasswordHash)>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let found = shared.members.get(&(organization, name.to_owned()));
            found.map(|(member, password)| (member.role, password.clone()))
        }))
    }

    async fn remove_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Member, OrganizationsError> {
        self.on_shared(|shared, _| {
            let removed = shared.members.remove(&(organization, name.to_owned()));
            removed.map(|(member, _)| member).ok_or(OrganizationsError::NotFound)
        })
    }
}

/// A developer's gateway asks nobody who he is, so it has nobody to name.
#[async_trait]
impl AuditLog for MemoryLedger {
    async fn audit(
        &self,
        _: Option<OrganizationId>,
        _: Option<i64>,
        _: u32,
    ) -> Result<Vec<AuditRecord>, LedgerError> {
        Ok(Vec::new())
    }
}
