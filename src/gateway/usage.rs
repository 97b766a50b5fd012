//! What was used over a time, by everybody.

use chrono::SecondsFormat;
use rust_decimal::Decimal;

use crate::domain::fault::{Code, Fault};
use crate::ledger::{LedgerError, Sums, TotalsQuery, UsageQuery, UsageRow};

use super::organizations::no_organization;
use super::runs::Rows;
use super::{Gateway, unavailable};

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
