//! Admission: what a batch of asks looks like to the database, and what it answers.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::Attempt;
use crate::domain::reservation::{Ask, Authority, Refusal};
use crate::domain::run::RunState;

use super::super::LedgerError;
use super::super::grant::Grant;
use super::super::queue::Turn;
use super::step::AskRow;

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

/// The budgets of a batch, as they come.
pub(super) fn budgets(jobs: &[Job]) -> impl Iterator<Item = Uuid> {
    jobs.iter().flat_map(|job| job.ask.budgets.iter().map(|budget| budget.id.uuid()))
}

/// The batch as of now, on these budgets: whoever waits before one of them is waited for.
pub(super) fn rows<'a>(jobs: &'a [Job], budgets: &[Uuid]) -> Vec<AskRow<'a>> {
    let row = |job: &'a Job| {
        let Ask { id, run, authority, budgets: own, amounts, facts } = &job.ask;
        let position = |id: Uuid| {
            budgets.binary_search(&id).map_or(0, |at| i32::try_from(at + 1).unwrap_or(0))
        };
        AskRow {
            id: id.uuid(),
            run: run.uuid(),
            token_hash: match authority {
                Authority::Token(hash) => Some(hash.as_bytes().as_slice()),
                Authority::RunId => None,
            },
            behind: job.turn.ask_is_behind(),
            positions: own.iter().map(|budget| position(budget.id.uuid())).collect(),
            budget_ids: own.iter().map(|budget| budget.id.uuid()).collect(),
            usd: amounts.usd.decimal(),
            tokens: amounts.tokens.signed(),
            request_id: &facts.request_id,
            model: &facts.model,
            provider: &facts.provider,
            endpoint: facts.endpoint,
            price_version: &facts.price_version,
            input_bound: facts.input_bound.signed(),
            output_bound: facts.output_bound.signed(),
            requested_model: facts.requested_model.as_deref(),
        }
    };
    jobs.iter().map(row).collect()
}

/// Reads a verdict; its columns begin at the second.
pub(super) fn read_verdict(row: &PgRow) -> Result<Verdict, sqlx::Error> {
    let word: &str = row.try_get(1)?;
    let state = || {
        let state: &str = row.try_get(2)?;
        RunState::parse(state).ok_or_else(|| unreadable("state"))
    };
    let refusal = match word {
        "admitted" => {
            let attempt: i32 = row.try_get(3)?;
            let attempt = u32::try_from(attempt).ok().and_then(Attempt::new);
            let attempt = attempt.ok_or_else(|| unreadable("attempt"))?;
            return Ok(Verdict::Admitted(attempt, read_balance(row, 8)?));
        }
        "lapsed" => return Ok(Verdict::Lapsed),
        "run_not_found" => Refusal::RunNotFound,
        "invalid_key" => Refusal::InvalidKey,
        "run_closed" => Refusal::RunClosed(state()?),
        "run_expired" => Refusal::RunExpired,
        "run_not_active" => Refusal::RunNotActive(state()?),
        "outdated" => Refusal::Outdated,
        "behind" => Refusal::Behind { usd: read_balance(row, 8)? },
        "budget" => {
            let unit: &str = row.try_get(4)?;
            Refusal::Budget {
                unit: Unit::parse(unit).ok_or_else(|| unreadable("unit"))?,
                balance: read_balance(row, 5)?,
                usd: read_balance(row, 8)?,
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
