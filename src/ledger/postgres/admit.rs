//! Admission: what a batch of asks looks like to the database, and what it answers.

use std::sync::Arc;

use rust_decimal::Decimal;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::{Attempt, BudgetId, GatewayId};
use crate::domain::reservation::{Ask, Authority, Refusal};
use crate::domain::run::RunState;

use super::super::LedgerError;
use super::super::grant::Grant;
use super::super::queue::Turn;
use super::statements;

/// What one call gets to hear.
pub(super) type Answer = Result<Result<Grant, Refusal>, LedgerError>;

/// One ask on its way.
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) turn: Arc<Turn>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// A verdict as the statement answers it.
pub(super) enum Verdict {
    Admitted(Attempt, Balance),
    Refused(Refusal),
    Lapsed,
}

/// A batch of asks as one statement takes it.
pub(super) struct Asks<'a> {
    gateway: GatewayId,
    asks: Vec<&'a Ask>,
    behind: Vec<bool>,
    /// The distinct budgets, ascending.
    budgets: Vec<BudgetId>,
}

impl<'a> Asks<'a> {
    /// The batch as of now: whoever waits before one of them is waited for.
    pub(super) fn of(gateway: GatewayId, jobs: &'a [Job]) -> Self {
        let asks: Vec<&Ask> = jobs.iter().map(|job| &job.ask).collect();
        let behind = jobs.iter().map(|job| job.turn.ask_is_behind()).collect();
        let mut budgets: Vec<BudgetId> =
            asks.iter().flat_map(|ask| ask.budgets.iter().map(|budget| budget.id)).collect();
        budgets.sort_unstable();
        budgets.dedup();
        Self { gateway, asks, behind, budgets }
    }

    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    pub(super) fn budgets(&self) -> impl Iterator<Item = Uuid> {
        self.budgets.iter().map(|id| id.uuid())
    }

    fn texts(&self, of: impl Fn(&'a Ask) -> &'a str) -> Vec<&'a str> {
        self.asks.iter().map(|ask| of(ask)).collect()
    }

    fn numbers(&self, of: fn(&Ask) -> i64) -> Vec<i64> {
        self.asks.iter().map(|ask| of(ask)).collect()
    }

    /// Binds the parameters of `ledger_admit`.
    pub(super) fn bind(
        &self,
        query: Query<'a, Postgres, PgArguments>,
    ) -> Query<'a, Postgres, PgArguments> {
        let asks = &self.asks;
        let position = |id: BudgetId| {
            self.budgets.binary_search(&id).map_or(0, |at| i32::try_from(at + 1).unwrap_or(0))
        };
        let count = |ask: &Ask| i32::try_from(ask.budgets.len()).unwrap_or(0);
        let mut next = 1;
        let mut first = Vec::with_capacity(asks.len());
        for ask in asks {
            first.push(next);
            next += count(ask);
        }
        let each = || asks.iter().flat_map(|ask| ask.budgets.iter().map(|budget| budget.id));
        let hash = |ask: &'a Ask| match &ask.authority {
            Authority::Token(hash) => Some(hash.as_bytes().as_slice()),
            Authority::RunId => None,
        };
        query
            .bind(self.gateway.uuid())
            .bind(self.budgets().collect::<Vec<Uuid>>())
            .bind(each().map(BudgetId::uuid).collect::<Vec<Uuid>>())
            .bind(each().map(position).collect::<Vec<i32>>())
            .bind(first)
            .bind(asks.iter().map(|ask| count(ask)).collect::<Vec<i32>>())
            .bind(asks.iter().map(|ask| ask.id.uuid()).collect::<Vec<Uuid>>())
            .bind(asks.iter().map(|ask| ask.run.uuid()).collect::<Vec<Uuid>>())
            .bind(asks.iter().map(|ask| hash(ask)).collect::<Vec<_>>())
            .bind(self.behind.clone())
            .bind(asks.iter().map(|ask| ask.amounts.usd.decimal()).collect::<Vec<Decimal>>())
            .bind(self.numbers(|ask| ask.amounts.tokens.signed()))
            .bind(self.texts(|ask| &ask.facts.request_id))
            .bind(self.texts(|ask| &ask.facts.model))
            .bind(self.texts(|ask| &ask.facts.provider))
            .bind(self.texts(|ask| ask.facts.endpoint))
            .bind(self.texts(|ask| &ask.facts.price_version))
            .bind(self.numbers(|ask| ask.facts.input_bound.signed()))
            .bind(self.numbers(|ask| ask.facts.output_bound.signed()))
    }

    /// Asks the database for the verdicts, in the order of the asks.
    pub(super) async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Verdict>, sqlx::Error> {
        let rows = self.bind(sqlx::query(statements::ADMIT)).fetch_all(connection).await?;
        let verdicts =
            rows.iter().map(|row| read_verdict(row, 0)).collect::<Result<Vec<_>, _>>()?;
        if verdicts.len() == self.len() { Ok(verdicts) } else { Err(sqlx::Error::RowNotFound) }
    }
}

/// Reads a verdict whose columns begin at `at`.
pub(super) fn read_verdict(row: &PgRow, at: usize) -> Result<Verdict, sqlx::Error> {
    let word: &str = row.try_get(at)?;
    let state = || {
        let state: &str = row.try_get(at + 1)?;
        RunState::parse(state).ok_or_else(|| unreadable("state"))
    };
    let refusal = match word {
        "admitted" => {
            let attempt: i32 = row.try_get(at + 2)?;
            let attempt = u32::try_from(attempt).ok().and_then(Attempt::new);
            let attempt = attempt.ok_or_else(|| unreadable("attempt"))?;
            return Ok(Verdict::Admitted(attempt, read_balance(row, at + 7)?));
        }
        "lapsed" => return Ok(Verdict::Lapsed),
        "run_not_found" => Refusal::RunNotFound,
        "invalid_key" => Refusal::InvalidKey,
        "run_closed" => Refusal::RunClosed(state()?),
        "run_expired" => Refusal::RunExpired,
        "run_not_active" => Refusal::RunNotActive(state()?),
        "behind" => Refusal::Behind { usd: read_balance(row, at + 7)? },
        "budget" => {
            let unit: &str = row.try_get(at + 3)?;
            Refusal::Budget {
                unit: Unit::parse(unit).ok_or_else(|| unreadable("unit"))?,
                balance: read_balance(row, at + 4)?,
                usd: read_balance(row, at + 7)?,
            }
        }
        _ => return Err(unreadable("verdict")),
    };
    Ok(Verdict::Refused(refusal))
}

fn read_balance(row: &PgRow, from: usize) -> Result<Balance, sqlx::Error> {
    Ok(Balance {
        limit: row.try_get(from)?,
        spent: row.try_get(from + 1)?,
        reserved: row.try_get(from + 2)?,
    })
}

/// A value of the database that this program has no word for.
pub(super) fn unreadable(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the {what} in the ledger is not known to this version").into())
}
