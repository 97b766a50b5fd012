//! Prepaid credits in Postgres: a budget whose limit is the sum of what was put in.

use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::domain::budget::{Scope, Unit, Window};
use crate::domain::id::{BudgetId, CreditId, OrganizationId};
use crate::domain::money::{Usd, add_exact};

use super::super::Page;
use super::super::organizations::{BudgetStanding, Credit, CreditKind, OrganizationsError};
use super::admit::unreadable;
use super::audit;
use super::organizations::{CHANGED, LOCK_ORGANIZATION, insert_budget, standings};

/// Books an amount, once for each id.
const ADD: &str = "INSERT INTO credit_transactions (organization_id, id, kind, amount_usd, note) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

/// Locks the prepaid budget.
const LOCK: &str = "SELECT id, limit_amount FROM budgets \
    WHERE scope = 'credits' AND scope_id = $1 ORDER BY id FOR UPDATE";

/// Raises it.
const RAISE: &str = "UPDATE budgets SET limit_amount = $2 WHERE id = $1";

const LIST: &str = "SELECT id, kind, amount_usd, note, created_at FROM credit_transactions \
    WHERE organization_id = $1 AND id > $2 ORDER BY id LIMIT $3";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [ADD, LOCK, RAISE, LIST];

pub(super) async fn add(
    pool: &PgPool,
    organization: OrganizationId,
    credit: Credit,
) -> Result<BudgetStanding, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let locked = sqlx::query(LOCK_ORGANIZATION).bind(organization.uuid());
    locked.fetch_optional(&mut *transaction).await?.ok_or(OrganizationsError::NotFound)?;
    let amount = credit.amount.decimal();
    let booked = sqlx::query(ADD)
        .bind(organization.uuid())
        .bind(credit.id.uuid())
        .bind(credit.kind.as_str())
        .bind(amount)
        .bind(credit.note)
        .execute(&mut *transaction)
        .await?;
    if booked.rows_affected() > 0 {
        let budget = sqlx::query(LOCK).bind(organization.uuid());
        match budget.fetch_optional(&mut *transaction).await? {
            Some(row) => {
                let limit = add_exact(row.try_get(1)?, amount);
                let limit = limit.map_err(|_| OrganizationsError::TooMuch)?;
                let raise = sqlx::query(RAISE).bind(row.try_get::<Uuid, _>(0)?).bind(limit);
                raise.execute(&mut *transaction).await?;
            }
            None => {
                let budget = (Scope::Credits, organization.uuid(), Unit::Usd, Window::Lifetime);
                let id = BudgetId::generate().uuid();
                insert_budget(&mut transaction, organization, id, budget, amount).await?;
            }
        }
        sqlx::query(CHANGED).bind(organization.uuid()).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    let mut found = standings(pool, vec![organization.uuid()]).await?;
    let own = found.remove(&organization.uuid()).unwrap_or_default();
    let credits = own.into_iter().find(|standing| standing.budget.scope == Scope::Credits);
    credits.ok_or(OrganizationsError::NotFound)
}

pub(super) async fn list(
    pool: &PgPool,
    organization: OrganizationId,
    page: Page,
) -> Result<Vec<Credit>, sqlx::Error> {
    let rows = sqlx::query(LIST)
        .bind(organization.uuid())
        .bind(page.after.unwrap_or_default())
        .bind(i64::from(page.limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Credit, sqlx::Error> {
    let amount = Usd::from_decimal(row.try_get::<Decimal, _>(2)?.normalize());
    Ok(Credit {
        id: CreditId::from_uuid(row.try_get(0)?),
        kind: CreditKind::parse(row.try_get(1)?).ok_or_else(|| unreadable("kind of credit"))?,
        amount: amount.map_err(|_| unreadable("credit"))?,
        note: row.try_get(3)?,
        created_at: row.try_get(4)?,
    })
}
