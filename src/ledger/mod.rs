//! The ledger: where reservations are taken and settled, and where runs are kept.
//!
//! A port with two real implementations: [`postgres`] for everybody, [`memory`] for `rungate dev`
//! and as the model that tests hold the other one against. It knows runs, budgets and calls; it
//! knows nothing of models, prices or HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::{Attempt, KeyId, OrganizationId, ReservationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::reservation::{Ask, Refusal, Reservation};
use crate::domain::run::{
    Registration, RunPatch, RunSnapshot, RunStanding, RunState, StateAdmission,
};
use crate::domain::settlement::{Charge, CostSource};

pub mod queue;
pub mod grant;
pub mod totals;
pub mod usage;
pub mod organizations;
pub mod credits;
pub mod members;
pub mod audit;
pub mod providers;
pub mod memory;
pub mod postgres;

pub use audit::AuditLog;
pub use credits::Credits;
pub use grant::Grant;
pub use members::Members;
pub use organizations::Organizations;
pub use providers::Providers;
use queue::Turn;
pub use totals::{GroupBy, Sums, Totals, TotalsQuery};
pub use usage::{UsageBy, UsageQuery, UsageRow};

/// The ledger cannot answer. Nothing was reserved, or it will be released.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be reached, or did not answer in time.
    #[error("the ledger cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too much waits to be written; nothing more is admitted until it is.
    #[error("the ledger is behind with its writing")]
    Backlog,
    /// This gateway's lease lapsed and is not renewed yet.
    #[error("this gateway's lease has lapsed")]
    Lapsed,
    /// There is more to read than can be read in the time that a statement may take.
    #[error("the question takes too long to answer")]
    TooMuch,
    /// Calls of before this instant are not all kept as rows, and rows are needed for the answer.
    #[error("calls of before {0} are not kept one by one")]
    Retired(DateTime<Utc>),
}

/// What a reservation became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is booked.
    pub charge: Charge,
    /// The model that answered, if the provider said.
    pub served_model: Option<String>,
    /// The service tier that it was served in, unless that is the default one.
    pub service_tier: Option<String>,
    /// The HTTP status that the client got; 499 if it had gone.
    pub status: u16,
    /// From admission to the end, in milliseconds.
    pub latency_ms: u64,
    /// From admission to the first byte of the answer, in milliseconds.
    pub ttfb_ms: Option<u64>,
}

/// One ended attempt on its way into the ledger.
#[derive(Debug)]
pub struct Settlement {
    /// What was taken.
    pub reservation: Reservation,
    /// What became of it.
    pub outcome: Outcome,
}

/// Whom to look up.
#[derive(Clone, Copy, Debug)]
pub enum RunKey {
    /// The run of this id.
    Id(RunId),
    /// The run whose current attempt has this token.
    Token(TokenHash),
}

/// Something that a gateway should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run's state, limits, token, attempt or expiry changed.
    RunChanged(RunId),
    /// Money of a run, a key or an organization became free while somebody waited for it.
    BudgetFreed(Uuid),
    /// A key's status, secret or terms changed.
    KeyChanged(KeyId),
    /// An organization's settings or budgets changed.
    OrganizationChanged(OrganizationId),
    /// Events may have been missed: look at everything again.
    Reconnected,
}

/// What became of one registration.
#[derive(Clone, Debug)]
pub enum Registered {
    /// It is new; its token is valid.
    New(RunRecord),
    /// The same registration was made before.
    Existing(RunRecord),
}

/// Why runs could not be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The id is taken by another registration.
    #[error("run {0} is registered already, with another body")]
    Conflict(RunId),
    /// There is no such run.
    #[error("there is no such run")]
    NotFound,
    /// The new cap is below what is spent.
    #[error("the run has spent {spent} already")]
    LimitBelowSpent {
        /// What it has spent.
        spent: Usd,
    },
    /// A cancelled run has no next attempt.
    #[error("the run is {0:?}")]
    InvalidTransition(RunState),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A run with everything that it has used: what `/runs` answers.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The run.
    pub run: RunSnapshot,
    /// The orchestrator's notes: a JSON object, as text.
    pub metadata: String,
    /// Why it was closed, if somebody said.
    pub close_reason: Option<String>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Whether it is past its expiry, by the clock that admission goes by.
    pub expired: bool,
    /// Where its budgets stand: those that its current attempt spends from.
    pub balances: Vec<(Unit, Balance)>,
    /// What it has spent over all its attempts, in US dollars.
    pub total_spent: Decimal,
    /// Calls that have reserved on these budgets and not ended.
    pub in_flight: u64,
    /// Calls that have reserved on budgets of earlier attempts and not ended.
    pub earlier_in_flight: u64,
    /// What was spent of these budgets, by model.
    pub models: Vec<ModelUse>,
    /// How often it was refused, by code.
    pub refusals: Vec<(String, u64)>,
}

impl RunRecord {
    /// Where a budget stands, if the run has one of this unit.
    pub fn balance(&self, unit: Unit) -> Option<&Balance> {
        self.balances.iter().find(|(of, _)| *of == unit).map(|(_, balance)| balance)
    }

    /// Whether nothing can change any more in what the run has spent.
    pub fn is_final(&self) -> bool {
        let closed = self.run.standing.state.admission() == StateAdmission::Closed;
        (closed || self.expired) && self.in_flight == 0 && self.earlier_in_flight == 0
    }
}

/// What a run used of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelUse {
    /// The model's name in the catalogue.
    pub model: String,
    /// Attempts that bought something.
    pub calls: u64,
    /// All input.
    pub input_tokens: u64,
    /// The part of the input that came from a cache.
    pub cached_input_tokens: u64,
    /// All output.
    pub output_tokens: u64,
    /// The exact sum, in US dollars.
    pub cost: Decimal,
    /// How many calls have their cost from where; `none` is left out.
    pub sources: Vec<(CostSource, u64)>,
}

/// One ended attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The reservation's id.
    pub id: ReservationId,
    /// The request it served.
    pub request_id: String,
    /// The inference key it was made with, if any.
    pub key: Option<KeyId>,
    /// The run's attempt.
    pub attempt: Attempt,
    /// The model's name in the catalogue.
    pub model: String,
    /// What the client called it, where that is something else.
    pub requested_model: Option<String>,
    /// Who was asked.
    pub provider: String,
    /// Which endpoint was called.
    pub endpoint: String,
    /// The catalogue it was priced with.
    pub price_version: String,
    /// What became of it; the status is absent where nobody knows what the client got.
    pub charge: Charge,
    /// The model that answered.
    pub served_model: Option<String>,
    /// The service tier that it was served in, unless that is the default one.
    pub service_tier: Option<String>,
    /// What the client got.
    pub status: Option<u16>,
    /// From admission to the end, in milliseconds.
    pub latency_ms: Option<u64>,
    /// From admission to the first byte, in milliseconds.
    pub ttfb_ms: Option<u64>,
    /// When it was admitted.
    pub created_at: DateTime<Utc>,
}

/// A page of a list: at most `limit` rows after the row with this id.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The last row of the page before.
    pub after: Option<Uuid>,
    /// The most rows to answer.
    pub limit: u32,
}

/// How a run is closed.
#[derive(Clone, Debug)]
pub struct Close {
    /// The state to move towards.
    pub status: RunState,
    /// Whether calls in flight are cut.
    pub cut: bool,
    /// Why, in the orchestrator's words.
    pub reason: Option<String>,
}

/// Where money is reserved and runs are kept.
#[async_trait]
pub trait Ledger: Organizations + Credits + Members + AuditLog + Providers {
    /// Checks the run and its budgets and takes the amounts, durably, in one round trip.
    ///
    /// The calls of a run are decided in the order of their turns. The outer error means that
    /// nothing is known; the inner one is the rule that refuses.
    async fn admit(
        &self,
        ask: Ask,
        turn: &Arc<Turn>,
    ) -> Result<Result<Grant, Refusal>, LedgerError>;

    /// The run, if it exists.
    async fn find(&self, key: RunKey) -> Result<Option<RunSnapshot>, LedgerError>;

    /// What may have changed of these runs.
    async fn standings(&self, runs: &[RunId]) -> Result<Vec<(RunId, RunStanding)>, LedgerError>;

    /// Registers all or none.
    async fn register(
        &self,
        registrations: Vec<(Registration, TokenHash)>,
    ) -> Result<Vec<Registered>, RunsError>;

    /// Changes a run; once this has answered nothing is admitted on the old state.
    async fn patch(&self, run: RunId, patch: RunPatch) -> Result<RunRecord, RunsError>;

    /// Ends a run's spending; once this has answered nothing is admitted.
    async fn close(&self, run: RunId, close: Close) -> Result<RunRecord, RunsError>;

    /// Opens the next attempt under a new token, on budgets of its own if the run says so.
    async fn open_attempt(
        &self,
        run: RunId,
        status: RunState,
        token: TokenHash,
    ) -> Result<RunRecord, RunsError>;

    /// Replaces the current attempt's token.
    async fn rotate_token(&self, run: RunId, token: TokenHash) -> Result<RunRecord, RunsError>;

    /// A run with everything that it has used.
    async fn record(&self, run: RunId) -> Result<Option<RunRecord>, LedgerError>;

    /// Runs in the order of their registration, newest last: of one organization or of all.
    async fn list(
        &self,
        organization: Option<OrganizationId>,
        status: Option<RunState>,
        page: Page,
    ) -> Result<Vec<RunRecord>, LedgerError>;

    /// The ended calls of a run, in the order of their admission.
    async fn calls(&self, run: RunId, page: Page) -> Result<Vec<CallRecord>, LedgerError>;

    /// Sums over everybody's ended calls.
    async fn totals(&self, query: &TotalsQuery) -> Result<Totals, LedgerError>;

    /// Sums over an organization's ended calls.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError>;

    /// Adds to the counts of a run's refusals.
    async fn count_refusals(
        &self,
        refusals: Vec<(RunId, &'static str, u64)>,
    ) -> Result<(), LedgerError>;

    /// Whether calls can be admitted right now.
    async fn ready(&self) -> Result<(), LedgerError>;

    /// Waits until everything that was handed over is written.
    async fn flush(&self);
}
