//! Reservations: the worst case of one upstream attempt, taken before anything is sent.

use uuid::Uuid;

use super::budget::{Amounts, Balance, BudgetRef, Scope, Unit, Window};
use super::id::{Attempt, KeyId, OrganizationId, ReservationId, RunId};
use super::key::TokenHash;
use super::run::RunState;
use super::usage::Tokens;

/// How a call shows that it may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The run's id alone, where that is enough.
    RunId,
    /// The token of the run's current attempt.
    Token(TokenHash),
    /// An inference key and the hash of its secret, or none where a client's certificate stands
    /// for it; for a run of its organization, or for none.
    Key(KeyId, Option<TokenHash>),
}

impl Authority {
    /// The inference key, if it is one.
    pub const fn key(self) -> Option<KeyId> {
        match self {
            Self::Key(id, _) => Some(id),
            Self::RunId | Self::Token(_) => None,
        }
    }
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

/// How often those who pay had been changed when an asker last heard of them. What a call was let
/// in on beside the ledger – which budgets there are, what its key allows, who may be asked – is of
/// these versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The organization's version.
    pub payer: u64,
    /// The key's version; of no account where there is none.
    pub key: u64,
}

/// What a call asks of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The attempt's id, minted here so that an answer that gets lost can be recognised.
    pub id: ReservationId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose call it is; `None` if it is its key's alone.
    pub run: Option<RunId>,
    /// By what right.
    pub authority: Authority,
    /// What its asker goes by.
    pub heard: Heard,
    /// The budgets that it falls under, in the order of checking.
    pub budgets: Vec<BudgetRef>,
    /// The most it can take of each.
    pub amounts: Amounts,
    /// What is known of it.
    pub facts: CallFacts,
}

impl Ask {
    /// Those whose calls stay in their order: the run's, else the key's.
    pub fn account(&self) -> Uuid {
        account(self.run, self.authority.key())
    }
}

/// Whose calls stay in their order: the run's, else the key's.
fn account(run: Option<RunId>, key: Option<KeyId>) -> Uuid {
    run.map(RunId::uuid).or(key.map(KeyId::uuid)).unwrap_or_default()
}

/// Whether any of these budgets is not a run's, and so may be met by calls of others.
pub fn are_shared(budgets: &[BudgetRef]) -> bool {
    budgets.iter().any(|budget| budget.scope != Scope::Run)
}

/// An amount taken on all of a call's budgets. It ends exactly once, by value.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, and later the call's.
    pub id: ReservationId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose call it is; `None` if it is its key's alone.
    pub run: Option<RunId>,
    /// The key that it was asked for with, if any.
    pub key: Option<KeyId>,
    /// The attempt of the run that it was admitted under.
    pub attempt: Attempt,
    /// The budgets it was taken on.
    pub budgets: Vec<BudgetRef>,
    /// What was taken.
    pub amounts: Amounts,
    /// The run's dollars right after; of a call without a run, those of its last budget in dollars.
    pub balance: Balance,
}

impl Reservation {
    /// Those whose calls stay in their order: the run's, else the key's.
    pub fn account(&self) -> Uuid {
        account(self.run, self.key)
    }
}

/// Why the ledger did not reserve. The order is the order of checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such run.
    RunNotFound,
    /// The token is not the current attempt's, or one is needed and none came; or the key is not
    /// good any more.
    InvalidKey,
    /// The run is past running.
    RunClosed(RunState),
    /// The run is past its expiry.
    RunExpired,
    /// The run is not running yet.
    RunNotActive(RunState),
    /// The ask is on budgets of another attempt, or its organization or key was changed since its
    /// asker heard of them: they have to be looked up again.
    Outdated,
    /// An earlier call of the run is waiting for money; this one may not overtake it.
    Behind {
        /// Where the run's dollars stand.
        usd: Balance,
    },
    /// One of its budgets cannot take it now.
    Budget {
        /// Whose.
        scope: Scope,
        /// In what.
        unit: Unit,
        /// Over which time.
        window: Window,
        /// Whether it stays closed, whatever becomes free, until somebody resets it.
        latched: bool,
        /// Where that budget stands.
        balance: Balance,
        /// Where the run's dollars stand.
        usd: Balance,
    },
}
