//! Sums over everybody's calls.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::super::LedgerError;
use super::super::totals::{GroupBy, Sums, Totals, TotalsQuery};
use super::read::unsigned;
use super::{WORK_TIMEOUT, within};

/// How far a gateway's clock, which makes the ids, may be from the database's, which tells when a
/// call was admitted. Wide, because a call beyond it would be left out; what it costs is to read
/// the calls of a day more on either side.
const CLOCK_SLACK: TimeDelta = TimeDelta::days(1);

/// The SQLSTATE of a statement that took too long.
const QUERY_CANCELED: &str = "57014";

/// Sums by `$name`; groups are ranked by `$rank`. The primary key bounds what is read (`$1`, `$2`),
/// the time of admission what counts (`$3`, `$4`). The whole comes first, then what follows the
/// group of rank `$5` and name `$6`.
macro_rules! sums {
    ($name:literal, $rank:literal) => {
        concat!(
            "WITH sums AS (SELECT name, grouping(name) = 1 AS whole, count(*) AS calls, ",
            "coalesce(sum(input), 0)::bigint AS input, ",
            "coalesce(sum(cached_input_tokens), 0)::bigint AS cached, ",
            "coalesce(sum(output_tokens), 0)::bigint AS output, ",
            "coalesce(sum(cost_usd), 0) AS cost ",
            "FROM (SELECT ",
            $name,
            " COLLATE \"C\" AS name, cached_input_tokens, output_tokens, cost_usd, ",
            "uncached_input_tokens + cached_input_tokens + cache_write_tokens AS input ",
            "FROM calls WHERE id >= $1 AND id < $2 AND created_at >= $3 AND created_at < $4 ",
            "AND cost_source <> 'none') AS counted GROUP BY GROUPING SETS ((name), ())), ",
            "ranked AS (SELECT *, ",
            $rank,
            " AS rank FROM sums) ",
            "SELECT name, calls, input, cached, output, cost FROM ranked ",
            "WHERE whole OR $6::text IS NULL OR rank < $5::numeric OR (rank = $5 AND name > $6) ",
            "ORDER BY whole DESC, rank DESC, name LIMIT $7"
        )
    };
}

const BY_MODEL: &str = sums!("model", "cost");
const BY_PROVIDER: &str = sums!("provider", "cost");
const BY_RUN: &str = sums!("coalesce(run_id::text, 'none')", "cost");
const BY_DAY: &str = sums!("to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "0::numeric");

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [BY_MODEL, BY_PROVIDER, BY_RUN, BY_DAY];

pub(super) async fn totals(pool: &PgPool, query: &TotalsQuery) -> Result<Totals, LedgerError> {
    let statement = match query.group_by {
        GroupBy::Model => BY_MODEL,
        GroupBy::Provider => BY_PROVIDER,
        GroupBy::Run => BY_RUN,
        GroupBy::Day => BY_DAY,
    };
    let (rank, name) = query.after.clone().unzip();
    let asked = sqlx::query(statement)
        .bind(first_id(query.from - CLOCK_SLACK))
        .bind(first_id(query.to + CLOCK_SLACK))
        .bind(query.from)
        .bind(query.to)
        .bind(rank)
        .bind(name)
        // The row of the whole is one more.
        .bind(i64::from(query.limit) + 1)
        .fetch_all(pool);
    let rows = within(WORK_TIMEOUT, asked).await.map_err(failure)?;
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

fn failure(error: sqlx::Error) -> LedgerError {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.as_deref() == Some(QUERY_CANCELED) {
        return LedgerError::TooMuch;
    }
    LedgerError::Unavailable(Box::new(error))
}
