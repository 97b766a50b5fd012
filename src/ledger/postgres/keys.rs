//! Inference keys in Postgres. Whoever changes one first locks the budgets that its calls fall
//! under, and an admission reads the key only behind those locks.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::domain::budget::Scope;
use crate::domain::id::{BudgetId, KeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::organization::{KeySnapshot, KeyStatus, KeyTerms};

use super::super::Page;
use super::super::organizations::{KeyRecord, NewKey, OrganizationsError};
use super::admit::unreadable;
use super::audit;
use super::organizations::{insert_budget, lock_budgets, standings};
use super::read::unsigned;

pub mod orchestrator;
pub mod terms;

/// Makes a key.
const MINT: &str = "INSERT INTO inference_keys (organization_id, id, name, secret_hash, prefix, \
    allowed_models, allowed_endpoints, rate_limit_rpm, max_concurrency, expires_at, require_run, \
    rate_limit_rps, tokens_per_minute, client_identity) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT k.organization_id, k.id, k.name, k.secret_hash, k.prefix, k.status, ",
            "k.allowed_models, k.allowed_endpoints, k.rate_limit_rpm, k.max_concurrency, ",
            "k.expires_at, k.require_run, k.version, k.created_at, k.rotated_at, ",
            "k.rate_limit_rps, k.tokens_per_minute, k.client_identity ",
            "FROM inference_keys k WHERE ",
            $rest
        )
    };
}

const BY_SECRET: &str = select!("k.secret_hash = $1");
const BY_IDENTITY: &str = select!(
    "k.client_identity = ANY ($1) AND k.status <> 'revoked' \
     ORDER BY array_position($1, k.client_identity) LIMIT 1"
);
const BY_ID: &str = select!("k.id = $1");
const OF_ORGANIZATION: &str = select!("k.organization_id = $1 AND k.id = $2");
const LIST: &str = select!("k.organization_id = $1 AND k.id > $2 ORDER BY k.id LIMIT $3");

/// Keeps other changes of a key away.
const LOCK: &str = "SELECT status, version FROM inference_keys \
    WHERE organization_id = $1 AND id = $2 FOR NO KEY UPDATE";

const SET_STATUS: &str = "UPDATE inference_keys SET status = $3, version = version + 1 \
    WHERE organization_id = $1 AND id = $2";

const SET_SECRET: &str = "UPDATE inference_keys SET secret_hash = $3, prefix = $4, \
    rotated_at = clock_timestamp(), version = version + 1 WHERE organization_id = $1 AND id = $2";

/// Tells every gateway that a key changed.
const NOTIFY: &str = "SELECT pg_notify('rungate', 'key:' || $1)";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 10] = [
    MINT,
    BY_SECRET,
    BY_IDENTITY,
    BY_ID,
    OF_ORGANIZATION,
    LIST,
    LOCK,
    SET_STATUS,
    SET_SECRET,
    NOTIFY,
];

/// What may happen to a key.
pub(super) enum Change {
    Status(KeyStatus),
    Secret(TokenHash, String),
}

pub(super) async fn mint(pool: &PgPool, new: NewKey) -> Result<KeyRecord, OrganizationsError> {
    let NewKey { id, organization, terms, limits, hash, prefix } = new;
    let mut transaction = audit::begin(pool).await?;
    sqlx::query(MINT)
        .bind(organization.uuid())
        .bind(id.uuid())
        .bind(terms.name)
        .bind(hash.as_bytes().as_slice())
        .bind(prefix)
        .bind(terms.allowed_models)
        .bind(terms.allowed_endpoints)
        .bind(signed(terms.rate_limit_rpm))
        .bind(signed(terms.max_concurrency))
        .bind(terms.expires_at)
        .bind(terms.require_run)
        .bind(signed(terms.rate_limit_rps))
        .bind(signed(terms.tokens_per_minute))
        .bind(terms.client_identity)
        .execute(&mut *transaction)
        .await?;
    for (unit, window, limit) in limits.budgets() {
        let Some(limit) = limit else { continue };
        let (row, budget) = (BudgetId::generate().uuid(), (Scope::Key, id.uuid(), unit, window));
        insert_budget(&mut transaction, organization, row, budget, limit).await?;
    }
    transaction.commit().await?;
    record(pool, organization, id).await?.ok_or(OrganizationsError::NotFound)
}

pub(super) async fn by_secret(
    pool: &PgPool,
    hash: TokenHash,
) -> Result<Option<KeySnapshot>, sqlx::Error> {
    let asked = sqlx::query(BY_SECRET).bind(hash.as_bytes().as_slice());
    let found = with_standings(pool, asked.fetch_all(pool).await?).await?.pop();
    Ok(found.map(|record| record.key))
}

pub(super) async fn by_identity(
    pool: &PgPool,
    names: &[String],
) -> Result<Option<KeySnapshot>, sqlx::Error> {
    let rows = sqlx::query(BY_IDENTITY).bind(names).fetch_all(pool).await?;
    Ok(with_standings(pool, rows).await?.pop().map(|record| record.key))
}

pub(super) async fn by_id(pool: &PgPool, id: KeyId) -> Result<Option<KeySnapshot>, sqlx::Error> {
    let rows = sqlx::query(BY_ID).bind(id.uuid()).fetch_all(pool).await?;
    Ok(with_standings(pool, rows).await?.pop().map(|record| record.key))
}

pub(super) async fn record(
    pool: &PgPool,
    organization: OrganizationId,
    id: KeyId,
) -> Result<Option<KeyRecord>, sqlx::Error> {
    let asked = sqlx::query(OF_ORGANIZATION).bind(organization.uuid()).bind(id.uuid());
    Ok(with_standings(pool, asked.fetch_all(pool).await?).await?.pop())
}

pub(super) async fn list(
    pool: &PgPool,
    organization: OrganizationId,
    page: Page,
) -> Result<Vec<KeyRecord>, sqlx::Error> {
    let asked = sqlx::query(LIST)
        .bind(organization.uuid())
        .bind(page.after.unwrap_or_default())
        .bind(i64::from(page.limit));
    with_standings(pool, asked.fetch_all(pool).await?).await
}

pub(super) async fn change(
    pool: &PgPool,
    organization: OrganizationId,
    id: KeyId,
    change: Change,
) -> Result<KeyRecord, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let (status, _) = lock(&mut transaction, organization, id).await?;
    let next = match &change {
        Change::Status(next) => *next,
        // A revoked key gets no new secret.
        Change::Secret(..) => KeyStatus::Active,
    };
    if !status.allows(next) {
        return Err(OrganizationsError::InvalidTransition(status));
    }
    lock_budgets(&mut transaction, Scope::Key, id.uuid()).await?;
    let set = match change {
        Change::Status(status) => {
            sqlx::query(SET_STATUS).bind(organization.uuid()).bind(id.uuid()).bind(status.as_str())
        }
        Change::Secret(hash, prefix) => sqlx::query(SET_SECRET)
            .bind(organization.uuid())
            .bind(id.uuid())
            .bind(hash.as_bytes().to_vec())
            .bind(prefix),
    };
    set.execute(&mut *transaction).await?;
    sqlx::query(NOTIFY).bind(id.to_string()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    record(pool, organization, id).await?.ok_or(OrganizationsError::NotFound)
}

/// Keeps other changes of a key away. Answers its status and its version.
async fn lock(
    connection: &mut PgConnection,
    organization: OrganizationId,
    id: KeyId,
) -> Result<(KeyStatus, u64), OrganizationsError> {
    let locked = sqlx::query(LOCK).bind(organization.uuid()).bind(id.uuid());
    let row = locked.fetch_optional(connection).await?.ok_or(OrganizationsError::NotFound)?;
    let status = KeyStatus::parse(row.try_get(0)?).ok_or_else(|| unreadable("status"))?;
    Ok((status, unsigned(row.try_get(1)?)))
}

/// A count as Postgres keeps it.
fn signed(count: Option<u32>) -> Option<i32> {
    count.map(|count| i32::try_from(count).unwrap_or(i32::MAX))
}

async fn with_standings(pool: &PgPool, rows: Vec<PgRow>) -> Result<Vec<KeyRecord>, sqlx::Error> {
    let mut records = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<Uuid> = records.iter().map(|record| record.key.id.uuid()).collect();
    if ids.is_empty() {
        return Ok(records);
    }
    let mut standings = standings(pool, ids).await?;
    for record in &mut records {
        let own = standings.remove(&record.key.id.uuid()).unwrap_or_default();
        record.key.budgets = own.iter().map(|standing| standing.budget).collect();
        record.standings = own;
    }
    Ok(records)
}

fn read(row: &PgRow) -> Result<KeyRecord, sqlx::Error> {
    let count = |at: usize| {
        let stored: Result<Option<i32>, sqlx::Error> = row.try_get(at);
        stored.map(|count| count.and_then(|count| u32::try_from(count).ok()))
    };
    let terms = KeyTerms {
        name: row.try_get(2)?,
        allowed_models: row.try_get(6)?,
        allowed_endpoints: row.try_get(7)?,
        rate_limit_rpm: count(8)?,
        rate_limit_rps: count(15)?,
        tokens_per_minute: count(16)?,
        max_concurrency: count(9)?,
        expires_at: row.try_get(10)?,
        require_run: row.try_get(11)?,
        client_identity: row.try_get(17)?,
    };
    let key = KeySnapshot {
        id: KeyId::from_uuid(row.try_get(1)?),
        organization: OrganizationId::from_uuid(row.try_get(0)?),
        terms,
        status: KeyStatus::parse(row.try_get(5)?).ok_or_else(|| unreadable("status"))?,
        hash: TokenHash::from_slice(row.try_get(3)?).ok_or_else(|| unreadable("key's hash"))?,
        budgets: Vec::new(),
        version: unsigned(row.try_get(12)?),
    };
    let (prefix, created_at, rotated_at) = (row.try_get(4)?, row.try_get(13)?, row.try_get(14)?);
    Ok(KeyRecord { key, prefix, created_at, rotated_at, standings: Vec::new() })
}
