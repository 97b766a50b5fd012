//! Admission: reserve, wait, count, clamp or refuse. The rules are the domain's, the truth is the
//! ledger's; this is the order in which they are asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalog::Catalog;
use crate::domain::budget::{Amounts, Balance, Scope, Unit, Window};
use crate::domain::fault::{Code, Fault};
use crate::domain::policy::{Step, Wanted};
use crate::domain::price::Caching;
use crate::domain::reservation::{Ask, Heard, Refusal};
use crate::domain::settlement::Terms;
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;
use crate::ledger::queue::Turn;
use crate::ledger::{Grant, LedgerError};

use super::caller::{invalid_key, run_not_found};
use super::candidate::Candidate;
use super::refused::Refused;
use super::route::{check_endpoint, check_model};
use super::{Gateway, draining, unavailable};

/// How often whoever waits for money asks again without having been woken.
const MONEY_POLL: Duration = Duration::from_secs(1);
/// How often whoever waits for a run to become running asks again without having been told.
pub(super) const STATE_POLL: Duration = Duration::from_millis(500);
/// How often numbers that looked good may turn out to be outdated.
const MAX_RETRIES: u32 = 16;

/// A call that is in.
pub struct Admitted {
    /// The models and prices that it was admitted on.
    pub catalog: Arc<Catalog>,
    /// The reservation.
    pub grant: Grant,
    /// The output bound of one choice, to be written into the upstream request.
    pub output: Tokens,
    /// Whether that is less than was asked for, or, if nothing was, less than with enough money.
    pub lowered: bool,
    /// What was agreed.
    pub terms: Terms,
    /// What of it may be written to a cache.
    pub caching: Caching,
    /// The service tier that it asks for.
    pub tier: ServiceTier,
    /// What the client calls the model, unless that is its name in the catalogue.
    pub requested_model: Option<String>,
    /// Its place in the order of arrival, where nobody waits for it any more.
    pub turn: Arc<Turn>,
}

/// One candidate's way through the loop.
struct Attempt<'a> {
    gateway: &'a Gateway,
    call: &'a Candidate<'a>,
    wanted: Wanted,
    output: Tokens,
    counted: bool,
    retries: u32,
    began: Instant,
}

impl Gateway {
    /// Reserves the worst case of a call.
    ///
    /// # Errors
    /// The refusal, with the numbers it rests on.
    pub async fn admit(&self, call: &Candidate<'_>) -> Result<Admitted, Fault> {
        let wanted = self.wanted(call);
        call.thinking_fits(wanted.output)?;
        let mut attempt = Attempt {
            gateway: self,
            call,
            wanted,
            output: wanted.output,
            counted: call.target.tokenizer.is_bytes(),
            retries: 0,
            began: Instant::now(),
        };
        attempt.run().await
    }
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Admitted, Fault> {
        let run = &self.call.caller.run;
        let turn = run.queue.arrive();
        loop {
            if self.gateway.is_draining() {
                return Err(draining());
            }
            let changed = run.changed();
            let ask = self.ask()?;
            let (amounts, heard) = (ask.amounts, ask.heard);
            let asked = self.gateway.ledger.admit(ask, &turn).await.map_err(unavailable)?;
            match asked {
                Ok(grant) => return Ok(self.admitted(grant, amounts, turn)),
                Err(Refusal::Behind { usd }) => {
                    run.set_balance(usd);
                    if run.named().is_some() {
                        self.refuse_hopeless(&usd).await?;
                    }
                    self.until_head(&turn).await?;
                }
                Err(Refusal::Budget { scope, unit, window, latched, balance, usd }) => {
                    run.set_balance(usd);
                    let refused = Refused { scope, unit, window, balance, usd };
                    if latched {
                        return Err(self.refuse(&refused, false));
                    }
                    if !self.count().await {
                        self.step(&refused, &turn).await?;
                    }
                }
                Err(Refusal::RunNotActive(state)) => {
                    let left = self.left_of(self.gateway.policy.activation_wait);
                    if left.is_zero() {
                        return Err(not_active(state.as_str()));
                    }
                    let _told = tokio::time::timeout(left.min(STATE_POLL), changed).await;
                }
                // Another attempt was opened, or those who pay were changed, and not here.
                Err(Refusal::Outdated) if self.retries < MAX_RETRIES => {
                    self.retries += 1;
                    self.catch_up(heard).await?;
                }
                Err(Refusal::Outdated) => return Err(no_end_of_changes()),
                Err(Refusal::RunNotFound) => return Err(run_not_found()),
                Err(Refusal::InvalidKey) => return Err(invalid_key()),
                Err(Refusal::RunExpired) => return Err(expired()),
                Err(Refusal::RunClosed(state)) => return Err(closed(state.as_str())),
            }
        }
    }

    fn ask(&self) -> Result<Ask, Fault> {
        let amounts = self
            .wanted
            .amounts(self.output)
            .map_err(|_| Fault::new(Code::CostLimitExceeded, "No cap can afford this call."))?;
        Ok(self.call.ask(&self.wanted, self.output, amounts))
    }

    /// Looks up again what changed since the call was let in, and whether it still may be made.
    async fn catch_up(&self, heard: Heard) -> Result<(), Fault> {
        let Candidate { caller, target, endpoint, request, .. } = self.call;
        let hearing = self.gateway.hear_again(&caller.run, caller.key.as_deref(), heard);
        hearing.await.map_err(unavailable)?;
        caller.check_certificate()?;
        caller.check_key_names_run()?;
        check_endpoint(endpoint, caller)?;
        check_model(&request.model, target, caller)?;
        self.gateway.reach_of(&caller.run).await?.access(target.provider).map(drop)
    }

    /// Refuses a call that is behind others at once if what is spent leaves too little for it,
    /// whatever becomes of the others.
    async fn refuse_hopeless(&mut self, usd: &Balance) -> Result<(), Fault> {
        let hopeless = |wanted: &Wanted| {
            matches!(wanted.after_refusal(Unit::Usd, usd, true), Step::RefuseSpent)
        };
        if hopeless(&self.wanted) {
            self.count().await;
            if hopeless(&self.wanted) {
                let (balance, usd) = (*usd, *usd);
                let (scope, unit, window) = (Scope::Run, Unit::Usd, Window::Lifetime);
                let refused = Refused { scope, unit, window, balance, usd };
                return Err(self.refuse(&refused, false));
            }
        }
        Ok(())
    }

    /// Waits until no earlier call of the run waits.
    async fn until_head(&self, turn: &Turn) -> Result<(), Fault> {
        while turn.is_behind() {
            if self.gateway.is_draining() {
                return Err(draining());
            }
            let _woken = tokio::time::timeout(MONEY_POLL, turn.woken()).await;
        }
        Ok(())
    }

    /// Replaces the strict bound by a count of the model's own tokens, once. Answers whether that
    /// made the call smaller.
    async fn count(&mut self) -> bool {
        if self.counted {
            return false;
        }
        self.counted = true;
        self.gateway.count(self.call, &mut self.wanted).await
    }

    /// Does what the policy says after a budget refused.
    async fn step(&mut self, refused: &Refused, turn: &Turn) -> Result<(), Fault> {
        let left = self.left_of(self.gateway.policy.admission_wait);
        match self.wanted.after_refusal(refused.unit, &refused.balance, !left.is_zero()) {
            Step::Wait => {
                self.output = self.wanted.output;
                let _woken = tokio::time::timeout(left.min(MONEY_POLL), turn.woken()).await;
                Ok(())
            }
            Step::Retry | Step::Clamp(_) if self.retries >= MAX_RETRIES => {
                Err(self.refuse(refused, true))
            }
            Step::Retry => {
                self.retries += 1;
                Ok(())
            }
            Step::Clamp(output) => {
                self.retries += 1;
                self.output = output;
                Ok(())
            }
            Step::RefuseSpent => Err(self.refuse(refused, false)),
            Step::RefuseReserved => Err(self.refuse(refused, true)),
        }
    }

    fn left_of(&self, patience: Duration) -> Duration {
        patience.saturating_sub(self.began.elapsed())
    }

    fn admitted(&self, grant: Grant, reserved: Amounts, turn: Arc<Turn>) -> Admitted {
        turn.step_out();
        let (call, wanted, output) = (self.call, &self.wanted, self.output);
        call.caller.run.set_balance(*grant.balance());
        Admitted {
            catalog: Arc::clone(call.catalog),
            grant,
            turn,
            output,
            caching: call.request.caching,
            tier: call.request.tier,
            requested_model: call.requested_model(),
            lowered: call.lowers(wanted, output),
            terms: self.gateway.terms(call, wanted, output, reserved),
        }
    }

    /// The refusal, with its numbers and what helps.
    fn refuse(&self, refused: &Refused, only_reserved: bool) -> Fault {
        let worst = self.wanted.amounts(self.wanted.smallest_output()).unwrap_or_default();
        refused.fault(&worst, only_reserved, self.call.caller)
    }
}

/// The run, its organization or its key is changed faster than this gateway hears of it.
fn no_end_of_changes() -> Fault {
    unavailable(LedgerError::Unavailable("the run or those who pay changed yet again".into()))
}

pub(super) fn not_active(state: &str) -> Fault {
    Fault::new(
        Code::RunNotActive,
        format!("The run is {state}; only a running run may call models. Try again shortly."),
    )
    .retry_after(1)
}

pub(super) fn closed(state: &str) -> Fault {
    Fault::new(
        Code::RunClosed,
        format!("The run is {state}: it makes no more calls. Retrying will not help."),
    )
}

pub(super) fn expired() -> Fault {
    Fault::new(
        Code::RunExpired,
        "The run is past its expiry: it makes no more calls. Retrying will not help.",
    )
}
