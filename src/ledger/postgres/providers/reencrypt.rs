//! Provider keys that are kept in Postgres, sealed anew: those of organizations and those that runs
//! brought along. For a command that was given the keys; gateways only read.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::seal::{EncryptionKeys, Place, SealError, Sealed};

/// Some keys of organizations, behind the one of `$1` and `$2`.
const OF_ORGANIZATIONS: &str = "SELECT organization_id, NULL::uuid, provider, base_url, key_id, \
        key_ciphertext FROM provider_configurations \
    WHERE (organization_id, provider) > ($1, $2) AND key_ciphertext IS NOT NULL \
    ORDER BY organization_id, provider LIMIT 500";

/// Some keys of runs, behind the one of `$1` and `$2`.
const OF_RUNS: &str = "SELECT organization_id, run_id, provider, base_url, key_id, key_ciphertext \
    FROM run_providers WHERE (run_id, provider) > ($1, $2) ORDER BY run_id, provider LIMIT 500";

/// Replaces a ciphertext, unless somebody else did. The key within is the same, so nobody is told.
const RESEAL: &str = "UPDATE provider_configurations SET key_id = $3, key_ciphertext = $4 \
    WHERE organization_id = $1 AND provider = $2 AND key_ciphertext = $5";

/// The same of one that a run brought along.
const RESEAL_OF_RUN: &str = "UPDATE run_providers SET key_id = $3, key_ciphertext = $4 \
    WHERE run_id = $1 AND provider = $2 AND key_ciphertext = $5";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [OF_ORGANIZATIONS, OF_RUNS, RESEAL, RESEAL_OF_RUN];

/// What became of the provider keys that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// Sealed under the first key before already, or by somebody else meanwhile.
    pub current: u64,
    /// Sealed under the first key now.
    pub changed: u64,
    /// Those that do not open, and stay as they are.
    pub unreadable: Vec<Unreadable>,
}

/// A provider key that does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose it is.
    pub organization: OrganizationId,
    /// The run that brought it, if one did.
    pub run: Option<RunId>,
    /// Whose key it is.
    pub provider: String,
    /// Why.
    pub error: SealError,
}

/// A sealed key where it is kept.
struct Kept {
    organization: OrganizationId,
    run: Option<RunId>,
    provider: String,
    base_url: Option<String>,
    sealed: Sealed,
}

/// Seals every provider key under the first of the encryption keys. It may be broken off, be run
/// again, and run beside gateways: each row is replaced only as it was read.
///
/// # Errors
/// If the database cannot be reached, or was not migrated.
pub async fn reencrypt(pool: &PgPool, keys: &EncryptionKeys) -> Result<Reencrypted, sqlx::Error> {
    let mut done = Reencrypted::default();
    for statement in [OF_ORGANIZATIONS, OF_RUNS] {
        let mut last = (Uuid::nil(), String::new());
        loop {
            let rows = sqlx::query(statement).bind(last.0).bind(&last.1).fetch_all(pool).await?;
            let Some(end) = rows.last() else { break };
            let end = Kept::read(end)?;
            last = (end.owner(), end.provider);
            for row in &rows {
                renew(pool, keys, Kept::read(row)?, &mut done).await?;
            }
        }
    }
    Ok(done)
}

/// Seals one key anew, if it is not under the first encryption key.
async fn renew(
    pool: &PgPool,
    keys: &EncryptionKeys,
    kept: Kept,
    done: &mut Reencrypted,
) -> Result<(), sqlx::Error> {
    let place = kept.place();
    // Even what needs no change must open, or nobody would hear that it does not.
    let resealed = keys.open(&kept.sealed, place).and_then(|secret| keys.seal(&secret, place));
    let replaced = match resealed {
        Ok(_) if kept.sealed.key_id == keys.first_id() => 0,
        Ok(resealed) => kept.replace(pool, &resealed).await?,
        Err(error) => {
            let Kept { organization, run, provider, .. } = kept;
            done.unreadable.push(Unreadable { organization, run, provider, error });
            return Ok(());
        }
    };
    done.changed += replaced;
    done.current += 1 - replaced.min(1);
    Ok(())
}

impl Kept {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            organization: OrganizationId::from_uuid(row.try_get(0)?),
            run: row.try_get::<Option<Uuid>, _>(1)?.map(RunId::from_uuid),
            provider: row.try_get(2)?,
            base_url: row.try_get(3)?,
            sealed: Sealed { key_id: row.try_get(4)?, bytes: row.try_get(5)? },
        })
    }

    /// What its row is found by, beside the provider.
    fn owner(&self) -> Uuid {
        self.run.map_or_else(|| self.organization.uuid(), RunId::uuid)
    }

    fn place(&self) -> Place<'_> {
        Place {
            organization: self.organization,
            run: self.run,
            provider: &self.provider,
            base_url: self.base_url.as_deref(),
        }
    }

    async fn replace(&self, pool: &PgPool, resealed: &Sealed) -> Result<u64, sqlx::Error> {
        let statement = if self.run.is_some() { RESEAL_OF_RUN } else { RESEAL };
        let replaced = sqlx::query(statement)
            .bind(self.owner())
            .bind(&self.provider)
            .bind(&resealed.key_id)
            .bind(&resealed.bytes)
            .bind(&self.sealed.bytes)
            .execute(pool)
            .await?;
        Ok(replaced.rows_affected())
    }
}
