//! Who changed what. The ledger in Postgres books each change of an organization, a key, a member,
//! a run or a limit in the transaction that makes it; the one in memory has nobody to name.

use std::sync::OnceLock;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::id::OrganizationId;

use super::LedgerError;

/// Who acts, and from where.
#[derive(Clone, Debug, Serialize)]
pub struct Actor {
    /// By which kind of credential he is known.
    pub kind: ActorKind,
    /// Which one of them: an orchestrator key's id.
    pub id: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The request.
    pub request_id: String,
}

/// The kinds of credentials of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// The operator's token.
    Operator,
    /// A key for an organization's runs.
    OrchestratorKey,
    /// A member's name and password.
    Member,
}

tokio::task_local! {
    static ACTOR: OnceLock<Actor>;
}

/// Does work for which [`tell`] may say who acts.
pub async fn attributed<T>(work: impl Future<Output = T>) -> T {
    ACTOR.scope(OnceLock::new(), work).await
}

/// Says who acts in the rest of the work. The first word holds; outside of [`attributed`] nobody
/// listens.
pub fn tell(actor: Actor) {
    let _told_before = ACTOR.try_with(|told| told.set(actor));
}

/// Who acts, if somebody said.
pub(super) fn actor() -> Option<Actor> {
    ACTOR.try_with(|told| told.get().cloned()).ok().flatten()
}

/// One change.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Its number; later ones are larger.
    pub id: i64,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Whose object it is.
    pub organization: Option<OrganizationId>,
    /// Who made it: a kind of credential, or `database` for what went past the gateway.
    pub actor_kind: String,
    /// Which credential of that kind.
    pub actor_id: Option<String>,
    /// What it is called.
    pub actor_name: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// `create`, `change` or `delete`.
    pub action: String,
    /// What was changed.
    pub object_kind: String,
    /// Which one.
    pub object_id: String,
    /// What changed, as it was: a JSON object.
    pub old: Option<String>,
    /// What changed, as it became: a JSON object.
    pub new: Option<String>,
}

/// The book of changes.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Changes of an organization or of all, the newest first, from before a number on.
    async fn audit(
        &self,
        organization: Option<OrganizationId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, LedgerError>;
}
