//! The ports of members and of the book of changes, as the ledger in Postgres has them.

use async_trait::async_trait;

use crate::domain::id::OrganizationId;
use crate::domain::organization::Role;

use super::super::super::audit::{AuditLog, AuditRecord};
use super::super::super::members::{Member, Members, PasswordHash};
use super::super::super::{LedgerError, organizations::OrganizationsError};
use super::super::{
    ANSWER_TIMEOUT, PostgresLedger, WORK_TIMEOUT, audit, members, unavailable, within,
};

#[async_trait]
impl Members for PostgresLedger {
    async fn add_member(
        &self,
        member: Member,
        password: PasswordHash,
    ) -> Result<Member, OrganizationsError> {
        within(ANSWER_TIMEOUT, members::add(&self.pool, member, password)).await
    }

    async fn members(&self, organization: OrganizationId) -> Result<Vec<Member>, LedgerError> {
        within(WORK_TIMEOUT, members::list(&self.pool, organization)).await.map_err(unavailable)
    }

    async fn find_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<(Role, PasswordHash)>, LedgerError> {
        within(ANSWER_TIMEOUT, members::find(&self.pool, organization, name))
            .await
            .map_err(unavailable)
    }

    async fn remove_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Member, OrganizationsError> {
        within(ANSWER_TIMEOUT, members::remove(&self.pool, organization, name)).await
    }
}

#[async_trait]
impl AuditLog for PostgresLedger {
    async fn audit(
        &self,
        organization: Option<OrganizationId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, LedgerError> {
        within(WORK_TIMEOUT, audit::list(&self.pool, organization, before, limit))
            .await
            .map_err(unavailable)
    }
}
