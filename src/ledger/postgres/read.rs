//! Reads: rows of the ledger become values of the domain.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::domain::budget::{Balance, BudgetRef, Unit};
use crate::domain::control::{AttemptBudget, RunControl};
use crate::domain::id::{Attempt, BudgetId, KeyId, OrganizationId, ReservationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::{Usd, add_exact};
use crate::domain::run::{OnCap, RunSnapshot, RunStanding, RunState, RunTerms};
use crate::domain::settlement::{Charge, CostSource, Flag};
use crate::domain::usage::{Tokens, Usage};

use super::super::{CallRecord, ModelUse, Page, RunKey, RunRecord};
use super::admit::unreadable;
use super::statements;

/// Begins a view in which several reads agree with each other.
const CONSISTENT_VIEW: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The `attempt` of a budget that all attempts share.
const ALL_ATTEMPTS: i32 = 0;

pub(super) async fn find(pool: &PgPool, key: RunKey) -> Result<Option<RunSnapshot>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let found = match key {
        RunKey::Id(id) => {
            sqlx::query(statements::FIND_BY_ID)
                .bind(id.uuid())
                .fetch_optional(&mut *connection)
                .await?
        }
        RunKey::Token(hash) => {
            sqlx::query(statements::FIND_BY_TOKEN)
                .bind(hash.as_bytes().as_slice())
                .fetch_optional(&mut *connection)
                .await?
        }
    };
    let Some(row) = found else { return Ok(None) };
    let mut records = vec![read_run(&row)?];
    add_budgets(&mut connection, &mut records).await?;
    Ok(records.pop().map(|record| record.run))
}

pub(super) async fn record(pool: &PgPool, run: RunId) -> Result<Option<RunRecord>, sqlx::Error> {
    let mut view = pool.begin_with(CONSISTENT_VIEW).await?;
    let found = record_on(&mut view, run).await?;
    view.rollback().await?;
    Ok(found)
}

/// What may have changed of these runs.
pub(super) async fn standings(
    pool: &PgPool,
    runs: &[RunId],
) -> Result<Vec<(RunId, RunStanding)>, sqlx::Error> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let rows = sqlx::query(statements::FIND_MANY).bind(ids).fetch_all(pool).await?;
    rows.iter().map(|row| read_run(row).map(|found| (found.run.id, found.run.standing))).collect()
}

/// The records of these runs, in no order, as seen from within a transaction.
pub(super) async fn records_on(
    connection: &mut PgConnection,
    runs: &[RunId],
) -> Result<Vec<RunRecord>, sqlx::Error> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let rows = sqlx::query(statements::FIND_MANY).bind(ids).fetch_all(&mut *connection).await?;
    let mut records = rows.iter().map(read_run).collect::<Result<Vec<_>, _>>()?;
    add_everything(connection, &mut records).await?;
    Ok(records)
}

/// A run without what it has used.
pub(super) async fn bare_on(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<Option<RunRecord>, sqlx::Error> {
    let found = sqlx::query(statements::FIND_BY_ID).bind(run.uuid());
    found.fetch_optional(connection).await?.as_ref().map(read_run).transpose()
}

async fn record_on(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<Option<RunRecord>, sqlx::Error> {
    let found = sqlx::query(statements::FIND_BY_ID)
        .bind(run.uuid())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let mut records = vec![read_run(&row)?];
    add_everything(connection, &mut records).await?;
    Ok(records.pop())
}

pub(super) async fn list(
    pool: &PgPool,
    organization: Option<OrganizationId>,
    status: Option<RunState>,
    page: Page,
) -> Result<Vec<RunRecord>, sqlx::Error> {
    let mut view = pool.begin_with(CONSISTENT_VIEW).await?;
    let rows = sqlx::query(statements::LIST)
        .bind(status.map(RunState::as_str))
        .bind(page.after)
        .bind(i64::from(page.limit))
        .bind(organization.map(OrganizationId::uuid))
        .fetch_all(&mut *view)
        .await?;
    let mut records = rows.iter().map(read_run).collect::<Result<Vec<_>, _>>()?;
    add_everything(&mut view, &mut records).await?;
    view.rollback().await?;
    Ok(records)
}

pub(super) async fn calls(
    pool: &PgPool,
    run: RunId,
    page: Page,
) -> Result<Vec<CallRecord>, sqlx::Error> {
    let rows = sqlx::query(statements::CALLS)
        .bind(run.uuid())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(read_call).collect()
}

async fn add_everything(
    connection: &mut PgConnection,
    records: &mut [RunRecord],
) -> Result<(), sqlx::Error> {
    add_budgets(connection, records).await?;
    let (ids, position) = index(records);

    for row in sqlx::query(statements::IN_FLIGHT).bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(record) = at(records, &position, row.try_get(0)?) {
            let own = own_attempt_of(&record.run);
            let is_own = own == ALL_ATTEMPTS || own == row.try_get::<i32, _>(1)?;
            let count = if is_own { &mut record.in_flight } else { &mut record.earlier_in_flight };
            *count += unsigned(row.try_get(2)?);
        }
    }
    for row in sqlx::query(statements::USED).bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(record) = at(records, &position, row.try_get(0)?) {
            add_use(record, &row)?;
        }
    }
    for row in sqlx::query(statements::REFUSALS).bind(&ids).fetch_all(&mut *connection).await? {
        if let Some(record) = at(records, &position, row.try_get(0)?) {
            record.refusals.push((row.try_get(1)?, unsigned(row.try_get(2)?)));
        }
    }
    Ok(())
}

async fn add_budgets(
    connection: &mut PgConnection,
    records: &mut [RunRecord],
) -> Result<(), sqlx::Error> {
    let (ids, position) = index(records);
    for row in sqlx::query(statements::BUDGETS).bind(&ids).fetch_all(connection).await? {
        let Some(record) = at(records, &position, row.try_get(0)?) else { continue };
        let unit = Unit::parse(row.try_get(2)?).ok_or_else(|| unreadable("unit"))?;
        let balance = Balance {
            limit: row.try_get(3)?,
            spent: row.try_get::<Decimal, _>(4)?.normalize(),
            reserved: row.try_get::<Decimal, _>(5)?.normalize(),
        };
        if unit == Unit::Usd {
            let total = add_exact(record.total_spent, balance.spent);
            record.total_spent = total.map_err(|_| unreadable("sum of costs"))?;
        }
        if row.try_get::<i32, _>(6)? != own_attempt_of(&record.run) {
            continue;
        }
        record.run.budgets.push(BudgetRef::of_run(BudgetId::from_uuid(row.try_get(1)?), unit));
        record.balances.push((unit, balance));
        let whole = u64::try_from(balance.limit.trunc()).unwrap_or(u64::MAX);
        match unit {
            Unit::Usd => {}
            Unit::Tokens => record.run.terms.token_limit = Some(Tokens::new(whole)),
            Unit::Calls => {
                record.run.terms.call_limit = Some(u32::try_from(whole).unwrap_or(u32::MAX));
            }
        }
    }
    for record in records {
        record.run.budgets.sort_by_key(|budget| budget.unit);
        record.balances.sort_by_key(|(unit, _)| *unit);
    }
    Ok(())
}

/// Which attempt the budgets are for that a run in `attempt` spends from, as it is stored.
pub(super) fn own_attempt(budget: AttemptBudget, attempt: Attempt) -> i32 {
    budget
        .of(attempt)
        .map_or(ALL_ATTEMPTS, |attempt| i32::try_from(attempt.number()).unwrap_or(i32::MAX))
}

fn own_attempt_of(run: &RunSnapshot) -> i32 {
    own_attempt(run.terms.control.attempt_budget, run.standing.attempt)
}

fn index(records: &[RunRecord]) -> (Vec<Uuid>, HashMap<Uuid, usize>) {
    let ids: Vec<Uuid> = records.iter().map(|record| record.run.id.uuid()).collect();
    let position = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    (ids, position)
}

fn at<'a>(
    records: &'a mut [RunRecord],
    position: &HashMap<Uuid, usize>,
    run: Uuid,
) -> Option<&'a mut RunRecord> {
    records.get_mut(*position.get(&run)?)
}

fn add_use(record: &mut RunRecord, row: &PgRow) -> Result<(), sqlx::Error> {
    let model: String = row.try_get(1)?;
    let source = CostSource::parse(row.try_get(2)?).ok_or_else(|| unreadable("cost source"))?;
    let calls = unsigned(row.try_get(3)?);
    if record.models.last().is_none_or(|last| last.model != model) {
        record.models.push(ModelUse { model, ..ModelUse::default() });
    }
    let Some(used) = record.models.last_mut() else { return Ok(()) };
    used.calls += calls;
    used.input_tokens += unsigned(row.try_get(4)?);
    used.cached_input_tokens += unsigned(row.try_get(5)?);
    used.output_tokens += unsigned(row.try_get(6)?);
    used.cost = add_exact(used.cost, row.try_get(7)?).map_err(|_| unreadable("sum of costs"))?;
    used.sources.push((source, calls));
    Ok(())
}

fn read_run(row: &PgRow) -> Result<RunRecord, sqlx::Error> {
    let limit = |at: usize| -> Result<Option<u32>, sqlx::Error> {
        Ok(row.try_get::<Option<i32>, _>(at)?.and_then(|value| u32::try_from(value).ok()))
    };
    let attempt = u32::try_from(row.try_get::<i32, _>(3)?).ok().and_then(Attempt::new);
    let per_call = row.try_get::<Option<i64>, _>(9)?.map(|value| Tokens::new(unsigned(value)));
    let terms = RunTerms {
        organization: OrganizationId::from_uuid(row.try_get(0)?),
        allowed_models: row.try_get(6)?,
        token_limit: None,
        call_limit: None,
        max_concurrency: limit(7)?,
        requests_per_minute: limit(8)?,
        max_output_tokens_per_call: per_call,
        on_cap: OnCap::parse(row.try_get(10)?).ok_or_else(|| unreadable("on_cap"))?,
        require_token: row.try_get(11)?,
        control: read_control(row)?,
    };
    let standing = RunStanding {
        state: RunState::parse(row.try_get(2)?).ok_or_else(|| unreadable("state"))?,
        attempt: attempt.ok_or_else(|| unreadable("attempt"))?,
        token: TokenHash::from_slice(row.try_get(4)?).ok_or_else(|| unreadable("token hash"))?,
        expires_at: row.try_get(12)?,
        cut: row.try_get(5)?,
        version: unsigned(row.try_get(17)?),
    };
    let id = RunId::from_uuid(row.try_get(1)?);
    Ok(RunRecord {
        run: RunSnapshot { id, terms, budgets: Vec::new(), standing },
        metadata: row.try_get(13)?,
        close_reason: row.try_get(14)?,
        created_at: row.try_get(15)?,
        closed_at: row.try_get(16)?,
        expired: row.try_get(18)?,
        balances: Vec::new(),
        total_spent: Decimal::ZERO,
        in_flight: 0,
        earlier_in_flight: 0,
        models: Vec::new(),
        refusals: Vec::new(),
    })
}

fn read_control(row: &PgRow) -> Result<RunControl, sqlx::Error> {
    let word: &str = row.try_get(22)?;
    let aliases: Option<&str> = row.try_get(19)?;
    let forced: Option<&str> = row.try_get(20)?;
    let forced: BTreeMap<String, Box<RawValue>> = members(forced)?;
    let raw = |(name, value): (String, Box<RawValue>)| (name, value.get().to_owned());
    Ok(RunControl {
        model_aliases: members(aliases)?,
        forced_parameters: forced.into_iter().map(raw).collect(),
        provider: row.try_get(21)?,
        own_providers: row.try_get::<Option<Vec<String>>, _>(23)?.unwrap_or_default(),
        fallback: row.try_get(24)?,
        attempt_budget: AttemptBudget::parse(word).ok_or_else(|| unreadable("attempt_budget"))?,
    })
}

/// The members of an object of `jsonb`; none where there is no object.
fn members<T: DeserializeOwned>(text: Option<&str>) -> Result<BTreeMap<String, T>, sqlx::Error> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    serde_json::from_str(text).map_err(|_| unreadable("control of a run"))
}

fn read_call(row: &PgRow) -> Result<CallRecord, sqlx::Error> {
    let tokens =
        |at: usize| -> Result<Tokens, sqlx::Error> { Ok(Tokens::new(unsigned(row.try_get(at)?))) };
    let millis = |at: usize| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(at)?.map(unsigned))
    };
    let usage = Usage {
        uncached_input: tokens(8)?,
        cached_input: tokens(9)?,
        cache_write: tokens(10)?,
        output: tokens(11)?,
        reasoning: tokens(12)?,
        ..Usage::default()
    };
    let cost = Usd::from_decimal(row.try_get::<Decimal, _>(13)?.normalize());
    let charge = Charge {
        cost: cost.map_err(|_| unreadable("cost"))?,
        usage,
        source: CostSource::parse(row.try_get(14)?).ok_or_else(|| unreadable("cost source"))?,
        flag: row.try_get::<Option<&str>, _>(15)?.and_then(Flag::parse),
    };
    let attempt = u32::try_from(row.try_get::<i32, _>(2)?).ok().and_then(Attempt::new);
    let created_at: DateTime<Utc> = row.try_get(19)?;
    Ok(CallRecord {
        id: ReservationId::from_uuid(row.try_get(0)?),
        request_id: row.try_get(1)?,
        key: row.try_get::<Option<uuid::Uuid>, _>(20)?.map(KeyId::from_uuid),
        attempt: attempt.ok_or_else(|| unreadable("attempt"))?,
        model: row.try_get(3)?,
        requested_model: row.try_get(21)?,
        provider: row.try_get(4)?,
        endpoint: row.try_get(5)?,
        price_version: row.try_get(6)?,
        charge,
        served_model: row.try_get(7)?,
        service_tier: row.try_get(22)?,
        status: row.try_get::<Option<i32>, _>(16)?.and_then(|status| u16::try_from(status).ok()),
        latency_ms: millis(17)?,
        ttfb_ms: millis(18)?,
        created_at,
    })
}

/// Counts are stored signed and are never negative.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
