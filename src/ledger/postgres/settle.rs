//! Settlement: what a batch of ended attempts looks like to the database, and what happens to one
//! that the database rejects.

use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, PgPool, Postgres, Row as _};
use uuid::Uuid;

use crate::domain::id::ReservationId;
use crate::domain::money::Usd;
use crate::domain::settlement::{Charge, CostSource, Flag};
use crate::domain::usage::{Tokens, Usage};

use super::super::Settlement;
use super::super::queue::RunQueue;
use super::connection::LaneConnection;
use super::statements;

/// One ended attempt, and whom to wake when it is written.
pub(super) struct Job {
    pub(super) settlement: Settlement,
    pub(super) queue: Arc<RunQueue>,
}

/// A reservation that is to be released without an outcome.
pub(super) struct Stale {
    pub(super) id: ReservationId,
    pub(super) budgets: Vec<Uuid>,
}

/// One row of a settlement statement.
struct Row<'a> {
    settlement: &'a Settlement,
    charge: Charge,
    served_model: Option<&'a str>,
}

/// A batch of ended attempts as one statement takes it.
pub(super) struct Rows<'a>(Vec<Row<'a>>);

/// How far the writing of one attempt that the database rejects has come.
pub(super) enum Written {
    /// It is in the ledger, as it was or at its worst case.
    Yes,
    /// The database is away; try again.
    NotYet,
    /// The database rejects it in every form. It stays reserved, for an operator.
    Never,
}

impl<'a> Rows<'a> {
    pub(super) fn of(jobs: &'a [Job]) -> Self {
        Self(jobs.iter().map(|job| Row::of(&job.settlement)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The distinct budgets, ascending.
    pub(super) fn budgets(&self) -> Vec<Uuid> {
        let budgets = self.0.iter().flat_map(|row| &row.settlement.reservation.budgets);
        let mut budgets: Vec<Uuid> = budgets.map(|budget| budget.id.uuid()).collect();
        budgets.sort_unstable();
        budgets.dedup();
        budgets
    }

    fn column<T>(&self, of: impl Fn(&Row<'a>) -> T) -> Vec<T> {
        self.0.iter().map(of).collect()
    }

    fn tokens(&self, of: fn(&Usage) -> Tokens) -> Vec<i64> {
        self.column(|row| of(&row.charge.usage).signed())
    }

    /// Binds the parameters of `ledger_settle`.
    pub(super) fn bind(
        &self,
        query: Query<'a, Postgres, PgArguments>,
    ) -> Query<'a, Postgres, PgArguments> {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        query
            .bind(self.budgets())
            .bind(self.column(|row| row.settlement.reservation.id.uuid()))
            .bind(self.column(|row| row.served_model))
            .bind(self.tokens(|usage| usage.uncached_input))
            .bind(self.tokens(|usage| usage.cached_input))
            .bind(self.tokens(|usage| usage.cache_write))
            .bind(self.tokens(|usage| usage.output))
            .bind(self.tokens(|usage| usage.reasoning))
            .bind(self.column(|row| row.charge.cost.decimal()))
            .bind(self.column(|row| row.charge.source.as_str()))
            .bind(self.column(|row| row.charge.flag.map(Flag::as_str)))
            .bind(self.column(|row| i32::from(row.settlement.outcome.status)))
            .bind(self.column(|row| millis(row.settlement.outcome.latency_ms)))
            .bind(self.column(|row| row.settlement.outcome.ttfb_ms.map(millis)))
    }

    /// Writes the batch.
    pub(super) async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows = self.bind(sqlx::query(statements::SETTLE)).fetch_all(&mut *connection).await?;
        let moved = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
        self.report_late(connection, &moved).await
    }

    /// Tells of settlements that found no reservation: booked before with the same cost (a batch
    /// that was sent twice: nothing to tell), or with another (swept as lost).
    pub(super) async fn report_late(
        &self,
        connection: &mut PgConnection,
        moved: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        if moved.len() >= self.len() {
            return Ok(());
        }
        let id_of = |row: &Row<'_>| row.settlement.reservation.id.uuid();
        let late: Vec<&Row<'_>> =
            self.0.iter().filter(|row| !moved.contains(&id_of(row))).collect();
        let ids: Vec<Uuid> = late.iter().map(|row| id_of(row)).collect();
        let mut booked = HashMap::new();
        for row in sqlx::query(statements::BOOKED_COSTS).bind(ids).fetch_all(connection).await? {
            booked.insert(row.try_get::<Uuid, _>(0)?, row.try_get::<Decimal, _>(1)?);
        }
        for row in late {
            let (id, cost) = (id_of(row), row.charge.cost);
            match booked.get(&id).map(|booked| Usd::from_decimal(*booked)) {
                Some(Ok(booked)) if booked == cost => {}
                booked => {
                    metrics::counter!("rungate_incidents_total", "kind" => "late_settlement")
                        .increment(1);
                    tracing::error!(
                        call.id = %id, cost_usd = %cost, ?booked,
                        "settlement.late: the reservation had ended before; nothing was changed"
                    );
                }
            }
        }
        Ok(())
    }
}

impl<'a> Row<'a> {
    fn of(settlement: &'a Settlement) -> Self {
        let outcome = &settlement.outcome;
        Self { settlement, charge: outcome.charge, served_model: outcome.served_model.as_deref() }
    }

    /// The same attempt at its worst case, without anything that the provider said.
    fn at_worst_case(settlement: &'a Settlement) -> Self {
        let reserved = &settlement.reservation.amounts;
        let charge = Charge {
            cost: reserved.usd,
            usage: Usage { uncached_input: reserved.tokens, ..Usage::default() },
            source: CostSource::WorstCase,
            flag: Some(Flag::RowRejected),
        };
        Self { settlement, charge, served_model: None }
    }
}

/// Writes one attempt of a batch that the database rejected: as it is, else at its worst case.
pub(super) async fn write_alone(connection: &mut LaneConnection, job: &Job) -> Written {
    let alone = Rows::of(std::slice::from_ref(job));
    let error = match connection.run(async |c| alone.run(c).await).await {
        Ok(()) => return Written::Yes,
        Err(error) if is_rejection(&error) => error,
        Err(_) => return Written::NotYet,
    };
    let id = job.settlement.reservation.id;
    metrics::counter!("rungate_incidents_total", "kind" => Flag::RowRejected.as_str()).increment(1);
    tracing::error!(
        call.id = %id,
        error = &error as &dyn std::error::Error,
        "settlement.row_rejected: booking the worst case"
    );
    let plain = Rows(vec![Row::at_worst_case(&job.settlement)]);
    match connection.run(async |c| plain.run(c).await).await {
        Ok(()) => Written::Yes,
        Err(error) if is_rejection(&error) => {
            tracing::error!(
                call.id = %id,
                error = &error as &dyn std::error::Error,
                "settlement.lost: left reserved for an operator; run `rungate ledger check`"
            );
            Written::Never
        }
        Err(_) => Written::NotYet,
    }
}

/// Whether the database will never take this: bad data (22), a violated constraint (23), or an
/// exception raised by the function (P0).
pub(super) fn is_rejection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("22") || code.starts_with("23") || code.starts_with("P0")
        }),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// Whether somebody else's lock stood in the way: a lock or a statement that took too long (55P03,
/// 57014), or a deadlock (40P01).
pub(super) fn is_contention(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["55P03", "57014", "40P01"].contains(&&*code))
}

/// Releases reservations on which nothing was sent.
pub(super) async fn release(pool: &PgPool, stale: &[Stale]) -> Result<u64, sqlx::Error> {
    if stale.is_empty() {
        return Ok(0);
    }
    let mut budgets: Vec<Uuid> = stale.iter().flat_map(|found| found.budgets.clone()).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let count = stale.len();
    let zeros = vec![0_i64; count];
    let moved = sqlx::query(statements::SETTLE)
        .bind(budgets)
        .bind(stale.iter().map(|found| found.id.uuid()).collect::<Vec<_>>())
        .bind(vec![None::<&str>; count])
        .bind(&zeros)
        .bind(&zeros)
        .bind(&zeros)
        .bind(&zeros)
        .bind(&zeros)
        .bind(vec![Decimal::ZERO; count])
        .bind(vec![CostSource::None.as_str(); count])
        .bind(vec![Some(Flag::Orphaned.as_str()); count])
        .bind(vec![None::<i32>; count])
        .bind(vec![None::<i64>; count])
        .bind(vec![None::<i64>; count])
        .fetch_all(pool)
        .await?;
    Ok(moved.len() as u64)
}
