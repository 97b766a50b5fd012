//! `rungate ledger check`: recomputes every sum of the ledger from its rows.

use rust_decimal::Decimal;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::statements;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub String);

/// What was looked at, and what does not hold.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs in the ledger.
    pub runs: i64,
    /// Budgets in the ledger.
    pub budgets: i64,
    /// Reservations in flight.
    pub reservations: i64,
    /// Ended calls.
    pub calls: i64,
    /// Reservations of dead gateways that no sweep has reached yet.
    pub unswept: i64,
    /// What does not hold; empty if all is well.
    pub findings: Vec<Finding>,
}

/// Recomputes every sum, in one consistent view of the database.
///
/// # Errors
/// If the database fails.
pub async fn check(pool: &PgPool) -> Result<Report, sqlx::Error> {
    let mut view = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *view).await?;
    let counts = sqlx::query(statements::CHECK_COUNTS).fetch_one(&mut *view).await?;
    let mut report = Report {
        runs: counts.try_get(0)?,
        budgets: counts.try_get(1)?,
        reservations: counts.try_get(2)?,
        calls: counts.try_get(3)?,
        unswept: counts.try_get(4)?,
        findings: Vec::new(),
    };
    for row in sqlx::query(statements::CHECK_SUMS).fetch_all(&mut *view).await? {
        let (budget, scope): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
        let unit: String = row.try_get(2)?;
        let numbers: [Decimal; 4] =
            [row.try_get(3)?, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?];
        let [spent, calls, reserved, reservations] = numbers.map(|number| number.normalize());
        report.findings.push(Finding(format!(
            "budget {budget} ({unit}) of {scope}: spent is {spent} but its calls sum to \
             {calls}; reserved is {reserved} but its reservations sum to {reservations}"
        )));
    }
    for row in sqlx::query(statements::CHECK_LIMITS).fetch_all(&mut *view).await? {
        let (budget, scope): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
        let unit: String = row.try_get(2)?;
        let (limit, taken): (Decimal, Decimal) = (row.try_get(3)?, row.try_get(4)?);
        report.findings.push(Finding(format!(
            "budget {budget} ({unit}) of {scope}: {} is taken of a limit of {}, and \
             no lowered limit or overrun of a provider explains it",
            taken.normalize(),
            limit.normalize()
        )));
    }
    for statement in [statements::CHECK_ROWS, statements::CHECK_OWNERS] {
        for row in sqlx::query(statement).fetch_all(&mut *view).await? {
            let (id, what): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
            report.findings.push(Finding(format!("call {id} {what}")));
        }
    }
    for row in sqlx::query(statements::CHECK_ATTEMPTS).fetch_all(&mut *view).await? {
        let (id, kind, what): (Uuid, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        report.findings.push(Finding(format!("{kind} {id} {what}")));
    }
    for row in sqlx::query(statements::CHECK_USAGE).fetch_all(&mut *view).await? {
        let (organization, what): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
        report.findings.push(Finding(format!("organization {organization}: {what}")));
    }
    view.rollback().await?;
    Ok(report)
}
