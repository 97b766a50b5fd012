//! The part of the ledger's port that is about the people of organizations.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::id::OrganizationId;
use crate::domain::organization::Role;

use super::LedgerError;
use super::organizations::OrganizationsError;

/// Somebody who signs in with a name and a password. Names are an organization's own: another one
/// may have somebody of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose.
    pub organization: OrganizationId,
    /// The name.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// When he was added; what a caller says of this is not looked at.
    pub created_at: DateTime<Utc>,
}

/// A password, hashed with argon2id: a PHC string.
#[derive(Clone)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The people of organizations.
#[async_trait]
pub trait Members: Send + Sync {
    /// Adds a member, unless the name is taken.
    async fn add_member(
        &self,
        member: Member,
        password: PasswordHash,
    ) -> Result<Member, OrganizationsError>;

    /// The members of an organization, by their names.
    async fn members(&self, organization: OrganizationId) -> Result<Vec<Member>, LedgerError>;

    /// What a member may do, and what his password must match.
    async fn find_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<(Role, PasswordHash)>, LedgerError>;

    /// Takes a member out. From then on his password is good for nothing.
    async fn remove_member(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Member, OrganizationsError>;
}
