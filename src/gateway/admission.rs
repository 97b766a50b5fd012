//! Admission: reserve, wait, count, clamp or refuse. The rules are the domain's, the truth is the
//! ledger's; this is the order in which they are asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::catalog::{Catalog, Target};
use crate::domain::bound::{OutputLimits, input_bound, output_bound};
use crate::domain::budget::{Amounts, Balance, Scope, Unit};
use crate::domain::fault::{Code, Fault};
use crate::domain::id::ReservationId;
use crate::domain::policy::{Step, Wanted};
use crate::domain::price::Caching;
use crate::domain::reservation::{Ask, CallFacts, Refusal};
use crate::domain::settlement::Terms;
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;
use crate::ledger::queue::Turn;
use crate::ledger::{Grant, LedgerError};
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::upstream::Client;

use super::caller::{Caller, invalid_key, run_not_found};
use super::counting::Prompt;
use super::directory::KnownRun;
use super::refused::Refused;
use super::{Gateway, draining, unavailable};

/// How often whoever waits for money asks again without having been woken.
const MONEY_POLL: Duration = Duration::from_secs(1);
/// How often whoever waits for a run to become running asks again without having been told.
pub(super) const STATE_POLL: Duration = Duration::from_millis(500);
/// How often numbers that looked good may turn out to be outdated.
const MAX_RETRIES: u32 = 16;

/// A call that wants in.
pub struct Candidate<'a> {
    /// Its run.
    pub caller: &'a Caller,
    /// The models and prices that it is admitted on.
    pub catalog: &'a Arc<Catalog>,
    /// Where it would go.
    pub target: &'a Arc<Target>,
    /// What it asks.
    pub request: &'a Request,
    /// The request's id.
    pub request_id: &'a str,
    /// The endpoint's path.
    pub endpoint: &'static str,
    /// What asks the provider to count it, if it does.
    pub client: &'a Client,
    /// Features of Anthropic's that the client opted into.
    pub betas: Option<&'a HeaderValue>,
}

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
        thinking_fits(call.request, wanted.output)?;
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

    /// The output bound of one choice of a request at a target.
    pub(super) fn output_of(&self, request: &Request, target: &Target, run: &KnownRun) -> Tokens {
        let limits = OutputLimits {
            model_maximum: target.max_output,
            run_maximum: run.terms.max_output_tokens_per_call,
            default: self.policy.default_max_output,
        };
        output_bound(request.asked_output, &limits)
    }

    /// The most tokens that a call can take, by the bytes of its text.
    pub(super) fn worst_tokens(&self, call: &Candidate<'_>) -> Tokens {
        let wanted = self.wanted(call);
        wanted.input.plus(wanted.output.times(u64::from(wanted.choices)))
    }

    fn wanted(&self, call: &Candidate<'_>) -> Wanted {
        let Candidate { caller, target, request, .. } = call;
        Wanted {
            prices: target.prices_asked(request.tier).with_caching(request.caching),
            input: input_bound(
                request.text_bytes,
                request.shape,
                &target.constants,
                target.most_input(request.shape),
            ),
            output: self.output_of(request, target, &caller.run),
            choices: request.choices,
            least_output: request.thinking.map_or(self.policy.min_output, |thinking| {
                self.policy.min_output.max(thinking.plus(Tokens::new(1)))
            }),
            on_cap: caller.run.terms.on_cap,
        }
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
            let amounts = ask.amounts;
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
                Err(Refusal::Budget { scope, unit, latched, balance, usd }) => {
                    run.set_balance(usd);
                    let refused = Refused { scope, unit, balance, usd };
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
                // Another attempt was opened, and not here.
                Err(Refusal::Outdated) if self.retries < MAX_RETRIES => {
                    self.retries += 1;
                    self.gateway.directory.refresh(run.id).await.map_err(unavailable)?;
                }
                Err(Refusal::Outdated) => return Err(no_end_of_attempts()),
                Err(Refusal::RunNotFound) => return Err(run_not_found()),
                Err(Refusal::InvalidKey) => return Err(invalid_key()),
                Err(Refusal::RunExpired) => return Err(expired()),
                Err(Refusal::RunClosed(state)) => return Err(closed(state.as_str())),
            }
        }
    }

    /// What the client calls the model, unless that is its name in the catalogue.
    fn requested_model(&self) -> Option<String> {
        let Candidate { request, target, .. } = self.call;
        (request.model != target.model).then(|| request.model.clone())
    }

    fn ask(&self) -> Result<Ask, Fault> {
        let Candidate { caller, target, request_id, endpoint, .. } = self.call;
        let amounts = self
            .wanted
            .amounts(self.output)
            .map_err(|_| Fault::new(Code::CostLimitExceeded, "No cap can afford this call."))?;
        Ok(Ask {
            id: ReservationId::generate(),
            organization: caller.run.terms.organization,
            run: caller.run.named(),
            authority: caller.authority,
            budgets: caller.budgets(),
            amounts,
            facts: CallFacts {
                request_id: (*request_id).to_owned(),
                model: target.model.clone(),
                requested_model: self.requested_model(),
                provider: target.provider.name.to_owned(),
                endpoint,
                price_version: self.call.catalog.version().to_owned(),
                input_bound: self.wanted.input,
                output_bound: self.output.times(u64::from(self.wanted.choices)),
            },
        })
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
                let refused = Refused { scope: Scope::Run, unit: Unit::Usd, balance, usd };
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
        let Candidate { caller, target, request, client, betas, .. } = *self.call;
        let prompt = Prompt { caller, target, request, client, betas };
        let Some(bound) = self.gateway.counted_input(&prompt).await else { return false };
        let smaller = bound < self.wanted.input;
        self.wanted.input = self.wanted.input.min(bound);
        smaller
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
        let target = self.call.target;
        let choices = u64::from(self.wanted.choices);
        self.call.caller.run.set_balance(*grant.balance());
        Admitted {
            catalog: Arc::clone(self.call.catalog),
            grant,
            turn,
            output: self.output,
            caching: self.call.request.caching,
            tier: self.call.request.tier,
            requested_model: self.requested_model(),
            lowered: self.output < self.call.request.asked_output.unwrap_or(self.wanted.output),
            terms: Terms {
                reserved,
                input_bound: self.wanted.input,
                output_bound: self.output.times(choices),
                context_window: target.most_input(self.call.request.shape),
                output_maximum: target.max_output.times(choices),
                // Messages may ask any model to think, and what is shown of that is a summary.
                hidden_reasoning: target.hidden_reasoning
                    || self.call.request.format == Format::Messages,
                unknown_usage: self.gateway.policy.unknown_usage,
            },
        }
    }

    /// The refusal, with its numbers and what helps.
    fn refuse(&self, refused: &Refused, only_reserved: bool) -> Fault {
        let worst = self.wanted.amounts(self.wanted.smallest_output()).unwrap_or_default();
        refused.fault(&worst, only_reserved, self.call.caller)
    }
}

/// Refuses a call that may think more than its run or its model lets it answer, though it asked for
/// enough: the provider would blame it for what it did not ask. A call that by itself asks for more
/// thinking than output is the provider's to judge, who takes it if thinking goes on between tools.
fn thinking_fits(request: &Request, output: Tokens) -> Result<(), Fault> {
    let Some(thinking) = request.thinking.filter(|thinking| *thinking >= output) else {
        return Ok(());
    };
    if request.asked_output.is_some_and(|asked| asked <= thinking) {
        return Ok(());
    }
    Err(Fault::new(
        Code::InvalidRequest,
        format!(
            "This call may have at most {output} output tokens, and its thinking alone may take \
             {thinking}. Ask for less thinking."
        ),
    ))
}

/// Attempts are opened faster than this gateway hears of them.
fn no_end_of_attempts() -> Fault {
    unavailable(LedgerError::Unavailable("the run is in yet another attempt".into()))
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
