//! The way in before any money: how fast a call's run, key and organization may call, how many of
//! their calls are under way, and how often an endpoint may be called.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::fault::{Code, Fault};
use crate::domain::run::{RunStanding, StateAdmission};
use crate::domain::usage::Tokens;
use crate::limits::gate::{self, Entered, Refused, Scope, Whose};
use crate::limits::rate::Kind;

use super::caller::Caller;
use super::directory::KnownRun;
use super::inference::Standing;
use super::{Gateway, unavailable};

impl Gateway {
    /// Takes the call's places, its request and the most `tokens` that it can use from every limit
    /// that it falls under, or nothing of any. `tokens` is only asked if one of them counts tokens.
    ///
    /// # Errors
    /// The state of the run if that stands in the way; else the limit that does.
    pub(super) async fn enter(
        &self,
        caller: &Caller,
        endpoint: &str,
        tokens: impl FnOnce() -> Tokens,
        standing: &mut Standing,
    ) -> Result<Entered, Fault> {
        let run = &caller.run;
        let (told, entered) = self.take(caller, endpoint, tokens);
        standing.rates = told;
        match entered {
            Ok(entered) => Ok(entered),
            Err((refused, tokens)) => {
                // A run's state is refused before its pace. What is known here may be outdated, so
                // a run that does not look open is left to the ledger.
                self.state_comes_first(run).await?;
                Err(fault(refused, tokens))
            }
        }
    }

    fn take(
        &self,
        Caller { run, key, .. }: &Caller,
        endpoint: &str,
        tokens: impl FnOnce() -> Tokens,
    ) -> (gate::Told, Result<Entered, (Refused, u64)>) {
        // Without a run, the key's own account stands where the run would.
        let key = key.as_ref().map(|key| &key.account).filter(|account| !Arc::ptr_eq(account, run));
        let (own, payer) = (run.paced.now(), run.payer.paced.now());
        let of_key = key.map(|account| (account, account.paced.now()));
        let whose = if run.named().is_some() { Whose::Run } else { Whose::Key };
        // Only runs that name no limit have one.
        let most = own.limits.max_concurrency;
        let most = most.or_else(|| run.named().map(|_| self.policy.max_concurrency));
        let scopes = [
            Scope {
                whose,
                pace: own.pace.as_ref(),
                places: most.map(|most| (&run.concurrency, most)),
            },
            Scope {
                whose: Whose::Key,
                pace: of_key.as_ref().and_then(|(_, held)| held.pace.as_ref()),
                places: of_key.as_ref().and_then(|(account, held)| {
                    Some((&account.concurrency, held.limits.max_concurrency?))
                }),
            },
            Scope {
                whose: Whose::Organization,
                pace: payer.pace.as_ref(),
                places: payer.limits.max_concurrency.map(|most| (&run.payer.concurrency, most)),
            },
            Scope {
                whose: Whose::Endpoint,
                pace: run.endpoint(endpoint, &self.directory.rates),
                places: None,
            },
        ];
        let counts = scopes.iter().any(Scope::limits_tokens);
        let tokens = if counts { tokens().count() } else { 0 };
        let (told, entered) = gate::enter(&scopes, tokens);
        (told, entered.map_err(|refused| (refused, tokens)))
    }

    /// Refuses by state, if that is what stands in the way, before a limit is blamed.
    async fn state_comes_first(&self, run: &Arc<KnownRun>) -> Result<(), Fault> {
        // This clock only chooses between two refusals; the ledger's decides who is admitted.
        let now = chrono::Utc::now();
        let is_past = |standing: RunStanding| standing.expires_at.is_some_and(|end| now >= end);
        let known = run.standing();
        if known.state.admission() == StateAdmission::Open && !is_past(known) {
            return Ok(());
        }
        self.directory.refresh(run.id).await.map_err(unavailable)?;
        let standing = run.standing();
        let state = standing.state;
        match state.admission() {
            StateAdmission::Closed => Err(super::admission::closed(state.as_str())),
            StateAdmission::NotYet | StateAdmission::Open if is_past(standing) => {
                Err(super::admission::expired())
            }
            StateAdmission::NotYet => Err(super::admission::not_active(state.as_str())),
            StateAdmission::Open => Ok(()),
        }
    }
}

const fn name(whose: Whose) -> &'static str {
    match whose {
        Whose::Run => "This run",
        Whose::Key => "This key",
        Whose::Organization => "This organization",
        Whose::Endpoint => "At this endpoint a run or key",
    }
}

/// What a client hears, with what helps.
fn fault(refused: Refused, tokens: u64) -> Fault {
    match refused {
        Refused::TooSoon { whose, kind, limit, wait } => {
            let (who, seconds) = (name(whose), whole_seconds(wait));
            let says = match kind {
                Kind::RequestsPerSecond => format!("{who} may make {limit} requests a second."),
                Kind::RequestsPerMinute => format!("{who} may make {limit} requests a minute."),
                Kind::TokensPerMinute => format!(
                    "{who} may use {limit} tokens a minute, and this call can take {tokens}."
                ),
            };
            Fault::new(Code::RateLimited, format!("{says} Try again in {seconds} s."))
                .retry_after(seconds)
        }
        Refused::TooLarge { whose, limit } => Fault::new(
            Code::RateLimited,
            format!(
                "{} may use {limit} tokens a minute, and this call can take {tokens}. Ask for \
                 fewer output tokens or send a shorter prompt.",
                name(whose)
            ),
        )
        .not_retryable(),
        Refused::TooMany { whose, limit } => Fault::new(
            Code::ConcurrencyLimited,
            format!(
                "{} may have {limit} calls under way at once, waiting ones included. Try again \
                 when one has ended.",
                name(whose)
            ),
        )
        .retry_after(1),
    }
}

/// Rounded up: whoever comes back then is not early.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_nanos().div_ceil(Duration::from_secs(1).as_nanos());
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
