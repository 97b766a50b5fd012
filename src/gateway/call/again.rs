//! The next attempt of a call: its release and its reservation, in one statement where they can be.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::fault::Fault;
use crate::domain::id::ReservationId;
use crate::domain::reservation::{Ask, CallFacts, Refusal};
use crate::domain::settlement::Ending;
use crate::ledger::Grant;

use super::super::heard::heard_of;
use super::super::payers::budgets_of;
use super::super::refused::final_word;
use super::OpenCall;

/// How often those who pay may turn out to have been changed before a next attempt is given up.
const MAX_CHANGES: usize = 4;

impl OpenCall {
    /// Releases this attempt, whose client would have got `status`, and reserves the next on the
    /// same terms. The end is handed over right before the ask, so that one statement of the ledger
    /// takes both, and the ask has the call's old place in the order of arrival.
    ///
    /// # Errors
    /// If it is not admitted, or may not go there any more; with the rule that refuses, if any.
    pub async fn again(&mut self, status: u16) -> Result<(), Option<Fault>> {
        // What its organization has changed meanwhile holds for this attempt as for a new call.
        if let Err(refusal) = self.reach_again().await {
            self.end(Ending::NothingBought, status, None);
            return Err(refusal);
        }
        let ask = self.next_ask();
        self.end(Ending::NothingBought, status, None);
        let asked = self.ask_again(ask).await;
        self.turn.step_out();
        let grant = asked?;
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

    async fn ask_again(&mut self, mut ask: Ask) -> Result<Grant, Option<Fault>> {
        let gateway = Arc::clone(&self.gateway);
        for _ in 0..MAX_CHANGES {
            let heard = ask.heard;
            match gateway.ledger.admit(ask, &self.turn).await.map_err(|_it_is_away| None)? {
                Ok(grant) => return Ok(grant),
                Err(Refusal::Outdated) => {}
                Err(refusal) => return Err(final_word(refusal)),
            }
            let hearing = gateway.hear_again(&self.run, self.key.as_deref(), heard);
            hearing.await.map_err(|_it_is_away| None)?;
            self.reach_again().await?;
            ask = self.next_ask();
        }
        Err(None)
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
