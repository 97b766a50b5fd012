//! What orchestrators do to runs: register, look, change, close, try again.
//!
//! Counts of refusals are written before a run is read, so that a reader sees its own; and what was
//! changed is looked up again at once, so that this gateway's calls hear of it before the answer
//! does.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use crate::catalog::Unresolved;
use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::key::{NewRunToken, NoRandomness};
use crate::domain::run::{Registration, RunPatch, RunState, RunTerms, StateAdmission};
use crate::ledger::{CallRecord, Close, Page, Registered, RunRecord, RunsError};
use crate::protocol::json;
use crate::providers;

use super::caller::run_not_found;
use super::route::allows;
use super::{Gateway, unavailable};

/// The first pause between two looks at a run that is waited for; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A run, and its token where one was just made.
#[derive(Debug)]
pub struct OpenedRun {
    /// The run.
    pub record: RunRecord,
    /// Shown once.
    pub token: Option<SecretString>,
}

/// Some rows of a list, and where the next ones begin.
#[derive(Debug)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether there are more after these.
    pub more: bool,
}

impl Gateway {
    /// Registers all runs or none. New ones come with their token.
    ///
    /// # Errors
    /// 400 for a model that is not in the catalogue; 409 if an id is taken by another registration.
    pub async fn register(
        &self,
        registrations: Vec<Registration>,
    ) -> Result<Vec<OpenedRun>, Fault> {
        let several = registrations.len() > 1;
        for (index, registration) in registrations.iter().enumerate() {
            self.check_models(registration, several.then_some(index))?;
        }
        let mut secrets = Vec::with_capacity(registrations.len());
        let mut hashed = Vec::with_capacity(registrations.len());
        for registration in registrations {
            let token = NewRunToken::generate().map_err(no_randomness)?;
            secrets.push(token.secret);
            hashed.push((registration, token.hash));
        }
        let registered = self.ledger.register(hashed).await.map_err(fault)?;
        let opened = registered.into_iter().zip(secrets).map(|(registered, secret)| {
            let (record, token) = match registered {
                Registered::New(record) => (record, Some(secret)),
                Registered::Existing(record) => (record, None),
            };
            OpenedRun { record, token }
        });
        Ok(opened.collect())
    }

    /// Every model that a run is allowed must be one that the catalogue knows, and every alias must
    /// lead to one that the run may use. A provider that has no key today may have one when the
    /// run begins.
    fn check_models(&self, registration: &Registration, index: Option<usize>) -> Result<(), Fault> {
        let terms = &registration.terms;
        let wrong = |member: &str, message: String| {
            let place = index.map(|index| format!("[{index}].")).unwrap_or_default();
            Err(Fault::new(Code::InvalidModel, message).param(format!("{place}{member}")))
        };
        for name in terms.allowed_models.iter().flatten() {
            if self.catalog().resolve(name, |_| true).is_err() {
                return wrong("allowed_models", no_such_model(name));
            }
        }
        let pinned = terms.control.provider.as_deref();
        for (alias, name) in &terms.control.model_aliases {
            let (shown, alias) = (shown(name), shown(alias));
            let says = match self.catalog().resolve_at(name, pinned, |_| true) {
                Ok(_) if self.may_reach(terms, name) => continue,
                Ok(_) => {
                    format!("The alias {alias} leads to {shown}, which is not in `allowed_models`.")
                }
                Err(Unresolved::Elsewhere) => {
                    let provider = pinned.unwrap_or_default();
                    format!("The alias {alias} leads to {shown}, which {provider} does not serve.")
                }
                Err(Unresolved::Unknown | Unresolved::NotConfigured(_)) => no_such_model(name),
            };
            return wrong("model_aliases", says);
        }
        Ok(())
    }

    /// Whether a call for this name of the catalogue's could go to a target that the terms allow.
    fn may_reach(&self, terms: &RunTerms, name: &str) -> bool {
        let pinned = terms.control.provider.as_deref();
        providers::REGISTRY.iter().any(|provider| {
            let there = pinned.is_none_or(|pinned| pinned == provider.name);
            let target = self.catalog().resolve_at(name, Some(provider.name), |_| true);
            there && target.is_ok_and(|target| allows(terms, &target))
        })
    }

    /// A run with everything that it has used.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn run(&self, run: RunId) -> Result<RunRecord, Fault> {
        self.catch_up(run).await;
        self.ledger.record(run).await.map_err(unavailable)?.ok_or_else(run_not_found)
    }

    /// Runs in the order of their registration, of one organization and state or of all.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn runs(
        &self,
        organization: Option<OrganizationId>,
        status: Option<RunState>,
        page: Page,
    ) -> Result<Rows<RunRecord>, Fault> {
        self.write_refusals().await;
        let listing = self.ledger.list(organization, status, one_more(page));
        let rows = listing.await.map_err(unavailable)?;
        Ok(cut(rows, page))
    }

    /// The ended calls of a run, in the order of their admission.
    ///
    /// # Errors
    /// 404 if there is no such run.
    pub async fn calls(&self, run: RunId, page: Page) -> Result<Rows<CallRecord>, Fault> {
        let rows = self.ledger.calls(run, one_more(page)).await.map_err(unavailable)?;
        if rows.is_empty() {
            // Only here does it matter whether the run exists. `find` would make one in dev mode.
            self.ledger.record(run).await.map_err(unavailable)?.ok_or_else(run_not_found)?;
        }
        Ok(cut(rows, page))
    }

    /// Changes a run. A state that it has passed already changes nothing.
    ///
    /// # Errors
    /// 404 if there is none; 409 if the new cap is below what is spent.
    pub async fn patch_run(&self, run: RunId, patch: RunPatch) -> Result<RunRecord, Fault> {
        self.write_refusals().await;
        let record = self.ledger.patch(run, patch).await.map_err(fault)?;
        self.refresh(run).await;
        Ok(record)
    }

    /// Ends a run's spending, and waits for its calls to end. The record is final unless the wait
    /// lapsed. A run that is closed stays as it is.
    ///
    /// # Errors
    /// 404 if there is none; 409 if the state to move to is not past running.
    pub async fn close_run(
        &self,
        run: RunId,
        close: Close,
        wait: Duration,
    ) -> Result<RunRecord, Fault> {
        self.write_refusals().await;
        match close.status.admission() {
            StateAdmission::Closed => {}
            StateAdmission::NotYet | StateAdmission::Open => {
                self.must_exist(run).await?;
                return Err(Fault::new(
                    Code::InvalidTransition,
                    "A run is closed into scoring, finished, failed or cancelled. Name one of \
                     these.",
                )
                .param("status"));
            }
        }
        let record = self.ledger.close(run, close).await.map_err(fault)?;
        self.refresh(run).await;
        if record.is_final() {
            return Ok(record);
        }
        self.wait_final(run, wait).await
    }

    /// A run's usage, final unless the wait lapsed.
    ///
    /// # Errors
    /// 404 if there is no such run.
    pub async fn wait_final(&self, run: RunId, wait: Duration) -> Result<RunRecord, Fault> {
        let deadline = Instant::now() + wait;
        let mut pause = FIRST_PAUSE;
        loop {
            let record = self.run(run).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            // A gateway that goes down keeps nobody waiting; another one can be asked.
            if left.is_zero() || record.is_final() || self.is_draining() {
                return Ok(record);
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Opens the next attempt, in `status`, under a new token. The old token is dead, and calls of
    /// the old attempt are cut.
    ///
    /// # Errors
    /// 404 if there is no such run; 409 if it is cancelled or `status` is past running.
    pub async fn open_attempt(&self, run: RunId, status: RunState) -> Result<OpenedRun, Fault> {
        self.write_refusals().await;
        match status.admission() {
            StateAdmission::NotYet | StateAdmission::Open => {}
            StateAdmission::Closed => {
                self.must_exist(run).await?;
                return Err(Fault::new(
                    Code::InvalidTransition,
                    "An attempt begins as pending, initializing or running. Name one of them.",
                )
                .param("status"));
            }
        }
        let token = NewRunToken::generate().map_err(no_randomness)?;
        let record = self.ledger.open_attempt(run, status, token.hash).await.map_err(fault)?;
        self.refresh(run).await;
        Ok(OpenedRun { record, token: Some(token.secret) })
    }

    /// Replaces the token of the current attempt. The old one is dead.
    ///
    /// # Errors
    /// 404 if there is no such run.
    pub async fn rotate_token(&self, run: RunId) -> Result<OpenedRun, Fault> {
        self.write_refusals().await;
        let token = NewRunToken::generate().map_err(no_randomness)?;
        let record = self.ledger.rotate_token(run, token.hash).await.map_err(fault)?;
        self.refresh(run).await;
        Ok(OpenedRun { record, token: Some(token.secret) })
    }

    async fn must_exist(&self, run: RunId) -> Result<(), Fault> {
        let found = self.ledger.record(run).await.map_err(unavailable)?;
        found.map(drop).ok_or_else(run_not_found)
    }
}

fn no_such_model(name: &str) -> String {
    let shown = shown(name);
    format!(
        "There is no model named {shown}. Name models as GET /v1/models of the data plane lists \
         them."
    )
}

fn shown(name: &str) -> String {
    json::Path::default().to_foreign(name)
}

/// A page with one row too many tells whether there is another page.
pub(super) fn one_more(page: Page) -> Page {
    Page { limit: page.limit.saturating_add(1), ..page }
}

pub(super) fn cut<T>(mut rows: Vec<T>, page: Page) -> Rows<T> {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    Rows { rows, more }
}

fn fault(error: RunsError) -> Fault {
    match error {
        RunsError::Conflict(run) => Fault::new(
            Code::RunConflict,
            format!(
                "The run {run} is registered already, with another body. PATCH it to change it, \
                 or register another id."
            ),
        )
        .param("id"),
        RunsError::NotFound => run_not_found(),
        RunsError::LimitBelowSpent { spent } => Fault::new(
            Code::LimitBelowSpent,
            format!("The run has spent {spent} USD already. Set a cap of at least that much."),
        )
        .param("cost_limit_usd"),
        RunsError::InvalidTransition(state) => Fault::new(
            Code::InvalidTransition,
            format!(
                "The run is {}, and no new attempt is opened from there. Register a new run.",
                state.as_str()
            ),
        ),
        RunsError::Ledger(error) => unavailable(error),
    }
}

fn no_randomness(error: NoRandomness) -> Fault {
    Fault::internal(
        Code::InternalError,
        "No token could be made right now. Nothing was changed; try again.",
        error,
    )
}
