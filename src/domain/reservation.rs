//! Reservations: the worst case of one upstream attempt, taken before anything is sent.

use super::budget::{Amounts, Balance, BudgetRef, Unit};
use super::id::{Attempt, ReservationId, RunId};
use super::key::TokenHash;
use super::run::RunState;
use super::usage::Tokens;

/// How a call shows that it may spend for its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The run's id alone, where that is enough.
    RunId,
    /// The token of the run's current attempt.
    Token(TokenHash),
}

/// What is written down about an attempt before it is made, so that a crash loses nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// The request it serves, as the client was told.
    pub request_id: String,
    /// The model's name in the catalogue.
    pub model: String,
    /// What the client calls it, where that is something else.
    pub requested_model: Option<String>,
    /// Who is asked.
    pub provider: String,
    /// Which endpoint was called.
    pub endpoint: &'static str,
    /// The catalogue it was priced with.
    pub price_version: String,
    /// The input it was reserved for.
    pub input_bound: Tokens,
    /// The output it was reserved for, over all choices.
    pub output_bound: Tokens,
}

/// What a call asks of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The attempt's id, minted here so that an answer that gets lost can be recognised.
    pub id: ReservationId,
    /// Whose money.
    pub run: RunId,
    /// By what right.
    pub authority: Authority,
    /// The run's budgets.
    pub budgets: Vec<BudgetRef>,
    /// The most it can take of each.
    pub amounts: Amounts,
    /// What is known of it.
    pub facts: CallFacts,
}

/// An amount taken on all of a call's budgets. It ends exactly once, by value.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, and later the call's.
    pub id: ReservationId,
    /// Whose money.
    pub run: RunId,
    /// The attempt of the run that it was admitted under.
    pub attempt: Attempt,
    /// The budgets it was taken on.
    pub budgets: Vec<BudgetRef>,
    /// What was taken.
    pub amounts: Amounts,
    /// The run's dollars right after.
    pub balance: Balance,
}

/// Why the ledger did not reserve. The order is the order of checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such run.
    RunNotFound,
    /// The token is not the current attempt's, or one is needed and none came.
    InvalidKey,
    /// The run is past running.
    RunClosed(RunState),
    /// The run is past its expiry.
    RunExpired,
    /// The run is not running yet.
    RunNotActive(RunState),
    /// The ask is on budgets of another attempt: the run has to be looked up again.
    Outdated,
    /// An earlier call of the run is waiting for money; this one may not overtake it.
    Behind {
        /// Where the run's dollars stand.
        usd: Balance,
    },
    /// One of its budgets cannot take it now.
    Budget {
        /// Which.
        unit: Unit,
        /// Where that budget stands.
        balance: Balance,
        /// Where the run's dollars stand.
        usd: Balance,
    },
}
