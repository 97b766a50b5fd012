//! Prepaid credits in Postgres: a budget whose limit is the sum of what was put in.

use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::domain::budget::{Scope, Unit, Window};
use crate::domain::id::{BudgetId, CreditId, KeyId, OrganizationId, RunId};
use crate::domain::money::{Usd, add_exact};

use super::super::Page;
use super::super::credits::{Credit, CreditKind, History, Movement, Transaction};
use super::super::organizations::{BudgetStanding, OrganizationsError};
use super::admit::unreadable;
use super::audit;
use super::organizations::{CHANGED, LOCK_ORGANIZATION, insert_budget, standings};

/// What a call's row is called among transactions.
const CHARGE: &str = "charge";

/// Books an amount, once for each id.
const ADD: &str = "INSERT INTO credit_transactions (organization_id, id, kind, amount_usd, note) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

/// Locks the prepaid budget.
const LOCK: &str = "SELECT id, limit_amount FROM budgets \
    WHERE scope = 'credits' AND scope_id = $1 ORDER BY id FOR UPDATE";

/// Raises it.
const RAISE: &str = "UPDATE budgets SET limit_amount = $2 WHERE id = $1";

const FIND: &str = "SELECT id, kind, amount_usd, note, created_at FROM credit_transactions \
    WHERE organization_id = $1 AND id = $2";

/// What was put in and what was charged, the newest first: at most `$3` of what stands before the
/// position `$2`. The position of a credit is its time, as ids of calls tell it, and its id.
const HISTORY: &str = "WITH put_in AS (SELECT (left(ledger_first_id(created_at)::text, 13) \
            || '-' || right(id::text, 22))::uuid AS position, id, kind, amount_usd, note, \
            NULL::uuid AS run_id, NULL::uuid AS key_id, NULL::text AS model, created_at \
        FROM credit_transactions WHERE organization_id = $1), \
    charged AS (SELECT c.id AS position, c.id, 'charge', c.cost_usd::numeric, '', c.run_id, \
            c.key_id, c.model::text, c.created_at FROM calls c \
        WHERE c.organization_id = $1 AND c.prepaid AND c.cost_usd > 0 \
        AND c.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') \
        ORDER BY c.id DESC LIMIT $3) \
    SELECT * FROM (SELECT * FROM put_in \
        WHERE position < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') \
        UNION ALL SELECT * FROM charged) t ORDER BY position DESC LIMIT $3";

/// Charges of calls that are kept in no partition any more.
const RETIRED: &str = "SELECT coalesce(sum(r.spent), 0) FROM budgets b \
    JOIN retired_budgets r ON r.budget_id = b.id WHERE b.scope = 'credits' AND b.scope_id = $1";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 6] = [ADD, LOCK, RAISE, FIND, HISTORY, RETIRED];

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

pub(super) async fn find(
    pool: &PgPool,
    organization: OrganizationId,
    id: CreditId,
) -> Result<Option<Credit>, sqlx::Error> {
    let asked = sqlx::query(FIND).bind(organization.uuid()).bind(id.uuid());
    asked.fetch_optional(pool).await?.map(|row| read(&row, 0)).transpose()
}

pub(super) async fn history(
    pool: &PgPool,
    organization: OrganizationId,
    page: Page,
) -> Result<History, sqlx::Error> {
    let rows = sqlx::query(HISTORY)
        .bind(organization.uuid())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(pool)
        .await?;
    let retired: Decimal =
        sqlx::query_scalar(RETIRED).bind(organization.uuid()).fetch_one(pool).await?;
    let transactions = rows.iter().map(read_transaction).collect::<Result<_, _>>()?;
    Ok(History { transactions, retired: retired.normalize() })
}

fn read_transaction(row: &PgRow) -> Result<Transaction, sqlx::Error> {
    let position = row.try_get(0)?;
    if row.try_get::<&str, _>(2)? != CHARGE {
        return Ok(Transaction { position, movement: Movement::Credit(read(row, 1)?) });
    }
    let movement = Movement::Charge {
        call: row.try_get(1)?,
        cost: row.try_get::<Decimal, _>(3)?.normalize(),
        run: row.try_get::<Option<Uuid>, _>(5)?.map(RunId::from_uuid),
        key: row.try_get::<Option<Uuid>, _>(6)?.map(KeyId::from_uuid),
        model: row.try_get(7)?,
        created_at: row.try_get(8)?,
    };
    Ok(Transaction { position, movement })
}

/// The credit whose columns begin at `at`; its time is the row's last one.
fn read(row: &PgRow, at: usize) -> Result<Credit, sqlx::Error> {
    let amount = Usd::from_decimal(row.try_get::<Decimal, _>(at + 2)?.normalize());
    Ok(Credit {
        id: CreditId::from_uuid(row.try_get(at)?),
        kind: CreditKind::parse(row.try_get(at + 1)?)
            .ok_or_else(|| unreadable("kind of credit"))?,
        amount: amount.map_err(|_| unreadable("credit"))?,
        note: row.try_get(at + 3)?,
        created_at: row.try_get("created_at")?,
    })
}
