//! The book of changes in Postgres. Triggers write it; a transaction only says who acts.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};

use crate::domain::id::OrganizationId;

use super::super::audit::{AuditRecord, actor};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, at, organization_id, actor_kind, actor_id, actor_name, address, ",
            "request_id, action, object_kind, object_id, old::text, new::text FROM audit_log ",
            "WHERE ",
            $rest,
            " ORDER BY id DESC LIMIT $2"
        )
    };
}

const OF_ALL: &str = select!("id < $1");
const OF_ONE: &str = select!("id < $1 AND organization_id = $3");

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 2] = [OF_ALL, OF_ONE];

/// Begins a transaction that changes something, and says in the same message who does.
pub(super) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let Some(actor) = actor() else { return pool.begin().await };
    let actor = serde_json::to_vec(&actor).map_err(|error| sqlx::Error::Encode(error.into()))?;
    // Nothing but hexadecimal digits, so there is nothing to escape.
    let actor = hex::encode(actor);
    let begin = format!("BEGIN; SET LOCAL rungate.actor = '{actor}'");
    pool.begin_with(AssertSqlSafe(begin)).await
}

pub(super) async fn list(
    pool: &PgPool,
    organization: Option<OrganizationId>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditRecord>, sqlx::Error> {
    let asked = match organization {
        None => sqlx::query(OF_ALL),
        Some(_) => sqlx::query(OF_ONE),
    };
    let asked = asked.bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit));
    let asked = match organization {
        None => asked,
        Some(organization) => asked.bind(organization.uuid()),
    };
    asked.fetch_all(pool).await?.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<AuditRecord, sqlx::Error> {
    let organization: Option<uuid::Uuid> = row.try_get(2)?;
    Ok(AuditRecord {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        organization: organization.map(OrganizationId::from_uuid),
        actor_kind: row.try_get(3)?,
        actor_id: row.try_get(4)?,
        actor_name: row.try_get(5)?,
        address: row.try_get(6)?,
        request_id: row.try_get(7)?,
        action: row.try_get(8)?,
        object_kind: row.try_get(9)?,
        object_id: row.try_get(10)?,
        old: row.try_get(11)?,
        new: row.try_get(12)?,
    })
}
