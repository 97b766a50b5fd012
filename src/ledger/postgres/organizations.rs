//! Organizations in Postgres: what they have set, and where their budgets stand.
//!
//! Whoever changes a limit, or who may spend, first locks the templates of the budgets, so that no
//! window opens beside the change, and then, by id, the rows that an admission locks.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::domain::budget::{Balance, BudgetRef, Scope, Unit, Window};
use crate::domain::id::{BudgetId, OrganizationId};
use crate::domain::limits::Limits;
use crate::domain::money::Usd;
use crate::domain::organization::{OrganizationSnapshot, RunDefaults, Settings, SettingsPatch};
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;

use super::super::LedgerError;
use super::super::organizations::{BudgetStanding, OrganizationRecord, OrganizationsError};
use super::admit::unreadable;
use super::audit;
use super::read::unsigned;

/// Makes an organization, unless its name or id is taken.
const CREATE: &str = "INSERT INTO organizations (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// Gives a scope a budget; with a window of a day or a month, the template of its rows.
pub(super) const INSERT_BUDGET: &str = "INSERT INTO budgets \
    (organization_id, id, scope, scope_id, unit, \"window\", limit_amount) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Organizations from an id on (`$2`: that one too), in the order of their ids.
const FIND: &str = "SELECT o.id, o.name, o.created_at, o.version, s.organization_id IS NOT NULL, \
        coalesce(s.eu_only, false), coalesce(s.service_tier, 'default'), \
        s.default_cost_limit_usd, s.default_token_limit, s.default_call_limit, \
        s.default_max_concurrency, s.default_requests_per_minute, \
        s.default_max_output_tokens_per_call, s.rate_limit_rps, s.rate_limit_rpm, \
        s.tokens_per_minute, s.max_concurrency \
    FROM organizations o LEFT JOIN organization_settings s ON s.organization_id = o.id \
    WHERE o.id > $1 OR ($2 AND o.id = $1) ORDER BY o.id LIMIT $3";

/// Where the budgets of organizations or keys stand in their current windows. A window that is not
/// open yet has nothing spent, and is as open or shut as the one before.
pub(super) const STANDINGS: &str = "SELECT t.scope_id, t.id, t.scope, t.unit, t.\"window\", \
        CASE t.\"window\" WHEN 'lifetime' THEN NULL ELSE w.since END, t.limit_amount, \
        CASE t.\"window\" WHEN 'lifetime' THEN t.spent ELSE coalesce(c.spent, 0) END, \
        CASE t.\"window\" WHEN 'lifetime' THEN t.reserved ELSE coalesce(c.reserved, 0) END, \
        coalesce(c.latched, (SELECT p.latched FROM budgets p WHERE p.scope_id = t.scope_id \
            AND p.scope = t.scope AND p.unit = t.unit AND p.\"window\" = t.\"window\" \
            AND p.window_start > '-infinity' ORDER BY p.window_start DESC LIMIT 1), t.latched) \
    FROM budgets t CROSS JOIN LATERAL (SELECT date_trunc(CASE t.\"window\" WHEN 'day' THEN 'day' \
        ELSE 'month' END, ledger_now(), 'UTC') AS since) w \
    LEFT JOIN budgets c ON t.\"window\" <> 'lifetime' AND c.scope_id = t.scope_id \
        AND c.scope = t.scope AND c.unit = t.unit AND c.\"window\" = t.\"window\" \
        AND c.window_start = w.since \
    WHERE t.scope_id = ANY ($1) AND t.scope <> 'run' AND t.window_start = '-infinity' \
        AND NOT t.removed";

/// Keeps other changes of an organization away.
pub(super) const LOCK_ORGANIZATION: &str =
    "SELECT version FROM organizations WHERE id = $1 FOR NO KEY UPDATE";

/// Locks the templates of a scope's budgets, so that no window opens meanwhile.
pub(super) const LOCK_TEMPLATES: &str = "SELECT id FROM budgets WHERE scope_id = $1 AND scope = $2 \
    AND \"window\" <> 'lifetime' AND window_start = '-infinity' ORDER BY id FOR UPDATE";

/// Locks the rows that a call of the scope may be admitted on at the moment, those of windows that
/// have just ended included.
pub(super) const LOCK_ROWS: &str = "SELECT id FROM budgets WHERE scope_id = $1 AND scope = $2 \
    AND (\"window\" = 'lifetime' OR window_start > ledger_now() - interval '63 days') \
    ORDER BY id FOR UPDATE";

/// Opens the current window of a template.
pub(super) const OPEN_WINDOW: &str = "SELECT row_id FROM ledger_open_window($1)";

/// Sets the limit of a template and of its current window.
const SET_LIMIT: &str = "UPDATE budgets SET limit_amount = $2::numeric, \
    lowered = lowered OR $2::numeric < spent + reserved WHERE id = ANY ($1)";

/// Opens or shuts a circuit: it is open if nothing is left, and stays so unless it is reset.
const SET_LATCH: &str =
    "UPDATE budgets SET latched = spent >= limit_amount OR latched AND NOT $2 WHERE id = $1";

/// Writes an organization's settings.
const PUT_SETTINGS: &str = "INSERT INTO organization_settings (organization_id, eu_only, \
    service_tier, default_cost_limit_usd, default_token_limit, default_call_limit, \
    default_max_concurrency, default_requests_per_minute, default_max_output_tokens_per_call, \
    rate_limit_rps, rate_limit_rpm, tokens_per_minute, max_concurrency) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (organization_id) DO UPDATE SET \
    eu_only = excluded.eu_only, service_tier = excluded.service_tier, \
    default_cost_limit_usd = excluded.default_cost_limit_usd, \
    default_token_limit = excluded.default_token_limit, \
    default_call_limit = excluded.default_call_limit, \
    default_max_concurrency = excluded.default_max_concurrency, \
    default_requests_per_minute = excluded.default_requests_per_minute, \
    default_max_output_tokens_per_call = excluded.default_max_output_tokens_per_call, \
    rate_limit_rps = excluded.rate_limit_rps, rate_limit_rpm = excluded.rate_limit_rpm, \
    tokens_per_minute = excluded.tokens_per_minute, \
    max_concurrency = excluded.max_concurrency, \
    updated_at = clock_timestamp()";

/// Counts a change of an organization, and tells every gateway.
pub(super) const CHANGED: &str = "WITH changed AS (UPDATE organizations SET version = version + 1 \
    WHERE id = $1 RETURNING id) SELECT pg_notify('rungate', 'organization:' || id) FROM changed";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 12] = [
    CREATE,
    INSERT_BUDGET,
    FIND,
    STANDINGS,
    LOCK_ORGANIZATION,
    LOCK_TEMPLATES,
    LOCK_ROWS,
    OPEN_WINDOW,
    SET_LIMIT,
    SET_LATCH,
    PUT_SETTINGS,
    CHANGED,
];

impl From<sqlx::Error> for OrganizationsError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(error) if error.is_unique_violation() => Self::Taken,
            Some(error) if error.is_foreign_key_violation() => Self::NotFound,
            _ => Self::Ledger(LedgerError::Unavailable(Box::new(error))),
        }
    }
}

pub(super) async fn create(
    pool: &PgPool,
    id: OrganizationId,
    name: &str,
) -> Result<OrganizationRecord, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let made = sqlx::query(CREATE).bind(id.uuid()).bind(name).execute(&mut *transaction).await?;
    if made.rows_affected() == 0 {
        return Err(OrganizationsError::Taken);
    }
    insert_circuit(&mut transaction, id, Decimal::ZERO).await?;
    transaction.commit().await?;
    organization(pool, id).await?.ok_or(OrganizationsError::NotFound)
}

async fn insert_circuit(
    connection: &mut PgConnection,
    id: OrganizationId,
    limit: Decimal,
) -> Result<Uuid, sqlx::Error> {
    let template = BudgetId::generate().uuid();
    let budget = (Scope::Organization, id.uuid(), Unit::Usd, Window::Month);
    insert_budget(connection, id, template, budget, limit).await?;
    Ok(template)
}

/// Gives a scope a budget.
pub(super) async fn insert_budget(
    connection: &mut PgConnection,
    organization: OrganizationId,
    id: Uuid,
    (scope, scope_id, unit, window): (Scope, Uuid, Unit, Window),
    limit: Decimal,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_BUDGET)
        .bind(organization.uuid())
        .bind(id)
        .bind(scope.as_str())
        .bind(scope_id)
        .bind(unit.as_str())
        .bind(window.as_str())
        .bind(limit)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn organization(
    pool: &PgPool,
    id: OrganizationId,
) -> Result<Option<OrganizationRecord>, sqlx::Error> {
    Ok(list(pool, id.uuid(), true, 1).await?.pop().filter(|found| found.organization.id == id))
}

pub(super) async fn list(
    pool: &PgPool,
    from: Uuid,
    from_too: bool,
    limit: u32,
) -> Result<Vec<OrganizationRecord>, sqlx::Error> {
    let asked = sqlx::query(FIND).bind(from).bind(from_too).bind(i64::from(limit));
    let rows = asked.fetch_all(pool).await?;
    let mut records = rows.iter().map(read_organization).collect::<Result<Vec<_>, _>>()?;
    let ids = records.iter().map(|record| record.organization.id.uuid()).collect();
    let mut standings = standings(pool, ids).await?;
    for record in &mut records {
        let own = standings.remove(&record.organization.id.uuid()).unwrap_or_default();
        record.organization.budgets = own.iter().map(|standing| standing.budget).collect();
        record.standings = own;
    }
    Ok(records)
}

fn read_organization(row: &PgRow) -> Result<OrganizationRecord, sqlx::Error> {
    let tokens = |at| row.try_get::<Option<i64>, _>(at).map(|n| n.map(unsigned).map(Tokens::new));
    let count = |at| {
        let stored: Result<Option<i32>, sqlx::Error> = row.try_get(at);
        stored.map(|count| count.and_then(|count| u32::try_from(count).ok()))
    };
    let cap: Option<Decimal> = row.try_get(7)?;
    let cap = cap.map(|cap| Usd::from_decimal(cap.normalize())).transpose();
    let settings = Settings {
        eu_only: row.try_get(5)?,
        service_tier: ServiceTier::parse(row.try_get(6)?)
            .ok_or_else(|| unreadable("service tier"))?,
        defaults: RunDefaults {
            cost_limit: cap.map_err(|_| unreadable("default cap"))?,
            token_limit: tokens(8)?,
            call_limit: count(9)?,
            max_concurrency: count(10)?,
            requests_per_minute: count(11)?,
            max_output_tokens_per_call: tokens(12)?,
        },
        limits: Limits {
            requests_per_second: count(13)?,
            requests_per_minute: count(14)?,
            tokens_per_minute: count(15)?,
            max_concurrency: count(16)?,
        },
    };
    let organization = OrganizationSnapshot {
        id: OrganizationId::from_uuid(row.try_get(0)?),
        settings: row.try_get::<bool, _>(4)?.then_some(settings),
        budgets: Vec::new(),
        version: unsigned(row.try_get(3)?),
    };
    let (name, created_at) = (row.try_get(1)?, row.try_get(2)?);
    Ok(OrganizationRecord { organization, name, created_at, standings: Vec::new() })
}

/// Where the budgets of these organizations or keys stand, in the order of checking.
pub(super) async fn standings(
    pool: &PgPool,
    scope_ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, Vec<BudgetStanding>>, sqlx::Error> {
    let mut found: HashMap<Uuid, Vec<BudgetStanding>> = HashMap::new();
    for row in sqlx::query(STANDINGS).bind(scope_ids).fetch_all(pool).await? {
        let word = |at: usize| row.try_get::<&str, _>(at);
        let budget = BudgetRef {
            id: BudgetId::from_uuid(row.try_get(1)?),
            scope: Scope::parse(word(2)?).ok_or_else(|| unreadable("scope"))?,
            unit: Unit::parse(word(3)?).ok_or_else(|| unreadable("unit"))?,
            window: Window::parse(word(4)?).ok_or_else(|| unreadable("window"))?,
        };
        let number = |at: usize| row.try_get::<Decimal, _>(at).map(|number| number.normalize());
        let since: Option<DateTime<Utc>> = row.try_get(5)?;
        let balance = Balance { limit: number(6)?, spent: number(7)?, reserved: number(8)? };
        let standing = BudgetStanding { budget, since, balance, latched: row.try_get(9)? };
        found.entry(row.try_get(0)?).or_default().push(standing);
    }
    for standings in found.values_mut() {
        standings.sort_by_key(|standing| standing.budget.rank());
    }
    Ok(found)
}

/// Locks the budgets of a scope, as whoever changes it must. Answers the templates.
pub(super) async fn lock_budgets(
    connection: &mut PgConnection,
    scope: Scope,
    id: Uuid,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let templates = sqlx::query_scalar(LOCK_TEMPLATES).bind(id).bind(scope.as_str());
    let templates = templates.fetch_all(&mut *connection).await?;
    sqlx::query(LOCK_ROWS).bind(id).bind(scope.as_str()).execute(connection).await?;
    Ok(templates)
}

pub(super) async fn put_settings(
    pool: &PgPool,
    id: OrganizationId,
    patch: SettingsPatch,
) -> Result<OrganizationRecord, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let locked = sqlx::query(LOCK_ORGANIZATION).bind(id.uuid());
    locked.fetch_optional(&mut *transaction).await?.ok_or(OrganizationsError::NotFound)?;
    let row = sqlx::query(FIND).bind(id.uuid()).bind(true).bind(1_i64);
    let before = read_organization(&row.fetch_one(&mut *transaction).await?)?.organization;
    let is_first = before.settings.is_none();
    if is_first && patch.monthly_cost_limit.is_none() {
        return Err(OrganizationsError::NotConfigured);
    }
    if patch.monthly_cost_limit.is_some() || patch.reset_circuit {
        let locked = lock_budgets(&mut transaction, Scope::Organization, id.uuid()).await?;
        let limit = patch.monthly_cost_limit.map(Usd::decimal);
        let template = match locked.first() {
            Some(template) => *template,
            None => insert_circuit(&mut transaction, id, limit.unwrap_or_default()).await?,
        };
        let open = sqlx::query_scalar(OPEN_WINDOW).bind(template);
        let row: Uuid = open.fetch_one(&mut *transaction).await?;
        if let Some(limit) = limit {
            let set = sqlx::query(SET_LIMIT).bind(vec![template, row]).bind(limit);
            set.execute(&mut *transaction).await?;
        }
        let reset = patch.reset_circuit || is_first;
        sqlx::query(SET_LATCH).bind(row).bind(reset).execute(&mut *transaction).await?;
    }
    let settings = before.settings.unwrap_or_default();
    write_settings(
        &mut transaction,
        id,
        &Settings {
            eu_only: patch.eu_only.unwrap_or(settings.eu_only),
            service_tier: patch.service_tier.unwrap_or(settings.service_tier),
            defaults: patch.defaults.unwrap_or(settings.defaults),
            limits: patch.limits.unwrap_or(settings.limits),
        },
    )
    .await?;
    sqlx::query(CHANGED).bind(id.uuid()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    organization(pool, id).await?.ok_or(OrganizationsError::NotFound)
}

async fn write_settings(
    connection: &mut PgConnection,
    id: OrganizationId,
    settings: &Settings,
) -> Result<(), sqlx::Error> {
    let Settings { eu_only, service_tier, defaults, limits } = settings;
    let count = |count: Option<u32>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
    sqlx::query(PUT_SETTINGS)
        .bind(id.uuid())
        .bind(eu_only)
        .bind(service_tier.as_str())
        .bind(defaults.cost_limit.map(Usd::decimal))
        .bind(defaults.token_limit.map(|tokens| tokens.signed()))
        .bind(count(defaults.call_limit))
        .bind(count(defaults.max_concurrency))
        .bind(count(defaults.requests_per_minute))
        .bind(defaults.max_output_tokens_per_call.map(|tokens| tokens.signed()))
        .bind(count(limits.requests_per_second))
        .bind(count(limits.requests_per_minute))
        .bind(count(limits.tokens_per_minute))
        .bind(count(limits.max_concurrency))
        .execute(connection)
        .await?;
    Ok(())
}
