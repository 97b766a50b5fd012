//! The providers that runs bring keys of their own for, in Postgres. Keys are ciphertext here.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::run::RunProvider;
use crate::domain::seal::Sealed;

const INSERT: &str = "INSERT INTO run_providers (organization_id, run_id, provider, base_url, \
    anywhere, eu_endpoint, key_id, key_ciphertext) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const OF_RUN: &str = "SELECT provider, base_url, anywhere, eu_endpoint, key_id, key_ciphertext \
    FROM run_providers WHERE run_id = $1 ORDER BY provider";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 2] = [INSERT, OF_RUN];

pub(in super::super) async fn insert(
    connection: &mut PgConnection,
    (organization, run): (OrganizationId, RunId),
    providers: &[RunProvider],
) -> Result<(), sqlx::Error> {
    for own in providers {
        sqlx::query(INSERT)
            .bind(organization.uuid())
            .bind(run.uuid())
            .bind(&own.provider)
            .bind(&own.base_url)
            .bind(own.anywhere)
            .bind(own.eu_endpoint)
            .bind(&own.key.key_id)
            .bind(&own.key.bytes)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(in super::super) async fn of(
    pool: &PgPool,
    run: RunId,
) -> Result<Vec<RunProvider>, sqlx::Error> {
    let rows = sqlx::query(OF_RUN).bind(run.uuid()).fetch_all(pool).await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<RunProvider, sqlx::Error> {
    Ok(RunProvider {
        provider: row.try_get(0)?,
        base_url: row.try_get(1)?,
        anywhere: row.try_get(2)?,
        eu_endpoint: row.try_get(3)?,
        key: Sealed { key_id: row.try_get(4)?, bytes: row.try_get(5)? },
    })
}
