//! The one statement of a lane: what ends and what begins, in one round trip and one commit.

use rust_decimal::Decimal;
use sqlx::postgres::{PgArguments, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{Encode, PgConnection, Postgres, Row as _, Type};
use uuid::Uuid;

use crate::domain::id::GatewayId;
use crate::domain::reservation::are_shared;

use super::admit::{self, Verdict, read_verdict};
use super::settle::Ended;
use super::statements;

/// One call that wants in, as the type `ledger_ask_v4` has it.
#[derive(Encode)]
pub(super) struct AskRow<'a> {
    pub(super) id: Uuid,
    pub(super) run: Option<Uuid>,
    pub(super) token_hash: Option<&'a [u8]>,
    /// Where its key is among the batch's, from 1.
    pub(super) key_at: Option<i32>,
    pub(super) key_hash: Option<&'a [u8]>,
    pub(super) payer_version: i64,
    pub(super) key_version: i64,
    pub(super) behind: bool,
    /// Where its budgets are among the batch's, from 1, in the order of checking.
    pub(super) positions: Vec<i32>,
    pub(super) budget_ids: Vec<Uuid>,
    pub(super) usd: Decimal,
    pub(super) tokens: i64,
    pub(super) request_id: &'a str,
    pub(super) model: &'a str,
    pub(super) requested_model: Option<&'a str>,
    pub(super) provider: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) price_version: &'a str,
    pub(super) input_bound: i64,
    pub(super) output_bound: i64,
}

/// One attempt that has ended, as the type `ledger_end` has it.
#[derive(Encode)]
pub(super) struct EndRow<'a> {
    pub(super) id: Uuid,
    pub(super) served_model: Option<&'a str>,
    pub(super) uncached: i64,
    pub(super) cached: i64,
    pub(super) cache_write: i64,
    pub(super) output: i64,
    pub(super) reasoning: i64,
    pub(super) cost: Decimal,
    pub(super) source: &'static str,
    pub(super) flag: Option<&'static str>,
    pub(super) status: Option<i32>,
    pub(super) latency_ms: Option<i64>,
    pub(super) ttfb_ms: Option<i64>,
}

impl Type<Postgres> for AskRow<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("ledger_ask_v4")
    }
}

impl PgHasArrayType for AskRow<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("ledger_ask_v4")
    }
}

impl Type<Postgres> for EndRow<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("ledger_end")
    }
}

impl PgHasArrayType for EndRow<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("ledger_end")
    }
}

/// What the statement answered.
pub(super) struct Stepped {
    /// The settlements that moved a reservation.
    pub(super) moved: Vec<Uuid>,
    /// One for each ask, in their order.
    pub(super) verdicts: Vec<Verdict>,
}

/// Settles and then admits, in one statement; either may be nothing.
pub(super) async fn step(
    connection: &mut PgConnection,
    gateway: GatewayId,
    ended: &Ended<'_>,
    asks: &[admit::Job],
) -> Result<Stepped, sqlx::Error> {
    let mut budgets: Vec<Uuid> = ended.budgets().chain(admit::budgets(asks)).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let keys = admit::keys(asks);
    let shared = ended.are_shared() || asks.iter().any(|job| are_shared(&job.ask.budgets));
    let ask_rows = admit::rows(asks, &budgets, &keys);
    let (tiered, tiers) = ended.tiers();
    let statement = if tiered.is_empty() { statements::STEP } else { statements::STEP_TIERED };
    let budgets = (budgets.as_slice(), shared);
    let mut query = query(statement, Some(gateway), budgets, &keys, ended.rows(), ask_rows);
    if !tiered.is_empty() {
        query = query.bind(tiered).bind(tiers);
    }
    let stepped = read(&query.fetch_all(&mut *connection).await?)?;
    if stepped.verdicts.len() != asks.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(stepped)
}

/// The statement with its parameters; `budgets` and `keys` are distinct and ascending, and `shared`
/// says whether some of the budgets may be other than runs'.
pub(super) fn query<'q>(
    statement: &'static str,
    gateway: Option<GatewayId>,
    (budgets, shared): (&[Uuid], bool),
    keys: &[Uuid],
    ends: Vec<EndRow<'_>>,
    asks: Vec<AskRow<'_>>,
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(gateway.map(GatewayId::uuid))
        .bind(budgets)
        .bind(shared)
        .bind(keys)
        .bind(ends)
        .bind(asks)
}

fn read(rows: &[PgRow]) -> Result<Stepped, sqlx::Error> {
    let mut stepped = Stepped { moved: Vec::new(), verdicts: Vec::new() };
    for row in rows {
        match row.try_get::<Option<Uuid>, _>(0)? {
            Some(id) => stepped.moved.push(id),
            None => stepped.verdicts.push(read_verdict(row)?),
        }
    }
    Ok(stepped)
}
