//! What an organization used over a time.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::domain::id::KeyId;

use super::super::LedgerError;
use super::super::totals::Sums;
use super::super::usage::{NONE, UsageBy, UsageQuery, UsageRow};
use super::read::unsigned;
use super::totals::failure;
use super::used::{Span, assert_kept, rows_used};
use super::{WORK_TIMEOUT, within};

/// Sums by `$name` of the rows that `$which` lets through, of the organization `$7` and, if there
/// is one, the key `$11`: those after the group `$8` at the provider `$9`.
macro_rules! sums {
    ($name:literal, $which:literal) => {
        concat!(
            "WITH used AS (",
            rows_used!("organization_id = $7"),
            "), sums AS (SELECT ",
            $name,
            " COLLATE \"C\" AS name, provider COLLATE \"C\" AS provider, ",
            "sum(calls)::bigint AS calls, sum(input)::bigint AS input, ",
            "sum(cached)::bigint AS cached, sum(output)::bigint AS output, sum(cost) AS cost ",
            "FROM used WHERE ($11::uuid IS NULL OR key_id = $11) AND ",
            $which,
            " GROUP BY 1, 2) ",
            "SELECT name, provider, calls, input, cached, output, cost FROM sums ",
            "WHERE $8::text IS NULL OR (name, provider) > ($8, $9::text) ",
            "ORDER BY name, provider LIMIT $10"
        )
    };
}

const BY_MODEL: &str = sums!("(provider || '/' || model)", "true");
const BY_KEY: &str = sums!(
    "(CASE key_id WHEN '00000000-0000-0000-0000-000000000000' THEN 'none' \
        ELSE key_id::text END)",
    "true"
);
const BY_PROVIDER: &str = sums!("provider", "true");
const BY_DAY: &str = sums!("to_char(day, 'YYYY-MM-DD')", "true");
const OF_NO_RUN: &str = sums!("'none'::text", "NOT of_run");

/// Runs are too many to fold, so they are read one after the other, in the order of their ids,
/// until the page is full. A run is called for from its registration to its end; the database's
/// clock may have been set back by an hour meanwhile.
const BY_RUN: &str = "SELECT r.id::text, s.* FROM runs r CROSS JOIN LATERAL ( \
        SELECT c.provider, count(*), sum(c.uncached_input_tokens + c.cached_input_tokens \
            + c.cache_write_tokens)::bigint, sum(c.cached_input_tokens)::bigint, \
            sum(c.output_tokens)::bigint, sum(c.cost_usd) FROM calls c \
        WHERE c.run_id = r.id AND c.created_at >= $1 AND c.created_at < $2 \
        AND ($7::uuid IS NULL OR c.key_id = $7) \
        AND c.cost_source <> 'none' GROUP BY c.provider) s \
    WHERE r.organization_id = $3 AND r.created_at < $2 + interval '1 hour' \
    AND (r.closed_at IS NULL OR r.closed_at >= $1 - interval '1 hour') \
    AND r.id >= coalesce($4::uuid, '00000000-0000-0000-0000-000000000000') \
    AND ($4 IS NULL OR r.id > $4 OR s.provider COLLATE \"C\" > $5::text) \
    ORDER BY r.id, s.provider COLLATE \"C\" LIMIT $6";

const KEY_NAMES: &str = "SELECT id::text, name FROM inference_keys \
    WHERE organization_id = $1 AND id::text = ANY ($2)";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 7] = [BY_MODEL, BY_KEY, BY_PROVIDER, BY_DAY, OF_NO_RUN, BY_RUN, KEY_NAMES];

pub(super) async fn usage(pool: &PgPool, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError> {
    let statement = match query.group_by {
        UsageBy::Model => BY_MODEL,
        UsageBy::Key => BY_KEY,
        UsageBy::Provider => BY_PROVIDER,
        UsageBy::Day => BY_DAY,
        UsageBy::Run => return by_run(pool, query).await,
    };
    let mut rows =
        within(WORK_TIMEOUT, folded(pool, query, statement, query.limit)).await.map_err(failure)?;
    assert_kept(pool, Span::of(query.from, query.to).first_single()).await?;
    if query.group_by == UsageBy::Key {
        within(WORK_TIMEOUT, name_keys(pool, query, &mut rows)).await.map_err(failure)?;
    }
    Ok(rows)
}

async fn folded(
    pool: &PgPool,
    query: &UsageQuery,
    statement: &'static str,
    limit: u32,
) -> Result<Vec<UsageRow>, sqlx::Error> {
    let (group, provider) = query.after.clone().unzip();
    let rows = Span::of(query.from, query.to)
        .bind(sqlx::query(statement))
        .bind(query.organization.uuid())
        .bind(group)
        .bind(provider)
        .bind(i64::from(limit))
        .bind(query.key.map(KeyId::uuid))
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}

/// Runs in the order of their ids; then, under a name that sorts behind every id, what was called
/// without a run.
async fn by_run(pool: &PgPool, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError> {
    let mut rows = match &query.after {
        Some((group, _)) if group == NONE => Vec::new(),
        after => {
            let (run, provider) = after.clone().unzip();
            // A cursor that names no run is in nobody's order.
            let run = run.map(|run| run.parse::<uuid::Uuid>()).transpose();
            let Ok(run) = run else { return Ok(Vec::new()) };
            let asked = sqlx::query(BY_RUN)
                .bind(query.from)
                .bind(query.to)
                .bind(query.organization.uuid())
                .bind(run)
                .bind(provider)
                .bind(i64::from(query.limit))
                .bind(query.key.map(KeyId::uuid))
                .fetch_all(pool);
            let found = within(WORK_TIMEOUT, asked).await.map_err(failure)?;
            found.iter().map(read).collect::<Result<_, _>>().map_err(failure)?
        }
    };
    let left = query.limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    if left > 0 {
        let rest = within(WORK_TIMEOUT, folded(pool, query, OF_NO_RUN, left)).await;
        rows.extend(rest.map_err(failure)?);
    }
    assert_kept(pool, Some(query.from)).await?;
    Ok(rows)
}

async fn name_keys(
    pool: &PgPool,
    query: &UsageQuery,
    rows: &mut [UsageRow],
) -> Result<(), sqlx::Error> {
    let ids: Vec<String> = rows.iter().map(|row| row.group.clone()).collect();
    let asked = sqlx::query_as(KEY_NAMES).bind(query.organization.uuid()).bind(ids);
    let names: HashMap<String, String> = asked.fetch_all(pool).await?.into_iter().collect();
    for row in rows {
        row.name = names.get(&row.group).cloned();
    }
    Ok(())
}

fn read(row: &PgRow) -> Result<UsageRow, sqlx::Error> {
    Ok(UsageRow {
        group: row.try_get(0)?,
        name: None,
        provider: row.try_get(1)?,
        sums: Sums {
            calls: unsigned(row.try_get(2)?),
            input_tokens: unsigned(row.try_get(3)?),
            cached_input_tokens: unsigned(row.try_get(4)?),
            output_tokens: unsigned(row.try_get(5)?),
            cost: row.try_get::<Decimal, _>(6)?.normalize(),
        },
    })
}
