//! Admission: what a batch of asks looks like to the database, and what it answers.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::budget::{Balance, Scope, Unit, Window};
use crate::domain::id::{Attempt, KeyId, RunId};
use crate::domain::reservation::{Ask, Authority, Refusal};
use crate::domain::run::RunState;

use super::super::LedgerError;
use super::super::grant::Grant;
use super::super::queue::Turn;
use super::step::AskRow;

/// What one call gets to hear.
pub(super) type Answer = Result<Answered, LedgerError>;

/// What the database decided about one call.
pub(super) enum Answered {
    Granted(Grant),
    Refused(Refusal),
    /// A window that it falls under is over, or not open yet; this is the day.
    Window(DateTime<Utc>),
}

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
    Window(DateTime<Utc>),
    Lapsed,
}

/// The budgets of a batch, as they come.
pub(super) fn budgets(jobs: &[Job]) -> impl Iterator<Item = Uuid> {
    jobs.iter().flat_map(|job| job.ask.budgets.iter().map(|budget| budget.id.uuid()))
}

/// The distinct keys of a batch, ascending.
pub(super) fn keys(jobs: &[Job]) -> Vec<Uuid> {
    let keys = jobs.iter().filter_map(|job| job.ask.authority.key());
    let mut keys: Vec<Uuid> = keys.map(KeyId::uuid).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Where an id is among others that ascend, from 1.
fn position(id: Uuid, among: &[Uuid]) -> i32 {
    among.binary_search(&id).map_or(0, |at| i32::try_from(at + 1).unwrap_or(0))
}

/// The batch as of now, on these budgets and keys: whoever waits before one of them is waited for.
pub(super) fn rows<'a>(jobs: &'a [Job], budgets: &[Uuid], keys: &[Uuid]) -> Vec<AskRow<'a>> {
    let row = |job: &'a Job| {
        let Ask { id, organization: _, run, authority, heard, budgets: own, amounts, facts } =
            &job.ask;
        let (token_hash, key_hash) = match authority {
            Authority::Token(hash) => (Some(hash.as_bytes().as_slice()), None),
            Authority::Key(_, hash) => (None, hash.as_ref().map(|hash| hash.as_bytes().as_slice())),
            Authority::RunId => (None, None),
        };
        AskRow {
            id: id.uuid(),
            run: run.map(RunId::uuid),
            token_hash,
            key_at: authority.key().map(|key| position(key.uuid(), keys)),
            key_hash,
            payer_version: signed(heard.payer),
            key_version: signed(heard.key),
            behind: job.turn.ask_is_behind(),
            positions: own.iter().map(|budget| position(budget.id.uuid(), budgets)).collect(),
            budget_ids: own.iter().map(|budget| budget.id.uuid()).collect(),
            usd: amounts.usd.decimal(),
            tokens: amounts.tokens.signed(),
            request_id: &facts.request_id,
            model: &facts.model,
            requested_model: facts.requested_model.as_deref(),
            provider: &facts.provider,
            endpoint: facts.endpoint,
            price_version: &facts.price_version,
            input_bound: facts.input_bound.signed(),
            output_bound: facts.output_bound.signed(),
        }
    };
    jobs.iter().map(row).collect()
}

/// A version as Postgres counts.
fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
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
            return Ok(Verdict::Admitted(attempt, read_balance(row, USD)?));
        }
        "lapsed" => return Ok(Verdict::Lapsed),
        "window" => return Ok(Verdict::Window(row.try_get(14)?)),
        "run_not_found" => Refusal::RunNotFound,
        "invalid_key" => Refusal::InvalidKey,
        "run_closed" => Refusal::RunClosed(state()?),
        "run_expired" => Refusal::RunExpired,
        "run_not_active" => Refusal::RunNotActive(state()?),
        "outdated" => Refusal::Outdated,
        "behind" => Refusal::Behind { usd: read_balance(row, USD)? },
        "budget" => {
            // Where all budgets are runs', nothing is said about whose they are.
            let scope = row.try_get::<Option<&str>, _>(4)?.map_or(Some(Scope::Run), Scope::parse);
            let unit: &str = row.try_get(5)?;
            let window = row.try_get::<Option<&str>, _>(6)?;
            let window = window.map_or(Some(Window::Lifetime), Window::parse);
            Refusal::Budget {
                scope: scope.ok_or_else(|| unreadable("scope"))?,
                unit: Unit::parse(unit).ok_or_else(|| unreadable("unit"))?,
                window: window.ok_or_else(|| unreadable("period"))?,
                latched: row.try_get::<Option<bool>, _>(10)?.unwrap_or_default(),
                balance: read_balance(row, 7)?,
                usd: read_balance(row, USD)?,
            }
        }
        _ => return Err(unreadable("verdict")),
    };
    Ok(Verdict::Refused(refusal))
}

/// Where the columns of the last budget in dollars begin. A call may have none.
const USD: usize = 11;

fn read_balance(row: &PgRow, from: usize) -> Result<Balance, sqlx::Error> {
    let number = |at| row.try_get::<Option<Decimal>, _>(at).map(Option::unwrap_or_default);
    Ok(Balance { limit: number(from)?, spent: number(from + 1)?, reserved: number(from + 2)? })
}

/// A value of the database that this program has no word for.
pub(super) fn unreadable(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the {what} in the ledger is not known to this version").into())
}
