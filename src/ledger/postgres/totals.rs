//! Sums over everybody's calls.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::super::LedgerError;
use super::super::totals::{GroupBy, Sums, Totals, TotalsQuery};
use super::read::unsigned;
use super::used::{Span, assert_kept, rows_used};
use super::{WORK_TIMEOUT, within};

/// How far a gateway's clock, which makes the ids, may be from the database's, which tells when a
/// call was admitted. Wide, because a call beyond it would be left out; what it costs is to read
/// the calls of a day more on either side.
const CLOCK_SLACK: TimeDelta = TimeDelta::days(1);

/// The SQLSTATE of a statement that took too long.
const QUERY_CANCELED: &str = "57014";

/// Sums by `$name` of the rows of `$used`; groups are ranked by `$rank`. The whole comes first,
/// then what follows the group of rank `$last` and name `$after`.
macro_rules! sums {
    ($used:expr, $name:literal, $rank:literal, $last:literal, $after:literal, $limit:literal) => {
        concat!(
            "WITH sums AS (SELECT name, grouping(name) = 1 AS whole, ",
            "coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(input), 0)::bigint AS input, ",
            "coalesce(sum(cached), 0)::bigint AS cached, ",
            "coalesce(sum(output), 0)::bigint AS output, coalesce(sum(cost), 0) AS cost ",
            "FROM (SELECT ",
            $name,
            " COLLATE \"C\" AS name, calls, input, cached, output, cost FROM (",
            $used,
            ") AS used) AS counted GROUP BY GROUPING SETS ((name), ())), ",
            "ranked AS (SELECT *, ",
            $rank,
            " AS rank FROM sums) ",
            "SELECT name, calls, input, cached, output, cost FROM ranked WHERE whole OR ",
            $after,
            "::text IS NULL OR rank < ",
            $last,
            "::numeric OR (rank = ",
            $last,
            " AND name > ",
            $after,
            ") ORDER BY whole DESC, rank DESC, name LIMIT ",
            $limit
        )
    };
}

const BY_MODEL: &str = sums!(rows_used!("true"), "model", "cost", "$7", "$8", "$9");
const BY_PROVIDER: &str = sums!(rows_used!("true"), "provider", "cost", "$7", "$8", "$9");
const BY_DAY: &str =
    sums!(rows_used!("true"), "to_char(day, 'YYYY-MM-DD')", "0::numeric", "$7", "$8", "$9");
/// Runs are too many to fold. The primary key bounds what is read (`$1`, `$2`), the time of
/// admission what counts (`$3`, `$4`).
const BY_RUN: &str = sums!(
    "SELECT run_id, 1 AS calls, cached_input_tokens AS cached, output_tokens AS output, \
        cost_usd AS cost, uncached_input_tokens + cached_input_tokens + cache_write_tokens \
        AS input FROM calls WHERE id >= $1 AND id < $2 AND created_at >= $3 AND created_at < $4 \
        AND cost_source <> 'none'",
    "coalesce(run_id::text, 'none')",
    "cost",
    "$5",
    "$6",
    "$7"
);

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [BY_MODEL, BY_PROVIDER, BY_RUN, BY_DAY];

pub(super) async fn totals(pool: &PgPool, query: &TotalsQuery) -> Result<Totals, LedgerError> {
    let span = Span::of(query.from, query.to);
    let (asked, first_single) = match query.group_by {
        GroupBy::Model => (span.bind(sqlx::query(BY_MODEL)), span.first_single()),
        GroupBy::Provider => (span.bind(sqlx::query(BY_PROVIDER)), span.first_single()),
        GroupBy::Day => (span.bind(sqlx::query(BY_DAY)), span.first_single()),
        GroupBy::Run => {
            let asked = sqlx::query(BY_RUN)
                .bind(first_id(query.from - CLOCK_SLACK))
                .bind(first_id(query.to + CLOCK_SLACK))
                .bind(query.from)
                .bind(query.to);
            (asked, Some(query.from))
        }
    };
    let (rank, name) = query.after.clone().unzip();
    // The row of the whole is one more.
    let asked = asked.bind(rank).bind(name).bind(i64::from(query.limit) + 1).fetch_all(pool);
    let rows = within(WORK_TIMEOUT, asked).await.map_err(failure)?;
    assert_kept(pool, first_single).await?;
    read(&rows).map_err(failure)
}

fn read(rows: &[PgRow]) -> Result<Totals, sqlx::Error> {
    let mut found = Totals::default();
    for row in rows {
        let sums = Sums {
            calls: unsigned(row.try_get(1)?),
            input_tokens: unsigned(row.try_get(2)?),
            cached_input_tokens: unsigned(row.try_get(3)?),
            output_tokens: unsigned(row.try_get(4)?),
            cost: row.try_get::<Decimal, _>(5)?.normalize(),
        };
        match row.try_get::<Option<String>, _>(0)? {
            Some(name) => found.groups.push((name, sums)),
            None => found.total = sums,
        }
    }
    Ok(found)
}

/// The least id that can have been made at `time` (UUID v7: its first 48 bits are milliseconds).
fn first_id(time: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis.min((1 << 48) - 1)) << 80)
}

pub(super) fn failure(error: sqlx::Error) -> LedgerError {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.as_deref() == Some(QUERY_CANCELED) {
        return LedgerError::TooMuch;
    }
    LedgerError::Unavailable(Box::new(error))
}
