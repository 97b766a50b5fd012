//! The way of an ask into its lane and back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::budget::BudgetRef;
use crate::domain::id::OrganizationId;
use crate::domain::reservation::{Ask, Refusal, are_shared};

use super::super::LedgerError;
use super::super::grant::Grant;
use super::super::queue::Turn;
use super::admit::{Answered, Job};
use super::{ANSWER_TIMEOUT, PostgresLedger, unavailable};

/// Fewest and most lanes.
const MIN_LANES: usize = 2;
const MAX_LANES: usize = 8;
/// How often the windows of one ask may turn out to be over.
const MAX_TURNS: usize = 4;

/// How many lanes there are: one for each processor, since fewer make larger batches – on two
/// processors two carried 40 % more calls than four – but at least two, so that one locked row does
/// not hold up everybody.
pub(super) fn lane_count() -> usize {
    std::thread::available_parallelism().map_or(MIN_LANES, usize::from).clamp(MIN_LANES, MAX_LANES)
}

/// Which lane serves a call: that of its run, or, since they would only wait for each other's locks
/// on others, one for all calls that fall under budgets of the same organization.
pub(super) fn lane_of(
    budgets: &[BudgetRef],
    organization: OrganizationId,
    account: Uuid,
    lanes: usize,
) -> usize {
    let folded = if are_shared(budgets) { organization.uuid() } else { account }.as_u128();
    // The low bits are random in every version of UUID that is in use.
    usize::try_from((folded ^ (folded >> 64)) & 0xffff).unwrap_or(0) % lanes.max(1)
}

impl PostgresLedger {
    /// Asks on the rows of the current windows, and again where one of them has just turned.
    pub(super) async fn ask(
        &self,
        ask: Ask,
        turn: &Arc<Turn>,
    ) -> Result<Result<Grant, Refusal>, LedgerError> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        if !are_shared(&ask.budgets) {
            return match self.ask_once(ask, turn, ANSWER_TIMEOUT).await? {
                Answered::Granted(grant) => Ok(Ok(grant)),
                Answered::Refused(refusal) => Ok(Err(refusal)),
                Answered::Window(_) => Err(never_open()),
            };
        }
        for _ in 0..MAX_TURNS {
            let left = until.saturating_duration_since(Instant::now());
            let resolving = self.windows.resolve(&self.pool, ask.budgets.clone());
            let budgets = match tokio::time::timeout(left, resolving).await {
                Ok(resolved) => resolved.map_err(unavailable)?,
                Err(late) => return Err(LedgerError::Unavailable(Box::new(late))),
            };
            let asked = Ask { budgets: budgets.clone(), ..ask.clone() };
            match self.ask_once(asked, turn, left).await? {
                Answered::Granted(grant) => return Ok(Ok(grant)),
                Answered::Refused(refusal) => return Ok(Err(refusal)),
                Answered::Window(today) => self.windows.are_over(today, &budgets),
            }
        }
        Err(never_open())
    }

    async fn ask_once(
        &self,
        ask: Ask,
        turn: &Arc<Turn>,
        patience: Duration,
    ) -> Result<Answered, LedgerError> {
        let lanes = self.admissions.len();
        let lane = lane_of(&ask.budgets, ask.organization, ask.account(), lanes);
        let Some(sender) = self.admissions.get(lane) else {
            return Err(LedgerError::Backlog);
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { ask, turn: Arc::clone(turn), reply };
        sender.try_send(job).map_err(|_| LedgerError::Backlog)?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(gone)) => Err(LedgerError::Unavailable(Box::new(gone))),
            Err(late) => Err(LedgerError::Unavailable(Box::new(late))),
        }
    }
}

fn never_open() -> LedgerError {
    LedgerError::Unavailable("the current windows of a call's budgets are not open".into())
}
