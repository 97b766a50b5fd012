//! Where sums over a time come from: whole days from what is folded by day, all else from calls.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::PgPool;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::super::LedgerError;
use super::{ANSWER_TIMEOUT, within};

/// What calls and days have in common: the rows that sums are made of, of `$whose` calls. Each call
/// is in exactly one of the four parts: a whole day's are folded, or settled since; those at either
/// end of the time are counted one by one.
///
/// `$1` and `$2` bound the time, `$3` and `$4` its whole days; the time before them ends at `$5`
/// and the time behind them begins at `$6`.
macro_rules! rows_used {
    ($whose:literal) => {
        concat!(
            "SELECT day, model, provider, key_id, of_run, calls, input_tokens AS input, ",
            "cached_input_tokens AS cached, output_tokens AS output, cost_usd AS cost ",
            "FROM usage_days WHERE day >= $3 AND day < $4 AND ",
            $whose,
            " UNION ALL ",
            rows_used!(calls $whose),
            "created_at >= $1 AND created_at < $2 AND seq > (SELECT folded FROM usage_mark) ",
            "UNION ALL ",
            rows_used!(calls $whose),
            "created_at >= $1 AND created_at < $5 ",
            "AND coalesce(seq, 0) <= (SELECT folded FROM usage_mark) ",
            "UNION ALL ",
            rows_used!(calls $whose),
            "created_at >= $6 AND created_at < $2 ",
            "AND coalesce(seq, 0) <= (SELECT folded FROM usage_mark)"
        )
    };
    (calls $whose:literal) => {
        concat!(
            "SELECT (created_at AT TIME ZONE 'UTC')::date, model, provider, ",
            "coalesce(key_id, '00000000-0000-0000-0000-000000000000'), run_id IS NOT NULL, ",
            "1::bigint, ",
            "(uncached_input_tokens + cached_input_tokens + cache_write_tokens)::bigint, ",
            "cached_input_tokens::bigint, output_tokens::bigint, cost_usd::numeric FROM calls ",
            "WHERE cost_source <> 'none' AND ",
            $whose,
            " AND "
        )
    };
}
pub(super) use rows_used;

const RETIRED_BEFORE: &str = "SELECT CASE WHEN isfinite(retired_before) THEN retired_before END \
    FROM usage_mark";

/// Every statement of this module, for the test that prepares them.
pub const ALL: [&str; 1] = [RETIRED_BEFORE];

/// A time, cut into whole days and what is before and behind them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    first_day: NaiveDate,
    end_day: NaiveDate,
    head_ends: DateTime<Utc>,
    tail_begins: DateTime<Utc>,
}

impl Span {
    pub(super) fn of(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let day = from.date_naive();
        let first_day = match day.checked_add_days(Days::new(1)) {
            Some(next) if midnight(day) < from => next,
            _ => day,
        };
        let end_day = to.date_naive();
        if first_day < end_day {
            let (head_ends, tail_begins) = (midnight(first_day), midnight(end_day));
            return Self { from, to, first_day, end_day, head_ends, tail_begins };
        }
        // No whole day: every call is counted by itself.
        Self { from, to, first_day, end_day: first_day, head_ends: to, tail_begins: to }
    }

    /// Gives the statement what [`rows_used`] takes.
    pub(super) fn bind<'q>(
        self,
        query: Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Query<'q, sqlx::Postgres, PgArguments> {
        query
            .bind(self.from)
            .bind(self.to)
            .bind(self.first_day)
            .bind(self.end_day)
            .bind(self.head_ends)
            .bind(self.tail_begins)
    }

    /// The first instant of which a call is counted by itself, if any is.
    pub(super) fn first_single(self) -> Option<DateTime<Utc>> {
        let head = (self.from < self.head_ends).then_some(self.from);
        head.or((self.tail_begins < self.to).then_some(self.tail_begins))
    }
}

/// Fails if calls that are counted one by one from `first` on may have gone with their partition.
/// To be asked after the sums were read: what is gone by then may have gone before.
pub(super) async fn assert_kept(
    pool: &PgPool,
    first: Option<DateTime<Utc>>,
) -> Result<(), LedgerError> {
    let Some(first) = first else { return Ok(()) };
    let asked = sqlx::query_scalar::<_, Option<DateTime<Utc>>>(RETIRED_BEFORE).fetch_one(pool);
    match within(ANSWER_TIMEOUT, asked).await.map_err(super::unavailable)? {
        Some(kept_from) if first < kept_from => Err(LedgerError::Retired(kept_from)),
        _ => Ok(()),
    }
}
