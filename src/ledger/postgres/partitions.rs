//! Folding calls into sums by day, and keeping their partitions: made ahead, and detached when old.
//! The functions' own comments say why no call is lost or counted twice.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use super::super::LedgerError;
use super::{PostgresLedger, WORK_TIMEOUT, unavailable, within};

/// Calls that one statement folds at most: a tenth of a second's work.
const FOLD_BATCH: i64 = 20_000;
/// Months after the current one whose partitions are made.
const MONTHS_AHEAD: i32 = 2;
/// The longest that a detached partition's calls are summed.
const RETIRE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

const FOLD: &str = "SELECT folded, behind FROM ledger_fold($1)";
const OPEN_MONTH: &str = "SELECT ledger_open_month(ledger_now() + make_interval(months => $1))";
const RETIRE: &str = "SELECT ledger_retire($1)";
/// Settlements wait behind the lock that detaching takes, so it is given up before they are.
const BE_BRIEF: &str = "SELECT set_config('lock_timeout', '1000', true), \
    set_config('statement_timeout', $1, true)";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [FOLD, OPEN_MONTH, RETIRE, BE_BRIEF];

/// How a round of folding went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// How many numbers of calls it went on.
    pub folded: u64,
    /// How many more have been drawn.
    pub behind: u64,
}

/// What was done to partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Months that partitions were made for.
    pub opened: u32,
    /// What tables are called that were detached.
    pub retired: Vec<String>,
}

impl PostgresLedger {
    /// Folds settled calls into sums by day. Harmless to leave out: reads add what is not folded.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn fold(&self) -> Result<Folded, LedgerError> {
        fold(&self.pool).await
    }

    /// Makes partitions of calls ahead, and detaches those whose calls are `retention_days` old.
    ///
    /// # Errors
    /// If the database fails, or somebody reads calls for so long that it has to wait: try again.
    pub async fn keep_partitions(&self, retention_days: Option<u32>) -> Result<Kept, LedgerError> {
        keep(&self.pool, retention_days).await
    }
}

/// Folds what was settled by the last look, and looks again.
async fn fold(pool: &PgPool) -> Result<Folded, LedgerError> {
    let mut done = Folded::default();
    loop {
        let asked = sqlx::query(FOLD).bind(FOLD_BATCH).fetch_one(pool);
        let row = within(WORK_TIMEOUT, asked).await.map_err(unavailable)?;
        let count = |at| row.try_get(at).map(super::read::unsigned).map_err(unavailable);
        let folded = count(0)?;
        done.folded += folded;
        done.behind = count(1)?;
        // A full batch: there is more of what the last look saw.
        if folded < FOLD_BATCH.unsigned_abs() {
            return Ok(done);
        }
    }
}

/// Makes the partitions of this month and the next ones, and detaches those whose calls are all at
/// least `days` days old.
async fn keep(pool: &PgPool, days: Option<u32>) -> Result<Kept, LedgerError> {
    let mut kept = Kept::default();
    for month in 0..=MONTHS_AHEAD {
        let opened = briefly(pool, OPEN_MONTH, month).await?;
        kept.opened += u32::from(opened.try_get::<bool, _>(0).map_err(unavailable)?);
    }
    let Some(days) = days else { return Ok(kept) };
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    while let Some(table) =
        briefly(pool, RETIRE, days).await?.try_get::<Option<String>, _>(0).map_err(unavailable)?
    {
        kept.retired.push(table);
    }
    Ok(kept)
}

/// A statement that waits for no lock for long, however long it takes itself.
async fn briefly(
    pool: &PgPool,
    statement: &'static str,
    argument: i32,
) -> Result<PgRow, LedgerError> {
    let all = async {
        let mut changing = pool.begin().await?;
        let longest = RETIRE_TIMEOUT.as_millis().to_string();
        sqlx::query(BE_BRIEF).bind(longest).execute(&mut *changing).await?;
        let done = sqlx::query(statement).bind(argument).fetch_one(&mut *changing).await?;
        changing.commit().await?;
        Ok(done)
    };
    within(RETIRE_TIMEOUT, all).await.map_err(unavailable)
}
