//! Which rows the windows of a day or a month are, by the database's clock alone.
//!
//! A budget with a window is a template; the window that is current is a row of its own, which is
//! opened when it is first needed. What is remembered here may be outdated: then the statement that
//! admits says so, with the day that it is.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sqlx::{PgPool, Row as _};

use crate::domain::budget::{BudgetRef, Window};
use crate::domain::id::BudgetId;

/// Opens the current window of a template; answers its row and the day.
const OPEN: &str = "SELECT row_id, today FROM ledger_open_window($1)";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 1] = [OPEN];

/// The windows that are open, as far as this gateway knows.
#[derive(Default)]
pub(super) struct Windows {
    known: Mutex<Known>,
    /// At the turn of a window one call opens it for all.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    today: Option<DateTime<Utc>>,
    rows: HashMap<BudgetId, BudgetId>,
}

impl Windows {
    /// The budgets with the rows of their current windows in the place of templates. Asks the
    /// database once for each window.
    pub(super) async fn resolve(
        &self,
        pool: &PgPool,
        budgets: Vec<BudgetRef>,
    ) -> Result<Vec<BudgetRef>, sqlx::Error> {
        let mut rows = Vec::with_capacity(budgets.len());
        for budget in budgets {
            let id = match budget.window {
                Window::Lifetime => budget.id,
                Window::Day | Window::Month => match self.known_row(budget.id) {
                    Some(row) => row,
                    None => self.open(pool, budget.id).await?,
                },
            };
            rows.push(BudgetRef { id, ..budget });
        }
        Ok(rows)
    }

    fn known_row(&self, template: BudgetId) -> Option<BudgetId> {
        self.known.lock().rows.get(&template).copied()
    }

    async fn open(&self, pool: &PgPool, template: BudgetId) -> Result<BudgetId, sqlx::Error> {
        let _alone = self.opening.lock().await;
        if let Some(row) = self.known_row(template) {
            return Ok(row);
        }
        let opened = sqlx::query(OPEN).bind(template.uuid()).fetch_one(pool).await?;
        let row = BudgetId::from_uuid(opened.try_get(0)?);
        self.note_day(opened.try_get(1)?);
        self.known.lock().rows.insert(template, row);
        Ok(row)
    }

    /// It is this day: on another one, all windows are looked up anew.
    fn note_day(&self, today: DateTime<Utc>) {
        let mut known = self.known.lock();
        if known.today != Some(today) {
            known.today = Some(today);
            known.rows.clear();
        }
    }

    /// The statement that admits found a window over or not open. `asked` are the rows that it was
    /// asked on: somebody else may have learnt it meanwhile.
    pub(super) fn are_over(&self, today: DateTime<Utc>, asked: &[BudgetRef]) {
        self.note_day(today);
        let mut known = self.known.lock();
        known.rows.retain(|_, row| asked.iter().all(|budget| budget.id != *row));
    }
}
