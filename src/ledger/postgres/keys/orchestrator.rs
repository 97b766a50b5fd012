//! Keys for the runs of an organization. They spend nothing: a call is admitted on its run.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::domain::id::{OrchestratorKeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::organization::KeyStatus;

use super::super::super::organizations::{OrchestratorKey, OrganizationsError};
use super::super::admit::unreadable;
use super::super::audit;

macro_rules! returning {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " organization_id, id, name, secret_hash, prefix, status, created_at ",
            $after
        )
    };
}

const MINT: &str = returning!(
    "INSERT INTO orchestrator_keys (organization_id, id, name, secret_hash, prefix) \
     VALUES ($1, $2, $3, $4, $5) RETURNING",
    ""
);
const BY_SECRET: &str =
    returning!("SELECT", "FROM orchestrator_keys WHERE secret_hash = $1 AND status = 'active'");
const LIST: &str =
    returning!("SELECT", "FROM orchestrator_keys WHERE organization_id = $1 ORDER BY id");
const REVOKE: &str = returning!(
    "UPDATE orchestrator_keys SET status = 'revoked' WHERE organization_id = $1 AND id = $2 \
     RETURNING",
    ""
);

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [MINT, BY_SECRET, LIST, REVOKE];

pub(in super::super) async fn mint(
    pool: &PgPool,
    key: OrchestratorKey,
) -> Result<OrchestratorKey, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let row = sqlx::query(MINT)
        .bind(key.organization.uuid())
        .bind(key.id.uuid())
        .bind(key.name)
        .bind(key.hash.as_bytes().as_slice())
        .bind(key.prefix)
        .fetch_one(&mut *transaction)
        .await?;
    let minted = read(&row)?;
    transaction.commit().await?;
    Ok(minted)
}

pub(in super::super) async fn by_secret(
    pool: &PgPool,
    hash: TokenHash,
) -> Result<Option<OrchestratorKey>, sqlx::Error> {
    let asked = sqlx::query(BY_SECRET).bind(hash.as_bytes().as_slice());
    asked.fetch_optional(pool).await?.as_ref().map(read).transpose()
}

pub(in super::super) async fn list(
    pool: &PgPool,
    organization: OrganizationId,
) -> Result<Vec<OrchestratorKey>, sqlx::Error> {
    let rows = sqlx::query(LIST).bind(organization.uuid()).fetch_all(pool).await?;
    rows.iter().map(read).collect()
}

pub(in super::super) async fn revoke(
    pool: &PgPool,
    organization: OrganizationId,
    id: OrchestratorKeyId,
) -> Result<OrchestratorKey, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let asked = sqlx::query(REVOKE).bind(organization.uuid()).bind(id.uuid());
    let row = asked.fetch_optional(&mut *transaction).await?;
    let revoked = read(&row.ok_or(OrganizationsError::NotFound)?)?;
    transaction.commit().await?;
    Ok(revoked)
}

fn read(row: &PgRow) -> Result<OrchestratorKey, sqlx::Error> {
    Ok(OrchestratorKey {
        organization: OrganizationId::from_uuid(row.try_get(0)?),
        id: OrchestratorKeyId::from_uuid(row.try_get(1)?),
        name: row.try_get(2)?,
        hash: TokenHash::from_slice(row.try_get(3)?).ok_or_else(|| unreadable("key's hash"))?,
        prefix: row.try_get(4)?,
        status: KeyStatus::parse(row.try_get(5)?).ok_or_else(|| unreadable("status"))?,
        created_at: row.try_get(6)?,
    })
}
