//! Settlement: what a batch of ended attempts looks like to the database, and what happens to one
//! that the database rejects.

use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::domain::id::{GatewayId, ReservationId};
use crate::domain::money::Usd;
use crate::domain::reservation::are_shared;
use crate::domain::settlement::{Charge, CostSource, Flag};
use crate::domain::usage::Usage;

use super::super::Settlement;
use super::super::queue::RunQueue;
use super::connection::LaneConnection;
use super::statements;
use super::step::{self, EndRow, step};

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
    service_tier: Option<&'a str>,
}

/// A batch of ended attempts as one statement takes it.
pub(super) struct Ended<'a>(Vec<Row<'a>>);

/// How far the writing of one attempt that the database rejects has come.
pub(super) enum Written {
    /// It is in the ledger, as it was or at its worst case.
    Yes,
    /// The database is away; try again.
    NotYet,
    /// Somebody holds its budgets locked; try again.
    Locked,
    /// The database rejects it in every form. It stays reserved, for an operator.
    Never,
}

impl<'a> Ended<'a> {
    pub(super) fn of(jobs: &'a [Job]) -> Self {
        Self(jobs.iter().map(|job| Row::of(&job.settlement)).collect())
    }

    /// Nothing.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Their budgets, as they come.
    pub(super) fn budgets(&self) -> impl Iterator<Item = Uuid> {
        let budgets = self.0.iter().flat_map(|row| &row.settlement.reservation.budgets);
        budgets.map(|budget| budget.id.uuid())
    }

    /// Whether any of their budgets is not a run's.
    pub(super) fn are_shared(&self) -> bool {
        self.0.iter().any(|row| are_shared(&row.settlement.reservation.budgets))
    }

    /// The calls that were served in another tier than the default one, and those tiers.
    pub(super) fn tiers(&self) -> (Vec<Uuid>, Vec<&'a str>) {
        let tiered = self.0.iter().filter_map(|row| {
            let tier = row.service_tier?;
            Some((row.settlement.reservation.id.uuid(), tier))
        });
        tiered.unzip()
    }

    /// The batch as the statement takes it.
    pub(super) fn rows(&self) -> Vec<EndRow<'a>> {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let row = |row: &Row<'a>| {
            let (usage, outcome) = (&row.charge.usage, &row.settlement.outcome);
            EndRow {
                id: row.settlement.reservation.id.uuid(),
                served_model: row.served_model,
                uncached: usage.uncached_input.signed(),
                cached: usage.cached_input.signed(),
                cache_write: usage.cache_write.signed(),
                output: usage.output.signed(),
                reasoning: usage.reasoning.signed(),
                cost: row.charge.cost.decimal(),
                source: row.charge.source.as_str(),
                flag: row.charge.flag.map(Flag::as_str),
                status: Some(i32::from(outcome.status)),
                latency_ms: Some(millis(outcome.latency_ms)),
                ttfb_ms: outcome.ttfb_ms.map(millis),
            }
        };
        self.0.iter().map(row).collect()
    }

    /// Writes the batch.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        gateway: GatewayId,
    ) -> Result<(), sqlx::Error> {
        let stepped = step(connection, gateway, self, &[]).await?;
        self.report_late(connection, &stepped.moved).await
    }

    /// Tells of settlements that found no reservation: booked before with the same cost (a batch
    /// that was sent twice: nothing to tell), or with another (swept as lost).
    pub(super) async fn report_late(
        &self,
        connection: &mut PgConnection,
        moved: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        if moved.len() >= self.0.len() {
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
        Self {
            settlement,
            charge: outcome.charge,
            served_model: outcome.served_model.as_deref(),
            service_tier: outcome.service_tier.as_deref(),
        }
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
        Self { settlement, charge, served_model: None, service_tier: None }
    }
}

/// Writes one attempt of a batch that the database rejected: as it is, else at its worst case.
pub(super) async fn write_alone(
    connection: &mut LaneConnection,
    gateway: GatewayId,
    job: &Job,
) -> Written {
    let alone = Ended::of(std::slice::from_ref(job));
    let error = match connection.run(async |c| alone.write(c, gateway).await).await {
        Ok(()) => return Written::Yes,
        Err(error) if is_rejection(&error) => error,
        Err(error) => return delayed(&error),
    };
    let id = job.settlement.reservation.id;
    metrics::counter!("rungate_incidents_total", "kind" => Flag::RowRejected.as_str()).increment(1);
    tracing::error!(
        call.id = %id,
        error = &error as &dyn std::error::Error,
        "settlement.row_rejected: booking the worst case"
    );
    let plain = Ended(vec![Row::at_worst_case(&job.settlement)]);
    match connection.run(async |c| plain.write(c, gateway).await).await {
        Ok(()) => Written::Yes,
        Err(error) if is_rejection(&error) => {
            tracing::error!(
                call.id = %id,
                error = &error as &dyn std::error::Error,
                "settlement.lost: left reserved for an operator; run `rungate ledger check`"
            );
            Written::Never
        }
        Err(error) => delayed(&error),
    }
}

fn delayed(error: &sqlx::Error) -> Written {
    if is_contention(error) { Written::Locked } else { Written::NotYet }
}

/// Whether the database will never take this: bad data (22), a violated constraint (23), a limit of
/// the program (54), or an exception raised by the function (P0).
pub(super) fn is_rejection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["22", "23", "54", "P0"].iter().any(|bad| code.starts_with(bad))),
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
    let row = |found: &Stale| EndRow {
        id: found.id.uuid(),
        served_model: None,
        uncached: 0,
        cached: 0,
        cache_write: 0,
        output: 0,
        reasoning: 0,
        cost: Decimal::ZERO,
        source: CostSource::None.as_str(),
        flag: Some(Flag::Orphaned.as_str()),
        status: None,
        latency_ms: None,
        ttfb_ms: None,
    };
    let ends = stale.iter().map(row).collect();
    let query = step::query(statements::STEP, None, (&budgets, true), &[], ends, Vec::new());
    let moved = query.fetch_all(pool).await?;
    Ok(moved.len() as u64)
}
