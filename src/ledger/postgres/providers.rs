//! How organizations reach providers, in Postgres. Keys are ciphertext here.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::domain::id::OrganizationId;
use crate::domain::seal::Sealed;

use super::super::organizations::OrganizationsError;
use super::super::providers::{ProviderConfiguration, ProvidersSnapshot};
use super::organizations::{CHANGED, LOCK_ORGANIZATION};
use super::read::unsigned;

pub mod of_runs;
pub mod reencrypt;

/// An organization's residency beside each of its configurations, in one snapshot; at least one row
/// if there is such an organization.
const FIND: &str = "SELECT o.version, coalesce(s.eu_only, false), p.provider, p.enabled, \
        p.base_url, p.anywhere, p.eu_endpoint, p.key_id, p.key_ciphertext, p.version, p.updated_at \
    FROM organizations o \
    LEFT JOIN organization_settings s ON s.organization_id = o.id \
    LEFT JOIN provider_configurations p ON p.organization_id = o.id \
    WHERE o.id = $1 ORDER BY p.provider";

const VERSION: &str =
    "SELECT version FROM provider_configurations WHERE organization_id = $1 AND provider = $2";

const PUT: &str = "INSERT INTO provider_configurations (organization_id, provider, enabled, \
        base_url, anywhere, eu_endpoint, key_id, key_ciphertext, version) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (organization_id, provider) DO UPDATE SET enabled = excluded.enabled, \
        base_url = excluded.base_url, anywhere = excluded.anywhere, \
        eu_endpoint = excluded.eu_endpoint, key_id = excluded.key_id, \
        key_ciphertext = excluded.key_ciphertext, version = excluded.version, \
        updated_at = clock_timestamp() \
    RETURNING updated_at";

const DELETE: &str =
    "DELETE FROM provider_configurations WHERE organization_id = $1 AND provider = $2";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [FIND, VERSION, PUT, DELETE];

pub(super) async fn find(
    pool: &PgPool,
    organization: OrganizationId,
) -> Result<Option<ProvidersSnapshot>, sqlx::Error> {
    let rows = sqlx::query(FIND).bind(organization.uuid()).fetch_all(pool).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (version, eu_only) = (unsigned(first.try_get(0)?), first.try_get(1)?);
    let providers = rows.iter().filter_map(|row| read(row, 2).transpose());
    let providers = providers.collect::<Result<_, _>>()?;
    Ok(Some(ProvidersSnapshot { version, eu_only, providers }))
}

/// The configuration whose columns begin at `at`; `None` if there is none in the row.
pub(super) fn read(row: &PgRow, at: usize) -> Result<Option<ProviderConfiguration>, sqlx::Error> {
    let Some(provider) = row.try_get(at)? else { return Ok(None) };
    let key_id: Option<String> = row.try_get(at + 5)?;
    let bytes: Option<Vec<u8>> = row.try_get(at + 6)?;
    Ok(Some(ProviderConfiguration {
        provider,
        enabled: row.try_get(at + 1)?,
        base_url: row.try_get(at + 2)?,
        anywhere: row.try_get(at + 3)?,
        eu_endpoint: row.try_get(at + 4)?,
        key: key_id.zip(bytes).map(|(key_id, bytes)| Sealed { key_id, bytes }),
        version: unsigned(row.try_get(at + 7)?),
        updated_at: row.try_get(at + 8)?,
    }))
}

pub(super) async fn put(
    pool: &PgPool,
    organization: OrganizationId,
    configuration: ProviderConfiguration,
) -> Result<Option<ProviderConfiguration>, OrganizationsError> {
    let mut transaction = super::audit::begin(pool).await?;
    let locked = sqlx::query(LOCK_ORGANIZATION).bind(organization.uuid());
    locked.fetch_optional(&mut *transaction).await?.ok_or(OrganizationsError::NotFound)?;
    let stands = sqlx::query_scalar(VERSION)
        .bind(organization.uuid())
        .bind(&configuration.provider)
        .fetch_optional(&mut *transaction)
        .await?;
    if stands.map_or(0, unsigned) != configuration.version {
        return Ok(None);
    }
    let version = configuration.version + 1;
    let (key_id, bytes) = configuration.key.as_ref().map(|key| (&key.key_id, &key.bytes)).unzip();
    let updated_at: DateTime<Utc> = sqlx::query_scalar(PUT)
        .bind(organization.uuid())
        .bind(&configuration.provider)
        .bind(configuration.enabled)
        .bind(&configuration.base_url)
        .bind(configuration.anywhere)
        .bind(configuration.eu_endpoint)
        .bind(key_id)
        .bind(bytes)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query(CHANGED).bind(organization.uuid()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(ProviderConfiguration { version, updated_at, ..configuration }))
}

pub(super) async fn delete(
    pool: &PgPool,
    organization: OrganizationId,
    provider: &str,
) -> Result<(), OrganizationsError> {
    let mut transaction = super::audit::begin(pool).await?;
    let locked = sqlx::query(LOCK_ORGANIZATION).bind(organization.uuid());
    locked.fetch_optional(&mut *transaction).await?.ok_or(OrganizationsError::NotFound)?;
    let gone = sqlx::query(DELETE).bind(organization.uuid()).bind(provider);
    if gone.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Err(OrganizationsError::NotFound);
    }
    sqlx::query(CHANGED).bind(organization.uuid()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
