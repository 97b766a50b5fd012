//! Where a call goes on whose provider has failed: to the next provider of its model in catalogue
//! order, if its run says so. For any other call nothing of this is kept.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::catalog::{Catalog, Target};
use crate::domain::budget::Amounts;
use crate::domain::fault::{Code, Fault};
use crate::domain::policy::Wanted;
use crate::domain::reservation::Ask;
use crate::domain::usage::Tokens;
use crate::protocol::request::Request;
use crate::protocol::translate::Translation;
use crate::upstream::Client;

use super::call::OpenCall;
use super::caller::Caller;
use super::candidate::Candidate;
use super::inference::ModelCall;
use super::route::{may_use, takes, targets_after};

/// What a call keeps so that it can go on.
pub struct Onward {
    /// The body as the client wrote it.
    body: Bytes,
    /// The targets that were not tried, in catalogue order.
    later: std::vec::IntoIter<Arc<Target>>,
    shows_usage: bool,
    betas: Option<HeaderValue>,
}

/// A target that can take the call over, and the call as it would go there.
pub(super) struct Next {
    pub(super) target: Arc<Target>,
    /// As it is sent.
    pub(super) request: Request,
    pub(super) translation: Option<Translation>,
    pub(super) wanted: Wanted,
    /// The output bound of one choice.
    pub(super) output: Tokens,
    pub(super) amounts: Amounts,
    pub(super) shows_usage: bool,
    pub(super) betas: Option<HeaderValue>,
    caller: Caller,
    catalog: Arc<Catalog>,
    request_id: String,
    endpoint: &'static str,
    client: Client,
}

impl Onward {
    /// What a call to `target` keeps; nothing if its run wants no fallback, or nobody else serves
    /// what it names. A name with a provider before it is served by that one alone.
    pub(super) fn of(
        call: &ModelCall<'_>,
        (request, body): (&Request, &Bytes),
        (catalog, target): (&Catalog, &Arc<Target>),
        caller: &Caller,
    ) -> Option<Box<Self>> {
        let control = &caller.run.terms.control;
        if !control.fallback || control.provider.is_some() {
            return None;
        }
        let later = targets_after(catalog, control.model(&request.model), target);
        if later.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            body: body.clone(),
            later: later.into_iter(),
            shows_usage: call.always_show_usage,
            betas: call.betas.clone(),
        }))
    }

    /// The next target that can take over from the one that failed. Passed over is what the
    /// organization does not reach at this moment, what the run or the key may not use, and what
    /// would refuse the request.
    pub(super) async fn next(&mut self, failed: &OpenCall, client: &Client) -> Option<Box<Next>> {
        let reach = failed.gateway().reach_of(&failed.run).await.ok()?;
        while let Some(target) = self.later.next() {
            if !reach.serves(target.provider) || !may_use(&failed.caller(), &target) {
                continue;
            }
            let (provider, id) = (target.provider.name, &failed.request_id);
            match self.at(target, failed, client) {
                Ok(next) => return Some(Box::new(next)),
                Err(fault) => {
                    let (code, param) = (fault.code().as_str(), fault.param_name());
                    tracing::debug!(
                        request.id = %id, provider, code, param,
                        "fallback.passed_over"
                    );
                }
            }
        }
        None
    }

    /// The call at another target, from the client's own body.
    fn at(&self, target: Arc<Target>, failed: &OpenCall, client: &Client) -> Result<Next, Fault> {
        let (gateway, caller) = (failed.gateway(), failed.caller());
        let mut request = Request::parse(failed.asked, self.body.clone())?;
        request.set_run(caller.run.id);
        takes(&target, &request)?;
        let asked = (request, self.body.clone());
        let (request, translation) = gateway.spoken(self.shows_usage, asked, &target, &caller)?;
        let candidate = Candidate {
            caller: &caller,
            catalog: failed.catalog(),
            target: &target,
            request: &request,
            request_id: &failed.request_id,
            endpoint: failed.endpoint(),
            client,
            betas: self.betas.as_ref(),
        };
        let wanted = gateway.wanted(&candidate);
        // What it was lowered to before, and perhaps announced, it does not get back.
        let output = failed.lowered_output.map_or(wanted.output, |most| most.min(wanted.output));
        candidate.thinking_fits(output)?;
        let amounts = wanted.amounts(output).map_err(|_| too_dear())?;
        Ok(Next {
            catalog: Arc::clone(failed.catalog()),
            request_id: failed.request_id.clone(),
            endpoint: failed.endpoint(),
            client: client.clone(),
            betas: self.betas.clone(),
            shows_usage: self.shows_usage || request.include_usage,
            target,
            request,
            translation,
            wanted,
            output,
            amounts,
            caller,
        })
    }
}

impl Next {
    /// The call as it wants in.
    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            caller: &self.caller,
            catalog: &self.catalog,
            target: &self.target,
            request: &self.request,
            request_id: &self.request_id,
            endpoint: self.endpoint,
            client: &self.client,
            betas: self.betas.as_ref(),
        }
    }

    /// The question whether it is let in.
    pub(super) fn ask(&self) -> Ask {
        self.candidate().ask(&self.wanted, self.output, self.amounts)
    }

    /// Counts the call by its model's own tokens. Answers whether that made it smaller.
    pub(super) async fn count(&mut self, failed: &OpenCall) -> bool {
        let mut wanted = self.wanted;
        let smaller = !self.target.tokenizer.is_bytes()
            && failed.gateway().count(&self.candidate(), &mut wanted).await;
        match wanted.amounts(self.output) {
            Ok(amounts) if smaller => {
                (self.wanted, self.amounts) = (wanted, amounts);
                true
            }
            _ => false,
        }
    }
}

fn too_dear() -> Fault {
    Fault::new(Code::CostLimitExceeded, "No cap can afford this call.")
}
