//! Counting the input of messages for a client, which is no model call: it costs nothing and leaves
//! no trace in the ledger, and only whoever could make the call is answered.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::domain::bound::input_bound;
use crate::domain::fault::Fault;
use crate::domain::policy::check_standing;
use crate::domain::reservation::Refusal;
use crate::domain::usage::Tokens;
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::upstream::Client;

use super::admission::{STATE_POLL, closed, expired, not_active};
use super::caller::{Caller, invalid_key, run_not_found};
use super::counting::Prompt;
use super::inference::{ModelCall, Standing};
use super::route::check_endpoint;
use super::{Gateway, draining, unavailable};

/// How many tokens an input has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputTokens {
    /// As its provider counts them.
    Counted(Tokens),
    /// At most this many, as a call would be admitted with: by the model's vocabulary if one is
    /// known, else by bytes.
    Bound(Tokens),
}

impl Gateway {
    /// Counts the input of messages. `standing` is filled in as far as it comes.
    ///
    /// # Errors
    /// What stands in the way of the call itself, in the published order, save for money; else what
    /// the provider answered instead of a count.
    pub async fn count_tokens(
        self: &Arc<Self>,
        client: &Client,
        mut call: ModelCall<'_>,
        standing: &mut Standing,
    ) -> Result<InputTokens, Fault> {
        let _busy = self.take_in()?;
        let body = std::mem::take(&mut call.body);
        let parse = || Request::parse_count(&body);
        let (identity, request) = self.understand(call.presented, standing, parse).await?;
        let caller = self.name_run(identity, call.presented, &request.run_names).await?;
        standing.run = caller.run.named();
        let counted = self.counted(client, &call, (request, body), &caller, standing).await;
        standing.balance = caller.run.balance();
        counted.inspect_err(|fault| self.refusals.count(caller.run.id, fault.code()))
    }

    async fn counted(
        &self,
        client: &Client,
        call: &ModelCall<'_>,
        asked: (Request, Bytes),
        caller: &Caller,
        standing: &mut Standing,
    ) -> Result<InputTokens, Fault> {
        check_endpoint(call.endpoint, caller)?;
        let reach = self.reach_of(&caller.run).await?;
        let target = self.route(&self.catalog(), &asked.0, caller, &reach)?;
        let (request, _) = self.spoken(call.always_show_usage, asked, &target, caller)?;
        let _entered = self.enter(caller, call.endpoint, || Tokens::ZERO, standing).await?;
        self.until_open(caller).await?;
        let betas = call.betas.as_ref();
        let prompt = Prompt { caller, target: &target, request: &request, client, betas };
        if request.format == Format::Messages {
            let end = Instant::now() + self.policy.deadlines.whole;
            return self.ask_provider(&prompt, end).await.map(InputTokens::Counted);
        }
        let (shape, window) = (request.shape, target.most_input(request.shape));
        let text = request.text_bound(target.tokenizer.normalizing());
        let strict = input_bound(text, shape, &target.constants, window);
        let counted = self.vocabulary_bound(&prompt).await;
        Ok(InputTokens::Bound(counted.map_or(strict, |counted| counted.min(strict))))
    }

    /// Waits until the run may call models, as a call of it would. There is no reservation to be
    /// refused, so the ledger is asked for the run's state, and of those who pay.
    async fn until_open(&self, caller: &Caller) -> Result<(), Fault> {
        let Caller { run, key, authority, .. } = caller;
        let payer = self.directory.refresh_organization(run.terms.organization);
        payer.await.map_err(unavailable)?;
        if let Some(key) = key {
            self.directory.refresh_key(key.id).await.map_err(unavailable)?;
            if !key.admits(*authority) {
                return Err(invalid_key());
            }
            caller.check_certificate()?;
            if run.named().is_none() {
                return Ok(());
            }
        }
        let began = Instant::now();
        loop {
            if self.is_draining() {
                return Err(draining());
            }
            let changed = run.changed();
            {
                let _place = self.reads.acquire().await;
                self.directory.refresh(run.id).await.map_err(unavailable)?;
            }
            let token = run.terms.require_token;
            // The gateway's own clock: no money depends on when a run is past its expiry.
            match check_standing(&run.standing(), token, *authority, chrono::Utc::now()) {
                Ok(()) => return Ok(()),
                Err(Refusal::RunNotActive(state)) => {
                    let left = self.policy.activation_wait.saturating_sub(began.elapsed());
                    if left.is_zero() {
                        return Err(not_active(state.as_str()));
                    }
                    let _told = timeout(left.min(STATE_POLL), changed).await;
                }
                Err(Refusal::RunClosed(state)) => return Err(closed(state.as_str())),
                Err(Refusal::RunExpired) => return Err(expired()),
                Err(Refusal::RunNotFound) => return Err(run_not_found()),
                Err(Refusal::InvalidKey) => return Err(invalid_key()),
                // Nothing is asked of a budget.
                Err(Refusal::Behind { .. } | Refusal::Budget { .. } | Refusal::Outdated) => {
                    return Ok(());
                }
            }
        }
    }
}
