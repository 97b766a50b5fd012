//! Settlement: batches of ended attempts, one statement each, until they are written.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool, Row as _};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::domain::id::ReservationId;
use crate::domain::money::Usd;
use crate::domain::settlement::{Charge, CostSource, Flag};
use crate::domain::usage::{Tokens, Usage};

use super::super::Settlement;
use super::super::queue::RunQueue;
use super::connection::LaneConnection;
use super::{Books, statements};

/// Settlements that share one statement.
const MAX_BATCH: usize = 256;
/// First and longest pause between two tries while the database is away.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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

/// Serves its inbox until the ledger is dropped and everything is written.
pub(super) async fn run_lane(
    mut inbox: mpsc::UnboundedReceiver<Job>,
    options: PgConnectOptions,
    books: Weak<Books>,
) {
    let mut connection = LaneConnection::new(options);
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while inbox.recv_many(&mut batch, MAX_BATCH).await > 0 {
        write_until_done(&mut connection, &batch).await;
        if let Some(books) = books.upgrade() {
            {
                let mut live = books.live.lock();
                for job in &batch {
                    live.remove(&job.settlement.reservation.id);
                }
            }
            books.backlog.fetch_sub(batch.len(), Ordering::AcqRel);
            books.written.notify_waiters();
        }
        for job in batch.drain(..) {
            job.queue.wake_head();
        }
    }
}

/// Writes a batch, however long the database is away. A row that the database rejects by itself is
/// booked at its worst case, so that it never blocks the others.
async fn write_until_done(connection: &mut LaneConnection, batch: &[Job]) {
    let rows: Vec<Row<'_>> = batch.iter().map(|job| Row::of(&job.settlement)).collect();
    let Err(rejected) = write_patiently(connection, &rows).await else { return };
    tracing::warn!(
        calls = batch.len(),
        error = &rejected as &dyn std::error::Error,
        "settlement.batch_rejected: writing row by row"
    );
    for row in rows {
        let Err(error) = write_patiently(connection, std::slice::from_ref(&row)).await else {
            continue;
        };
        metrics::counter!("rungate_incidents_total", "kind" => Flag::RowRejected.as_str())
            .increment(1);
        tracing::error!(
            call.id = %row.settlement.reservation.id,
            error = &error as &dyn std::error::Error,
            "settlement.row_rejected: booking the worst case"
        );
        let plain = row.at_worst_case();
        if let Err(error) = write_patiently(connection, std::slice::from_ref(&plain)).await {
            tracing::error!(
                call.id = %plain.settlement.reservation.id,
                error = &error as &dyn std::error::Error,
                "settlement.lost: left reserved for an operator; run `rungate ledger check`"
            );
        }
    }
}

/// Retries while the database is away or busy.
///
/// # Errors
/// Only if the database understood the batch and rejects it.
async fn write_patiently(
    connection: &mut LaneConnection,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        match connection.run(async |c| settle_batch(c, rows).await).await {
            Ok(moved) => {
                if moved.len() < rows.len() {
                    connection.run(async |c| report_late(c, rows, &moved).await).await.ok();
                }
                return Ok(());
            }
            Err(error) if is_rejection(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(
                    calls = rows.len(),
                    error = &error as &dyn std::error::Error,
                    "settlement.delayed: the database did not take it; trying again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether the database will never take this batch: bad data (22), a violated constraint (23), or
/// an exception raised by the function (P0).
fn is_rejection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("22") || code.starts_with("23") || code.starts_with("P0")
        }),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// One row of a settlement statement.
struct Row<'a> {
    settlement: &'a Settlement,
    charge: Charge,
    served_model: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(settlement: &'a Settlement) -> Self {
        let outcome = &settlement.outcome;
        Self { settlement, charge: outcome.charge, served_model: outcome.served_model.as_deref() }
    }

    /// The same attempt at its worst case, without anything that the provider said.
    fn at_worst_case(&self) -> Self {
        let reserved = &self.settlement.reservation.amounts;
        let usage = Usage { uncached_input: reserved.tokens, ..Usage::default() };
        let charge = Charge {
            cost: reserved.usd,
            usage,
            source: CostSource::WorstCase,
            flag: Some(Flag::RowRejected),
        };
        Self { settlement: self.settlement, charge, served_model: None }
    }
}

async fn settle_batch(
    connection: &mut PgConnection,
    rows: &[Row<'_>],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let mut budgets: Vec<Uuid> = rows
        .iter()
        .flat_map(|row| row.settlement.reservation.budgets.iter().map(|budget| budget.id.uuid()))
        .collect();
    budgets.sort_unstable();
    budgets.dedup();
    let tokens = |f: fn(&Usage) -> Tokens| -> Vec<i64> {
        rows.iter().map(|row| f(&row.charge.usage).signed()).collect()
    };
    let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);

    sqlx::query(statements::SETTLE)
        .bind(budgets)
        .bind(rows.iter().map(|row| row.settlement.reservation.id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.served_model).collect::<Vec<_>>())
        .bind(tokens(|usage| usage.uncached_input))
        .bind(tokens(|usage| usage.cached_input))
        .bind(tokens(|usage| usage.cache_write))
        .bind(tokens(|usage| usage.output))
        .bind(tokens(|usage| usage.reasoning))
        .bind(rows.iter().map(|row| row.charge.cost.decimal()).collect::<Vec<Decimal>>())
        .bind(rows.iter().map(|row| row.charge.source.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.charge.flag.map(Flag::as_str)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| i32::from(row.settlement.outcome.status)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| millis(row.settlement.outcome.latency_ms)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.settlement.outcome.ttfb_ms.map(millis)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect()
}

/// Tells of settlements that found no reservation: booked before with the same cost (a batch that
/// was sent twice: nothing to tell), or with another (swept as lost).
async fn report_late(
    connection: &mut PgConnection,
    rows: &[Row<'_>],
    moved: &[Uuid],
) -> Result<(), sqlx::Error> {
    let late: HashMap<Uuid, &Row<'_>> = rows
        .iter()
        .map(|row| (row.settlement.reservation.id.uuid(), row))
        .filter(|(id, _)| !moved.contains(id))
        .collect();
    let ids: Vec<Uuid> = late.keys().copied().collect();
    let booked = sqlx::query(statements::BOOKED_COSTS).bind(&ids).fetch_all(connection).await?;
    let mut found = HashMap::new();
    for row in &booked {
        found.insert(row.try_get::<Uuid, _>(0)?, row.try_get::<Decimal, _>(1)?);
    }
    for (id, row) in late {
        let cost = row.charge.cost;
        match found.get(&id).map(|booked| Usd::from_decimal(*booked)) {
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
