//! The registry of runs. Whoever changes a run first locks its budgets in the same transaction, so
//! that an admission sees either all of the change or none of it.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use crate::domain::budget::{Scope, Unit, Window};
use crate::domain::control::AttemptBudget;
use crate::domain::id::{Attempt, BudgetId, OrganizationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::run::{Registration, RunPatch, RunSnapshot, RunState, StateAdmission};

use super::super::{Close, LedgerError, Registered, RunRecord, RunsError};
use super::providers::of_runs;
use super::{audit, read, statements};

impl From<sqlx::Error> for RunsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(LedgerError::Unavailable(Box::new(error)))
    }
}

pub(super) async fn register(
    pool: &PgPool,
    registrations: Vec<(Registration, TokenHash)>,
) -> Result<Vec<Registered>, RunsError> {
    let mut transaction = audit::begin(pool).await?;
    let mut outcomes = HashMap::with_capacity(registrations.len());
    // In the order of their ids, so that two overlapping batches cannot wait for each other. The
    // same id twice in a batch is inserted once and then compared.
    let mut ordered: Vec<_> = registrations.iter().collect();
    ordered.sort_by_key(|(registration, _)| registration.id);
    for (registration, token) in ordered {
        let is_new = insert(&mut transaction, registration, token).await?;
        if !is_new && !is_same(&mut transaction, registration).await? {
            return Err(RunsError::Conflict(registration.id));
        }
        *outcomes.entry(registration.id).or_insert(false) |= is_new;
    }
    let ids: Vec<_> = outcomes.keys().copied().collect();
    let records = read::records_on(&mut transaction, &ids).await?;
    let records: HashMap<_, _> =
        records.into_iter().map(|record| (record.run.id, record)).collect();
    let mut registered = Vec::with_capacity(registrations.len());
    for (registration, _) in &registrations {
        let id = registration.id;
        let record = records.get(&id).cloned().ok_or(RunsError::NotFound)?;
        // The first mention made it; a repetition finds it existing.
        let is_new = outcomes.insert(id, false).unwrap_or(false);
        registered.push(if is_new {
            Registered::New(record)
        } else {
            Registered::Existing(record)
        });
    }
    transaction.commit().await?;
    Ok(registered)
}

async fn insert(
    connection: &mut PgConnection,
    registration: &Registration,
    token: &TokenHash,
) -> Result<bool, sqlx::Error> {
    let terms = &registration.terms;
    let control = &terms.control;
    let signed = |value: Option<u32>| value.map(|value| i32::try_from(value).unwrap_or(i32::MAX));
    let over = registration.status.admission() == StateAdmission::Closed;
    let inserted = sqlx::query(statements::INSERT_RUN)
        .bind(terms.organization.uuid())
        .bind(registration.id.uuid())
        .bind(registration.status.as_str())
        .bind(token.as_bytes().as_slice())
        .bind(terms.allowed_models.as_deref())
        .bind(signed(terms.max_concurrency))
        .bind(signed(terms.requests_per_minute))
        .bind(terms.max_output_tokens_per_call.map(|tokens| tokens.signed()))
        .bind(terms.on_cap.as_str())
        .bind(terms.require_token)
        .bind(registration.expires_at)
        .bind(registration.metadata.as_str())
        .bind(registration.fingerprint.as_slice())
        .bind(over)
        .bind(registration.status == RunState::Cancelled)
        .bind(object(&control.model_aliases, |model| serde_json::Value::from(model).to_string()))
        .bind(object(&control.forced_parameters, str::to_owned))
        .bind(control.provider.as_deref())
        .bind(control.attempt_budget.as_str())
        .bind((!control.own_providers.is_empty()).then_some(&control.own_providers))
        .bind(control.fallback)
        .execute(&mut *connection)
        .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    let run = (terms.organization, registration.id);
    of_runs::insert(connection, run, &registration.providers).await?;
    let limits = [
        (Unit::Calls, terms.call_limit.map(Decimal::from)),
        (Unit::Tokens, terms.token_limit.map(|tokens| Decimal::from(tokens.count()))),
        (Unit::Usd, Some(registration.cost_limit.decimal())),
    ];
    let attempt = read::own_attempt(control.attempt_budget, Attempt::FIRST);
    for (unit, limit) in limits {
        let Some(limit) = limit else { continue };
        insert_budget(connection, run, (unit.as_str(), limit), attempt).await?;
    }
    Ok(true)
}

/// Gives a run a budget in a unit, for one attempt or for all.
async fn insert_budget(
    connection: &mut PgConnection,
    (organization, run): (OrganizationId, RunId),
    (unit, limit): (&str, Decimal),
    attempt: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(statements::INSERT_BUDGET)
        .bind(organization.uuid())
        .bind(BudgetId::generate().uuid())
        .bind(Scope::Run.as_str())
        .bind(run.uuid())
        .bind(unit)
        .bind(Window::Lifetime.as_str())
        .bind(limit)
        .bind(attempt)
        .execute(connection)
        .await?;
    Ok(())
}

/// The text of a JSON object; `None` if it would be empty.
fn object(members: &BTreeMap<String, String>, value: impl Fn(&str) -> String) -> Option<String> {
    let member = |(name, raw): (&String, &String)| {
        format!("{}:{}", serde_json::Value::from(name.as_str()), value(raw))
    };
    let members: Vec<String> = members.iter().map(member).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

async fn is_same(
    connection: &mut PgConnection,
    registration: &Registration,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(statements::FINGERPRINT)
        .bind(registration.id.uuid())
        .fetch_optional(connection)
        .await?;
    let known: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(known.is_some_and(|known| known == registration.fingerprint))
}

/// A run whose budgets are locked, and what it looks like behind the locks. Nothing is summed up
/// while they are held: admissions of the run wait for them.
struct Locked<'a> {
    pool: &'a PgPool,
    transaction: Transaction<'a, Postgres>,
    usd_budget: Uuid,
    spent: Decimal,
    /// What its current attempt may take of each unit.
    limits: Vec<(String, Decimal)>,
    before: RunRecord,
}

async fn lock(pool: &PgPool, run: RunId) -> Result<Locked<'_>, RunsError> {
    loop {
        let mut transaction = audit::begin(pool).await?;
        let rows = sqlx::query(statements::LOCK_BUDGETS).bind(run.uuid());
        let rows = rows.fetch_all(&mut *transaction).await?;
        if rows.is_empty() {
            return Err(RunsError::NotFound);
        }
        let before = read::bare_on(&mut transaction, run).await?.ok_or(RunsError::NotFound)?;
        let (terms, standing) = (&before.run.terms, before.run.standing);
        let own = read::own_attempt(terms.control.attempt_budget, standing.attempt);
        let (mut usd, mut limits) = (None, Vec::new());
        for row in rows {
            if row.try_get::<i32, _>(4)? != own {
                continue;
            }
            let unit: String = row.try_get(1)?;
            if unit == Unit::Usd.as_str() {
                usd = Some((row.try_get(0)?, row.try_get(2)?));
            }
            limits.push((unit, row.try_get(3)?));
        }
        // While the locks were waited for, somebody may have opened an attempt. Its budgets are not
        // among what was locked, and are locked in their order the next time.
        if let Some((usd_budget, spent)) = usd {
            return Ok(Locked { pool, transaction, usd_budget, spent, limits, before });
        }
        transaction.rollback().await?;
    }
}

impl Locked<'_> {
    async fn write(
        &mut self,
        state: RunState,
        cut: bool,
        expires_at: Option<chrono::DateTime<chrono::Utc>>,
        metadata: Option<&str>,
        reason: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(statements::UPDATE_RUN)
            .bind(self.before.run.id.uuid())
            .bind(state.as_str())
            .bind(cut)
            .bind(expires_at)
            .bind(metadata)
            .bind(reason)
            .bind(state.admission() == StateAdmission::Closed)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Tells every gateway, commits, and answers what the run looks like now.
    async fn finish(mut self) -> Result<RunRecord, RunsError> {
        let run = self.before.run.id;
        sqlx::query(statements::NOTIFY_RUN)
            .bind(run.to_string())
            .execute(&mut *self.transaction)
            .await?;
        self.transaction.commit().await?;
        read::record(self.pool, run).await?.ok_or(RunsError::NotFound)
    }
}

pub(super) async fn patch(
    pool: &PgPool,
    run: RunId,
    patch: RunPatch,
) -> Result<RunRecord, RunsError> {
    let mut locked = lock(pool, run).await?;
    if let Some(limit) = patch.cost_limit {
        if limit.decimal() < locked.spent {
            let spent = Usd::from_decimal(locked.spent.normalize()).unwrap_or_default();
            return Err(RunsError::LimitBelowSpent { spent });
        }
        sqlx::query(statements::SET_LIMIT)
            .bind(locked.usd_budget)
            .bind(limit.decimal())
            .execute(&mut *locked.transaction)
            .await?;
    }
    let standing = locked.before.run.standing;
    let state = patch.status.map_or(standing.state, |wanted| standing.state.towards(wanted));
    let cut = standing.cut || state == RunState::Cancelled;
    let expires_at = patch.expires_at.unwrap_or(standing.expires_at);
    let reason = locked.before.close_reason.clone();
    locked.write(state, cut, expires_at, patch.metadata.as_deref(), reason.as_deref()).await?;
    locked.finish().await
}

pub(super) async fn close(pool: &PgPool, run: RunId, close: Close) -> Result<RunRecord, RunsError> {
    let mut locked = lock(pool, run).await?;
    let standing = locked.before.run.standing;
    let state = standing.state.towards(close.status);
    let cut = standing.cut || close.cut || state == RunState::Cancelled;
    let reason = locked.before.close_reason.clone().or(close.reason);
    locked.write(state, cut, standing.expires_at, None, reason.as_deref()).await?;
    locked.finish().await
}

pub(super) async fn open_attempt(
    pool: &PgPool,
    run: RunId,
    status: RunState,
    token: TokenHash,
) -> Result<RunRecord, RunsError> {
    let mut locked = lock(pool, run).await?;
    let state = locked.before.run.standing.state;
    if !state.allows_new_attempt() {
        return Err(RunsError::InvalidTransition(state));
    }
    sqlx::query(statements::NEXT_ATTEMPT)
        .bind(run.uuid())
        .bind(status.as_str())
        .bind(token.as_bytes().as_slice())
        .execute(&mut *locked.transaction)
        .await?;
    let RunSnapshot { terms, standing, .. } = &locked.before.run;
    if terms.control.attempt_budget == AttemptBudget::PerAttempt {
        let attempt = read::own_attempt(AttemptBudget::PerAttempt, standing.attempt.next());
        for (unit, limit) in &locked.limits {
            let of = (terms.organization, run);
            insert_budget(&mut locked.transaction, of, (unit, *limit), attempt).await?;
        }
    }
    locked.finish().await
}

pub(super) async fn rotate_token(
    pool: &PgPool,
    run: RunId,
    token: TokenHash,
) -> Result<RunRecord, RunsError> {
    let mut locked = lock(pool, run).await?;
    sqlx::query(statements::SET_TOKEN)
        .bind(run.uuid())
        .bind(token.as_bytes().as_slice())
        .execute(&mut *locked.transaction)
        .await?;
    locked.finish().await
}

pub(super) async fn count_refusals(
    pool: &PgPool,
    refusals: &[(RunId, &'static str, u64)],
) -> Result<(), sqlx::Error> {
    let runs: Vec<Uuid> = refusals.iter().map(|(run, _, _)| run.uuid()).collect();
    let codes: Vec<&str> = refusals.iter().map(|(_, code, _)| *code).collect();
    let counts: Vec<i64> =
        refusals.iter().map(|(_, _, count)| i64::try_from(*count).unwrap_or(i64::MAX)).collect();
    sqlx::query(statements::COUNT_REFUSALS)
        .bind(runs)
        .bind(codes)
        .bind(counts)
        .execute(pool)
        .await?;
    Ok(())
}
