//! A call that wants in, at one target: what it can cost there, and what the ledger is asked.

use std::sync::Arc;

use http::HeaderValue;

use crate::catalog::{Catalog, Target};
use crate::domain::bound::{OutputLimits, input_bound, output_bound};
use crate::domain::budget::Amounts;
use crate::domain::fault::{Code, Fault};
use crate::domain::id::ReservationId;
use crate::domain::policy::Wanted;
use crate::domain::reservation::{Ask, CallFacts};
use crate::domain::settlement::Terms;
use crate::domain::usage::Tokens;
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::upstream::Client;

use super::Gateway;
use super::caller::Caller;
use super::counting::Prompt;
use super::heard::heard_of;
use super::known::KnownRun;

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

impl Candidate<'_> {
    /// The question whether it is let in for these amounts, with this output bound of one choice.
    pub(super) fn ask(&self, wanted: &Wanted, output: Tokens, amounts: Amounts) -> Ask {
        let Self { caller, target, request_id, endpoint, .. } = self;
        let heard = heard_of(&caller.run, caller.key.as_deref());
        Ask {
            id: ReservationId::generate(),
            organization: caller.run.terms.organization,
            run: caller.run.named(),
            authority: caller.authority,
            heard,
            budgets: caller.budgets(),
            amounts,
            facts: CallFacts {
                request_id: (*request_id).to_owned(),
                model: target.model.clone(),
                requested_model: self.requested_model(),
                provider: target.provider.name.to_owned(),
                endpoint,
                price_version: self.catalog.version().to_owned(),
                input_bound: wanted.input,
                output_bound: output.times(u64::from(wanted.choices)),
            },
        }
    }

    /// What the client calls the model, unless that is its name in the catalogue.
    pub(super) fn requested_model(&self) -> Option<String> {
        let Self { request, target, .. } = self;
        (request.model != target.model).then(|| request.model.clone())
    }

    /// Whether this output bound is less than was asked for or, if nothing was, than is usual.
    pub(super) fn lowers(&self, wanted: &Wanted, output: Tokens) -> bool {
        output < self.request.asked_output.unwrap_or(wanted.output)
    }

    /// Refuses a call that may think more than its run or its model lets it answer, though it
    /// asked for enough: the provider would blame it for what it did not ask. A call that by itself
    /// asks for more thinking than output is the provider's to judge, who takes it if thinking goes
    /// on between tools.
    ///
    /// # Errors
    /// If its thinking alone may take this output.
    pub(super) fn thinking_fits(&self, output: Tokens) -> Result<(), Fault> {
        let request = self.request;
        let Some(thinking) = request.thinking.filter(|thinking| *thinking >= output) else {
            return Ok(());
        };
        if request.asked_output.is_some_and(|asked| asked <= thinking) {
            return Ok(());
        }
        Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "This call may have at most {output} output tokens, and its thinking alone may \
                 take {thinking}. Ask for less thinking."
            ),
        ))
    }

    /// What has it counted.
    pub(super) fn prompt(&self) -> Prompt<'_> {
        let Self { caller, target, request, client, betas, .. } = *self;
        Prompt { caller, target, request, client, betas }
    }
}

impl Gateway {
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

    /// What a call wants of its budgets, by the bytes of its text.
    pub(super) fn wanted(&self, call: &Candidate<'_>) -> Wanted {
        let Candidate { caller, target, request, .. } = call;
        Wanted {
            prices: target.prices_asked(request.tier).with_caching(request.caching),
            input: input_bound(
                request.text_bound(target.tokenizer.normalizing()),
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

    /// Replaces the strict bound of a call by a count of its model's own tokens. Answers whether
    /// that made it smaller.
    pub(super) async fn count(&self, call: &Candidate<'_>, wanted: &mut Wanted) -> bool {
        let Some(bound) = self.counted_input(&call.prompt()).await else { return false };
        let smaller = bound < wanted.input;
        wanted.input = wanted.input.min(bound);
        smaller
    }

    /// What is agreed with a call that is let in.
    pub(super) fn terms(
        &self,
        call: &Candidate<'_>,
        wanted: &Wanted,
        output: Tokens,
        reserved: Amounts,
    ) -> Terms {
        let Candidate { target, request, .. } = call;
        let choices = u64::from(wanted.choices);
        Terms {
            reserved,
            input_bound: wanted.input,
            output_bound: output.times(choices),
            context_window: target.most_input(request.shape),
            output_maximum: target.max_output.times(choices),
            // Messages may ask any model to think, and what is shown of that is a summary.
            hidden_reasoning: target.hidden_reasoning || request.format == Format::Messages,
            unknown_usage: self.policy.unknown_usage,
        }
    }
}
