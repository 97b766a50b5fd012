//! What was used over a time, by everybody.

use chrono::{DateTime, Months, SecondsFormat, Utc};
use rust_decimal::Decimal;
use tokio::time::timeout;

use crate::domain::budget::Window;
use crate::domain::fault::{Code, Fault};
use crate::ledger::organizations::KeyRecord;
use crate::ledger::{LedgerError, Sums, TotalsQuery, UsageBy, UsageQuery, UsageRow};

use super::inference::READ_PATIENCE;
use super::organizations::no_organization;
use super::payers::KnownKey;
use super::runs::Rows;
use super::{Gateway, unavailable};

/// More than any catalogue has.
const MOST_MODELS: u32 = 10_000;

/// Some groups of a time, and the whole of it.
#[derive(Debug)]
pub struct Totals {
    /// The sums of each group.
    pub groups: Rows<(String, Sums)>,
    /// The sums of all groups, of other pages too.
    pub total: Sums,
}

impl Gateway {
    /// Sums over the ended calls of all runs. Calls in flight are not among them, and what has just
    /// ended is a moment later.
    ///
    /// Only one such question is asked at a time: it reads many rows, and the connections are
    /// others' too.
    ///
    /// # Errors
    /// 400 if there are more calls than can be summed up in the time that a statement may take.
    pub async fn totals(&self, mut query: TotalsQuery) -> Result<Totals, Fault> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        // One more tells whether there is another page.
        query.limit = query.limit.saturating_add(1);
        let _place = self.sums.acquire().await;
        let mut found = self.ledger.totals(&query).await.map_err(fault)?;
        let more = found.groups.len() > limit;
        found.groups.truncate(limit);
        Ok(Totals { groups: Rows { rows: found.groups, more }, total: found.total })
    }
}

impl Gateway {
    /// Sums over the ended calls of an organization, as [`Gateway::totals`] has them of all.
    ///
    /// # Errors
    /// 404 if there is no such organization; 400 if there is more than can be summed up in time, or
    /// a time is asked for whose calls are not kept one by one.
    pub async fn organization_usage(&self, mut query: UsageQuery) -> Result<Rows<UsageRow>, Fault> {
        let known = self.ledger.find_organization(query.organization).await;
        known.map_err(unavailable)?.ok_or_else(no_organization)?;
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        query.limit = query.limit.saturating_add(1);
        let _place = self.sums.acquire().await;
        let mut rows = self.ledger.usage(&query).await.map_err(fault)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Rows { rows, more })
    }
}

/// What a key has used in its current month.
#[derive(Debug)]
pub struct KeyUsage {
    /// The key, and where its limits stand.
    pub record: KeyRecord,
    /// When the month began.
    pub since: DateTime<Utc>,
    /// The sums of each model at each provider.
    pub models: Vec<UsageRow>,
    /// The sums of all of them.
    pub total: Sums,
}

impl Gateway {
    /// What a key has used, its latest settlements on this gateway included. `None` if there is no
    /// such key any more.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn key_usage(&self, key: &KnownKey) -> Result<Option<KeyUsage>, Fault> {
        let _place = self.reads.acquire().await;
        let _written_or_not = timeout(READ_PATIENCE, key.account.queue.written()).await;
        let organization = key.heard().organization;
        let record = self.ledger.key(organization, key.id).await.map_err(unavailable)?;
        let Some(record) = record else { return Ok(None) };
        // Every key has a monthly limit, whose window is the ledger's month.
        let since = record.standings.iter().find_map(|standing| {
            standing.since.filter(|_| standing.budget.window == Window::Month)
        });
        let since = since.unwrap_or_default();
        let query = UsageQuery {
            organization,
            key: Some(key.id),
            from: since,
            // Whole days alone, which are summed up already.
            to: since.checked_add_months(Months::new(1)).unwrap_or(since),
            group_by: UsageBy::Model,
            after: None,
            limit: MOST_MODELS,
        };
        let models = self.ledger.usage(&query).await.map_err(fault)?;
        let mut total = Sums::default();
        models.iter().for_each(|row| total.add(&row.sums));
        Ok(Some(KeyUsage { record, since, models, total }))
    }
}

/// Where the page after these groups begins.
pub fn rank_and_name(query: &TotalsQuery, last: &(String, Sums)) -> (Decimal, String) {
    (query.group_by.rank(last.1.cost), last.0.clone())
}

fn fault(error: LedgerError) -> Fault {
    match error {
        LedgerError::TooMuch => Fault::new(
            Code::InvalidRequest,
            "There are more calls between from and to than can be summed up in one request. Ask \
             for a shorter time.",
        )
        .param("from"),
        LedgerError::Retired(kept_from) => Fault::new(
            Code::InvalidRequest,
            format!(
                "Calls of before {} are not all kept one by one any more. Ask for whole days in \
                 UTC, and not by run, or for a later time.",
                kept_from.to_rfc3339_opts(SecondsFormat::Micros, true)
            ),
        )
        .param("from"),
        LedgerError::Unavailable(_) | LedgerError::Backlog | LedgerError::Lapsed => {
            unavailable(error)
        }
    }
}
