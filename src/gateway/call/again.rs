//! The next attempt of a call whose last one bought nothing: at the same target, or at another.
//!
//! The end of the last attempt is handed over right before the next is asked for, so that one
//! statement of the ledger takes both, and the ask has the call's old place in the order of
//! arrival.

use std::sync::Arc;
use std::time::Instant;

use crate::catalog::{Catalog, Target};
use crate::domain::fault::Fault;
use crate::domain::id::ReservationId;
use crate::domain::reservation::{Ask, CallFacts, Refusal};
use crate::domain::settlement::Ending;
use crate::gateway::caller::Caller;
use crate::gateway::fallback::Next;
use crate::gateway::heard::heard_of;
use crate::gateway::payers::budgets_of;
use crate::gateway::refused::final_word;
use crate::gateway::route::{check_endpoint, may_use};
use crate::ledger::{Grant, LedgerError};
use crate::protocol::answer::Served;
use crate::upstream::Outbound;

use super::OpenCall;

/// How often those who pay may turn out to have been changed before a next attempt is given up.
const MAX_CHANGES: usize = 4;

impl OpenCall {
    /// Whose call it is, and by what right.
    pub(in crate::gateway) fn caller(&self) -> Caller {
        let (run, key) = (Arc::clone(&self.run), self.key.clone());
        let (authority, certificate) = (self.authority, self.certificate.clone());
        Caller { run, key, authority, certificate }
    }

    /// The models and prices that it was admitted on.
    pub(in crate::gateway) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The endpoint's path.
    pub(in crate::gateway) fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    /// Releases this attempt, whose client would have got `status`, and reserves the next on the
    /// same terms.
    ///
    /// # Errors
    /// If it is not admitted, or may not go there any more; with the rule that refuses, if any.
    pub async fn again(&mut self, status: u16) -> Result<(), Option<Fault>> {
        // What its organization has changed meanwhile holds for this attempt as for a new call.
        if let Err(refusal) = self.reach_again().await {
            self.end(Ending::NothingBought, status, Served::default());
            return Err(refusal);
        }
        let ask = self.next_ask();
        self.end(Ending::NothingBought, status, Served::default());
        let target = Arc::clone(&self.target);
        let asked = self.admit(ask, &target, Self::next_ask).await;
        self.go_on_with(asked)?;
        self.still_there(status).await
    }

    /// The same at another target, on that one's terms. What its bytes do not let in is counted.
    ///
    /// # Errors
    /// As [`Self::again`]; that the other target is not to be had any more is no rule.
    pub(in crate::gateway) async fn move_to(
        &mut self,
        mut next: Next,
        status: u16,
    ) -> Result<Outbound, Option<Fault>> {
        let ask = next.ask();
        self.end(Ending::NothingBought, status, Served::default());
        let target = Arc::clone(&next.target);
        let mut asked = self.admit(ask, &target, |_| next.ask()).await;
        let too_dear = matches!(&asked, Ok(Err(Refusal::Budget { latched: false, .. })));
        if too_dear && next.count(self).await {
            asked = self.admit(next.ask(), &target, |_| next.ask()).await;
        }
        self.go_on_with(asked)?;
        let (candidate, wanted) = (next.candidate(), &next.wanted);
        self.terms = self.gateway.terms(&candidate, wanted, next.output, next.amounts);
        self.lowered_output = candidate.lowers(wanted, next.output).then_some(next.output);
        self.caching = next.request.caching;
        self.tier = next.request.tier;
        self.spoken = next.request.format;
        self.translation = next.translation;
        self.target = next.target;
        self.still_there(status).await.map_err(|_no_rule| None)?;
        Ok(self.write(next.request, next.output, next.betas))
    }

    /// Asks whether it is let in at a target. Where those who pay turn out to have changed, they
    /// are looked up again, and it is asked `anew` if it still may go there.
    async fn admit(
        &self,
        mut ask: Ask,
        target: &Target,
        anew: impl Fn(&Self) -> Ask,
    ) -> Result<Result<Grant, Refusal>, LedgerError> {
        for _ in 0..MAX_CHANGES {
            let heard = ask.heard;
            match self.gateway.ledger.admit(ask, &self.turn).await? {
                Err(Refusal::Outdated) => {}
                decided => return Ok(decided),
            }
            self.gateway.hear_again(&self.run, self.key.as_deref(), heard).await?;
            let caller = self.caller();
            let may_name = check_endpoint(self.endpoint, &caller).is_ok();
            let is_good =
                caller.check_certificate().is_ok() && caller.check_key_names_run().is_ok();
            if !may_name || !is_good || !may_use(&caller, target) {
                break;
            }
            ask = anew(self);
        }
        Ok(Err(Refusal::Outdated))
    }

    /// Releases what was just reserved if its organization does not reach the provider any more:
    /// while it was asked for, it may have changed its mind.
    async fn still_there(&mut self, status: u16) -> Result<(), Option<Fault>> {
        // Until it is sent, nothing is bought.
        self.refused = true;
        if let Err(refusal) = self.reach_again().await {
            self.end(Ending::NothingBought, status, Served::default());
            return Err(refusal);
        }
        self.refused = false;
        Ok(())
    }

    fn go_on_with(
        &mut self,
        asked: Result<Result<Grant, Refusal>, LedgerError>,
    ) -> Result<(), Option<Fault>> {
        self.turn.step_out();
        let grant = asked.map_err(|_the_ledger_is_away| None)?.map_err(final_word)?;
        // The run's id is good for every attempt of the run, this call is not.
        if grant.attempt() != self.attempt {
            return Err(None);
        }
        self.run.set_balance(*grant.balance());
        self.id = grant.id();
        self.admitted = Instant::now();
        self.refused = false;
        self.grant = Some(grant);
        Ok(())
    }

    async fn reach_again(&mut self) -> Result<(), Option<Fault>> {
        let reach = self.gateway.reach_of(&self.run).await.map_err(|_away| None)?;
        self.access = Arc::clone(reach.access(self.target.provider).map_err(Some)?);
        Ok(())
    }

    fn next_ask(&self) -> Ask {
        Ask {
            id: ReservationId::generate(),
            organization: self.run.terms.organization,
            run: self.run.named(),
            authority: self.authority,
            heard: heard_of(&self.run, self.key.as_deref()),
            budgets: budgets_of(&self.run, self.key.as_deref()),
            amounts: self.terms.reserved,
            facts: CallFacts {
                request_id: self.request_id.clone(),
                model: self.target.model.clone(),
                requested_model: self.requested_model.clone(),
                provider: self.target.provider.name.to_owned(),
                endpoint: self.endpoint,
                price_version: self.catalog.version().to_owned(),
                input_bound: self.terms.input_bound,
                output_bound: self.terms.output_bound,
            },
        }
    }
}
