//! How many tokens a prompt is: counted with its model's vocabulary, or by its provider.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, timeout_at};

use crate::catalog::Target;
use crate::catalog::tokenizer::Counting;
use crate::domain::bound::{estimate_bound, input_bound};
use crate::domain::fault::{Code, Fault};
use crate::domain::usage::Tokens;
use crate::protocol::format::Format;
use crate::protocol::messages::count;
use crate::protocol::request::Request;
use crate::upstream::{Client, Outbound, SendError, Sent};

use super::attempt::{Said, is_plain, read_small};
use super::body::Incoming;
use super::caller::Caller;
use super::{Gateway, failure};

/// How long a call that does not fit by its bytes may wait to be counted by its provider, the
/// counts of its run's earlier calls included.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(3);

/// A prompt that somebody wants to have counted.
pub(super) struct Prompt<'a> {
    /// Whose it is.
    pub(super) caller: &'a Caller,
    /// Where it would go.
    pub(super) target: &'a Arc<Target>,
    /// The request, in the format of its target.
    pub(super) request: &'a Request,
    /// What asks the provider.
    pub(super) client: &'a Client,
    /// Features of Anthropic's that the client opted into.
    pub(super) betas: Option<&'a HeaderValue>,
}

impl Gateway {
    /// The most input tokens of a prompt by a count of its tokens, if there is one.
    pub(super) async fn counted_input(&self, prompt: &Prompt<'_>) -> Option<Tokens> {
        match prompt.target.tokenizer {
            Counting::Anthropic => self.provider_bound(prompt).await,
            Counting::With(_) | Counting::File(_) => self.vocabulary_bound(prompt).await,
        }
    }

    /// By the model's own vocabulary, or by bytes if none is known.
    pub(super) async fn vocabulary_bound(&self, prompt: &Prompt<'_>) -> Option<Tokens> {
        let Prompt { caller, target, request, .. } = prompt;
        let (counter, counted) = (request.counter(), Arc::clone(target));
        // One at a time for each run, one for each processor in all; a client that leaves does not
        // make room for the next while its own prompt is still being counted.
        let turn = Arc::clone(&caller.run.counting).lock_owned().await;
        let place = Arc::clone(&self.counting).acquire_owned().await.ok()?;
        let counting = self.spawn_blocking(move || {
            let _held = (turn, place);
            let tokenizer = &counted.tokenizer;
            counter.count_normalized(tokenizer.normalizing(), tokenizer.counter())
        });
        let (text, shape) = (counting.await.ok()?, request.shape);
        Some(input_bound(text, shape, &target.constants, target.most_input(shape)))
    }

    /// By the provider's count. Nothing depends on it: without an answer in time, bytes stand.
    async fn provider_bound(&self, prompt: &Prompt<'_>) -> Option<Tokens> {
        let Prompt { caller, target, request, .. } = prompt;
        let end = Instant::now() + PROVIDER_PATIENCE.min(self.policy.deadlines.whole);
        let _turn = timeout_at(end, caller.run.counting.lock()).await.ok()?;
        match self.ask_provider(prompt, end).await {
            Ok(counted) => {
                let (shape, window) = (request.shape, target.most_input(request.shape));
                Some(estimate_bound(counted, shape, &target.constants, window))
            }
            Err(fault) => {
                let provider = target.provider.name;
                tracing::debug!(provider, code = fault.code().as_str(), "upstream.count_failed");
                None
            }
        }
    }

    /// Asks the provider of a prompt of messages for its count, which costs nothing.
    ///
    /// # Errors
    /// What the client hears if there is no count by `end`.
    pub(super) async fn ask_provider(
        &self,
        prompt: &Prompt<'_>,
        end: Instant,
    ) -> Result<Tokens, Fault> {
        let Prompt { caller, target, request, client, betas } = prompt;
        let reach = self.reach_of(&caller.run).await?;
        let access = reach.access(target.provider)?;
        let body = request.counting_body(&target.upstream_model).ok_or_else(failure::garbage)?;
        let outbound = Outbound {
            format: Format::Messages,
            body,
            stream: false,
            counts: true,
            betas: betas.cloned(),
        };
        let asking = async {
            let response =
                access.send(client, outbound, Sent::default()).await.map_err(fault_of_send)?;
            let left = end.saturating_duration_since(Instant::now());
            if !response.status().is_success() {
                return Err(Said::new(Arc::clone(access), response).fault(self, end, left).await);
            }
            let reads = is_plain(&response);
            let mut incoming = Incoming::new(response, &self.policy, end);
            let body = if reads { read_small(&mut incoming, left).await } else { Vec::new() };
            count::read(&body).ok_or_else(failure::garbage)
        };
        timeout_at(end, asking).await.unwrap_or_else(|_late| Err(late()))
    }
}

/// What the client hears if no answer began. There is nothing that it could be charged for.
fn fault_of_send(error: SendError) -> Fault {
    match error {
        SendError::NotSent | SendError::ConnectTimeout => failure::fault_of_send(error).1,
        SendError::NoAnswer => failure::broken(),
    }
}

fn late() -> Fault {
    Fault::new(Code::UpstreamTimeout, "The provider did not answer in time. Try again later.")
}
