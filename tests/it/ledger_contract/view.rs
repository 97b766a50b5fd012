//! Answers of ledgers as values that can be compared: numbers by value, no timestamps of the
//! ledger's own, nothing in an order that no ledger promises.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use rungate::domain::budget::Unit;
use rungate::domain::id::{ReservationId, RunId};
use rungate::domain::reservation::Refusal;
use rungate::domain::run::{RunStanding, RunTerms};
use rungate::domain::settlement::CostSource;
use rungate::ledger::{
    CallRecord, Grant, Ledger, ModelUse, Page, Registered, RunRecord, RunsError,
};
use rust_decimal::Decimal;

use super::fixture::numbers;

/// Small, so that reading a run's calls takes several pages.
const CALLS_PER_PAGE: u32 = 64;

#[derive(Debug, PartialEq)]
pub(crate) struct RunView {
    pub(crate) id: RunId,
    pub(crate) terms: RunTerms,
    pub(crate) units: Vec<Unit>,
    pub(crate) standing: RunStanding,
    pub(crate) metadata: serde_json::Value,
    pub(crate) close_reason: Option<String>,
    pub(crate) is_closed: bool,
    pub(crate) balances: Vec<(Unit, [Decimal; 3])>,
    pub(crate) total_spent: Decimal,
    pub(crate) in_flight: u64,
    pub(crate) earlier_in_flight: u64,
    pub(crate) models: Vec<ModelUse>,
    pub(crate) refusals: Vec<(String, u64)>,
}

impl RunView {
    pub(crate) fn of(record: RunRecord) -> Self {
        let mut models = record.models;
        for used in &mut models {
            used.sources.sort_by_key(|(source, _)| source.as_str());
        }
        models.sort_by(|a, b| a.model.cmp(&b.model));
        let mut refusals = record.refusals;
        refusals.sort();
        let balances = record.balances.iter();
        Self {
            id: record.run.id,
            terms: record.run.terms,
            units: record.run.budgets.iter().map(|budget| budget.unit).collect(),
            standing: record.run.standing,
            metadata: serde_json::from_str(&record.metadata).unwrap(),
            close_reason: record.close_reason,
            is_closed: record.closed_at.is_some(),
            balances: balances.map(|(unit, balance)| (*unit, numbers(balance))).collect(),
            total_spent: record.total_spent.normalize(),
            in_flight: record.in_flight,
            earlier_in_flight: record.earlier_in_flight,
            models,
            refusals,
        }
    }
}

/// What a change of the registry answers.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    New(RunView),
    Existing(RunView),
    Changed(RunView),
    Refused(&'static str, String),
}

impl Answer {
    pub(crate) fn of_change(answer: Result<RunRecord, RunsError>) -> Self {
        match answer {
            Ok(record) => Self::Changed(RunView::of(record)),
            Err(error) => Self::refused(error),
        }
    }

    pub(crate) fn of_registration(answer: Result<Vec<Registered>, RunsError>) -> Vec<Self> {
        match answer {
            Ok(registered) => registered
                .into_iter()
                .map(|one| match one {
                    Registered::New(record) => Self::New(RunView::of(record)),
                    Registered::Existing(record) => Self::Existing(RunView::of(record)),
                })
                .collect(),
            Err(error) => vec![Self::refused(error)],
        }
    }

    fn refused(error: RunsError) -> Self {
        let (code, what) = match error {
            RunsError::Conflict(run) => ("run_conflict", run.to_string()),
            RunsError::NotFound => ("run_not_found", String::new()),
            RunsError::LimitBelowSpent { spent } => {
                ("limit_below_spent", spent.normalized().to_string())
            }
            RunsError::InvalidTransition(state) => ("invalid_transition", format!("{state:?}")),
            RunsError::Ledger(error) => panic!("the ledger failed: {error:?}"),
        };
        Self::Refused(code, what)
    }
}

/// What a call hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Admitted { id: ReservationId, attempt: u32, balance: [Decimal; 3] },
    Refused(Refusal),
}

impl Verdict {
    pub(crate) fn of(answer: &Result<Grant, Refusal>) -> Self {
        match answer {
            Ok(grant) => Self::Admitted {
                id: grant.id(),
                attempt: grant.attempt().number(),
                balance: numbers(grant.balance()),
            },
            Err(refusal) => Self::Refused(*refusal),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Refused(refusal) => match refusal {
                Refusal::RunNotFound => "run_not_found",
                Refusal::InvalidKey => "invalid_key",
                Refusal::RunClosed(_) => "run_closed",
                Refusal::RunExpired => "run_expired",
                Refusal::RunNotActive(_) => "run_not_active",
                Refusal::Outdated => "outdated",
                Refusal::Behind { .. } => "behind",
                Refusal::Budget { unit: Unit::Calls, .. } => "budget calls",
                Refusal::Budget { unit: Unit::Tokens, .. } => "budget tokens",
                Refusal::Budget { unit: Unit::Usd, .. } => "budget usd",
            },
        }
    }

    /// Whether a wait is worth it: the call has joined the queue.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Behind { .. } | Refusal::Budget { .. }))
    }
}

pub(crate) async fn record(ledger: &dyn Ledger, run: RunId) -> RunView {
    RunView::of(ledger.record(run).await.unwrap().unwrap())
}

/// Every ended call of a run, read page by page.
pub(crate) async fn calls(ledger: &dyn Ledger, run: RunId) -> Vec<CallRecord> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after, limit: CALLS_PER_PAGE };
        let rows = ledger.calls(run, page).await.unwrap();
        let Some(last) = rows.last() else { return all };
        after = Some(last.id.uuid());
        let timeless = |call| CallRecord { created_at: DateTime::<Utc>::UNIX_EPOCH, ..call };
        all.extend(rows.into_iter().map(timeless));
    }
}

/// What calls took of a unit, by their rows.
pub(crate) fn taken(calls: &[CallRecord], unit: Unit) -> Decimal {
    let of = |call: &CallRecord| match unit {
        Unit::Usd => call.charge.cost.decimal(),
        Unit::Tokens => Decimal::from(call.charge.usage.total().count()),
        Unit::Calls => Decimal::from(u8::from(call.charge.source != CostSource::None)),
    };
    calls.iter().map(of).sum()
}

/// Fails with everything that is needed to see it again.
#[track_caller]
pub(crate) fn agree<T: Debug + PartialEq>(model: &T, other: &T, story: &str) {
    assert!(model == other, "the ledgers differ\n model: {model:#?}\n other: {other:#?}\n{story}");
}
