//! What an inference key allows and may spend, changed in Postgres.
//!
//! A limit that is taken away keeps its rows, which calls were booked on; it is only marked.
//! Whoever asks on the budgets of before the change is told so by the key's version.

use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::budget::{Scope, Unit, Window};
use crate::domain::id::{BudgetId, KeyId, OrganizationId};
use crate::domain::organization::{KeyLimits, KeyStatus, KeyTerms};

use super::super::super::organizations::{KeyRecord, OrganizationsError};
use super::super::audit;
use super::super::organizations::{OPEN_WINDOW, insert_budget, lock_budgets};
use super::{NOTIFY, lock, record, signed};

const SET_TERMS: &str = "UPDATE inference_keys SET name = $3, allowed_models = $4, \
    allowed_endpoints = $5, rate_limit_rpm = $6, max_concurrency = $7, expires_at = $8, \
    require_run = $9, rate_limit_rps = $10, tokens_per_minute = $11, client_identity = $12, \
    version = version + 1 WHERE organization_id = $1 AND id = $2";

/// The template of a budget that a key has, or once had.
const TEMPLATE: &str = "SELECT id FROM budgets WHERE scope = 'key' AND scope_id = $1 \
    AND unit = $2 AND \"window\" = $3 AND window_start = '-infinity'";

/// Sets the limit of a template and of its current window, and puts it back if it was taken away.
const SET_LIMIT: &str = "UPDATE budgets SET limit_amount = $2::numeric, removed = false, \
    lowered = lowered OR $2::numeric < spent + reserved WHERE id = ANY ($1)";

/// Takes a limit away.
const REMOVE: &str = "UPDATE budgets SET removed = true WHERE id = $1 AND NOT removed";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [SET_TERMS, TEMPLATE, SET_LIMIT, REMOVE];

/// Changes the key of this version; `None` if there is another one meanwhile.
pub(in super::super) async fn change(
    pool: &PgPool,
    (organization, id): (OrganizationId, KeyId),
    version: u64,
    (terms, limits): (KeyTerms, KeyLimits),
) -> Result<Option<KeyRecord>, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let (status, stands) = lock(&mut transaction, organization, id).await?;
    if status == KeyStatus::Revoked {
        return Err(OrganizationsError::InvalidTransition(status));
    }
    if stands != version {
        return Ok(None);
    }
    lock_budgets(&mut transaction, Scope::Key, id.uuid()).await?;
    for (unit, window, limit) in limits.budgets() {
        set_limit(&mut transaction, (organization, id), (unit, window), limit).await?;
    }
    sqlx::query(SET_TERMS)
        .bind(organization.uuid())
        .bind(id.uuid())
        .bind(terms.name)
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
    sqlx::query(NOTIFY).bind(id.to_string()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    record(pool, organization, id).await?.ok_or(OrganizationsError::NotFound).map(Some)
}

async fn set_limit(
    connection: &mut PgConnection,
    (organization, key): (OrganizationId, KeyId),
    (unit, window): (Unit, Window),
    limit: Option<Decimal>,
) -> Result<(), sqlx::Error> {
    let asked = sqlx::query_scalar(TEMPLATE);
    let asked = asked.bind(key.uuid()).bind(unit.as_str()).bind(window.as_str());
    let template: Option<Uuid> = asked.fetch_optional(&mut *connection).await?;
    match (template, limit) {
        (None, None) => {}
        (None, Some(limit)) => {
            let (id, kind) = (BudgetId::generate().uuid(), (Scope::Key, key.uuid(), unit, window));
            insert_budget(connection, organization, id, kind, limit).await?;
        }
        (Some(template), None) => {
            sqlx::query(REMOVE).bind(template).execute(connection).await?;
        }
        (Some(template), Some(limit)) => {
            // Of a lifetime the row is the template itself.
            let open = sqlx::query_scalar(OPEN_WINDOW).bind(template);
            let row: Uuid = open.fetch_one(&mut *connection).await?;
            let set = sqlx::query(SET_LIMIT).bind(vec![template, row]).bind(limit);
            set.execute(connection).await?;
        }
    }
    Ok(())
}
