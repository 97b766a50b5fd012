//! One model call, from its body to its answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;

use crate::catalog::Target;
use crate::domain::budget::Balance;
use crate::domain::fault::Fault;
use crate::domain::id::RunId;
use crate::domain::settlement::Charge;
use crate::domain::usage::Tokens;
use crate::ledger::RunRecord;
use crate::limits::gate::{Entered, Told};
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::protocol::style::Style;
use crate::protocol::translate::forced::Way;
use crate::protocol::translate::{ChatClient, Translated, Translation};

use crate::upstream::Client;

use super::admission::Admitted;
use super::call::{Failed, OpenCall};
use super::caller::{Caller, Identity, Presented};
use super::candidate::Candidate;
use super::exchange::{Answer, exchange};
use super::fallback::Onward;
use super::route::{check_endpoint, tier_of};
use super::streamed::{self, Streamed};
use super::{Gateway, failure, unavailable};

/// How long a reader waits for settlements that are being written.
pub(super) const READ_PATIENCE: Duration = Duration::from_millis(250);

/// A model call as the HTTP layer hands it over.
pub struct ModelCall<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Who it says it is.
    pub presented: &'a Presented,
    /// The decoded body.
    pub body: Bytes,
    /// The format that it is written in.
    pub format: Format,
    /// Features of Anthropic's that the client opted into.
    pub betas: Option<HeaderValue>,
    /// The endpoint's path, as it is written down.
    pub endpoint: &'static str,
    /// Whether a stream shows its usage even if the client did not ask.
    pub always_show_usage: bool,
    /// Whether the usage in the answer, which is one of chat, tells its cost even so.
    pub always_tell_cost: bool,
}

/// What is told in the headers of a metered answer, refusals included.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// How errors are told to the client.
    pub style: Style,
    /// The run, once it is known.
    pub run: Option<RunId>,
    /// The run's dollars as this gateway knows them.
    pub balance: Option<Balance>,
    /// Where its limits of pace stand.
    pub rates: Told,
    /// The output bound, if it was lowered.
    pub lowered_output: Option<Tokens>,
    /// The model that answered.
    pub served_model: Option<String>,
    /// What the call cost, if it is over.
    pub charge: Option<Charge>,
}

/// The answer to a model call.
pub enum Reply {
    /// In one piece.
    Whole(Bytes),
    /// As server-sent events.
    Stream(Box<Streamed>),
}

/// A call that may be sent.
struct LetIn {
    admitted: Admitted,
    target: Arc<Target>,
    entered: Entered,
    /// As it is sent.
    request: Request,
    translation: Option<Translation>,
    /// Whether its client wants the cost in the usage.
    tells_cost: bool,
    /// Where it goes on if its provider fails.
    onward: Option<Box<Onward>>,
}

impl Gateway {
    /// Serves a model call. `standing` is filled in as far as the call comes, so that refusals can
    /// tell it too.
    ///
    /// # Errors
    /// Whatever stands in the way first, in the published order.
    pub async fn infer(
        self: &Arc<Self>,
        client: &Client,
        mut call: ModelCall<'_>,
        standing: &mut Standing,
    ) -> Result<Reply, Fault> {
        let _busy = self.take_in()?;
        // What was parsed is written anew; the body is kept beside it only until it is routed.
        let body = std::mem::take(&mut call.body);
        let parse = || Request::parse(call.format, body.clone());
        let (identity, mut request) = self.understand(call.presented, standing, parse).await?;
        let caller = self.name_run(identity, call.presented, &request.run_names).await?;
        standing.run = caller.run.named();
        request.set_run(caller.run.id);
        let run = Arc::clone(&caller.run);
        let served = self.serve(client, &call, (request, body), caller, standing).await;
        standing.balance = run.balance();
        served
    }

    /// Checks the credential and then, not before, reads the body.
    ///
    /// # Errors
    /// If either is not good. What is wrong with the body is counted as a refusal.
    pub async fn understand<T>(
        &self,
        presented: &Presented,
        standing: &mut Standing,
        read: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<(Identity, T), Fault> {
        let identity = self.authenticate(presented).await?;
        match read() {
            Ok(read) => Ok((identity, read)),
            Err(fault) => {
                if let Some(run) = identity.run() {
                    standing.run = Some(run.id);
                    self.refusals.count(run.id, fault.code());
                }
                Err(fault)
            }
        }
    }

    async fn serve(
        self: &Arc<Self>,
        client: &Client,
        call: &ModelCall<'_>,
        asked: (Request, Bytes),
        caller: Caller,
        standing: &mut Standing,
    ) -> Result<Reply, Fault> {
        let let_in = match self.let_in(client, call, asked, &caller, standing).await {
            Ok(let_in) => let_in,
            Err(fault) => {
                self.refusals.count(caller.run.id, fault.code());
                return Err(fault);
            }
        };
        let reply = self.forward(client, call, let_in, caller, standing).await;
        reply.map_err(|Failed { fault, charge }| {
            standing.charge = Some(charge);
            fault
        })
    }

    /// Everything that stands before a call is sent, in the published order.
    async fn let_in(
        &self,
        client: &Client,
        call: &ModelCall<'_>,
        (request, body): (Request, Bytes),
        caller: &Caller,
        standing: &mut Standing,
    ) -> Result<LetIn, Fault> {
        check_endpoint(call.endpoint, caller)?;
        let catalog = self.catalog();
        let reach = self.reach_of(&caller.run).await?;
        let target = self.route(&catalog, &request, caller, &reach)?;
        let tells_cost = request.tells_cost || call.always_tell_cost;
        let onward = Onward::of(call, (&request, &body), (&catalog, &target), caller);
        let shows_usage = call.always_show_usage;
        let (request, translation) = self.spoken(shows_usage, (request, body), &target, caller)?;
        let candidate = Candidate {
            caller,
            catalog: &catalog,
            target: &target,
            request: &request,
            request_id: call.request_id,
            endpoint: call.endpoint,
            client,
            betas: call.betas.as_ref(),
        };
        let tokens = || self.worst_tokens(&candidate);
        let entered = self.enter(caller, call.endpoint, tokens, standing).await?;
        let admitted = self.admit(&candidate).await?;
        Ok(LetIn { admitted, target, entered, request, translation, tells_cost, onward })
    }

    /// The request in the format that its target's provider is spoken to in, asking for the tier
    /// that its organization has there, and what is between that and the client's. `shows_usage`
    /// says whether a stream shows its usage unasked.
    pub(super) fn spoken(
        &self,
        shows_usage: bool,
        asked: (Request, Bytes),
        target: &Target,
        caller: &Caller,
    ) -> Result<(Request, Option<Translation>), Fault> {
        let (mut request, translation) = self.translated(shows_usage, asked, target, caller)?;
        request.tier = tier_of(caller, target, request.format);
        Ok((request, translation))
    }

    fn translated(
        &self,
        shows_usage: bool,
        (request, body): (Request, Bytes),
        target: &Target,
        caller: &Caller,
    ) -> Result<(Request, Option<Translation>), Fault> {
        let asked = request.format;
        let spoken = Translation::spoken(asked, target.provider.formats).unwrap_or(asked);
        let way = Way { asked, spoken, thinking: target.thinking };
        // What makes no text takes none of these.
        let forced = &caller.run.terms.control.forced_parameters;
        let forced = Some(forced).filter(|all| !all.is_empty() && asked != Format::Embeddings);
        let body = match forced {
            None if spoken == asked => return Ok((request, None)),
            None => body,
            Some(forced) => {
                way.check(forced, &target.provider.dialect)?;
                Bytes::from(way.before(&body, forced)?)
            }
        };
        let parse = |body: Bytes| {
            let mut request = Request::parse(spoken, body)?;
            request.set_run(caller.run.id);
            Ok(request)
        };
        if spoken == asked {
            return Ok((parse(body)?, None));
        }
        let limit = match request.asked_output {
            Some(_) => None,
            None => Some(self.output_of(&request, target, &caller.run)),
        };
        let client = ChatClient {
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            include_usage: request.include_usage || shows_usage,
            legacy_functions: false,
        };
        let formats = (asked, spoken);
        let Translated { body, translation } =
            Translation::of(formats, &body, target.thinking, limit, client)?;
        let body = match forced {
            None => body,
            Some(forced) => way.after(&body, forced)?,
        };
        Ok((parse(body.into())?, Some(translation)))
    }

    async fn forward(
        self: &Arc<Self>,
        client: &Client,
        call: &ModelCall<'_>,
        let_in: LetIn,
        caller: Caller,
        standing: &mut Standing,
    ) -> Result<Reply, Failed> {
        let LetIn { admitted, target, entered, request, translation, tells_cost, onward } = let_in;
        let output = admitted.output;
        standing.lowered_output = admitted.lowered.then_some(output);
        standing.served_model = Some(target.model.clone());
        let named = (call.request_id.to_owned(), call.endpoint);
        let formats = (call.format, request.format, translation);
        let target = &target;
        // Asked anew: while the call waited for money, its organization may have changed its mind.
        let reach = self.reach_of(&caller.run).await.map_err(nothing)?;
        let access = Arc::clone(reach.access(target.provider).map_err(nothing)?);
        let (gateway, goes) = (Arc::clone(self), (Arc::clone(target), access));
        let mut open = OpenCall::new(gateway, caller, named, formats, goes, admitted, entered);
        let show_usage = request.include_usage || call.always_show_usage;
        open.tells_cost = tells_cost;
        let stream = request.stream;
        let outbound = open.write(request, output, call.betas.clone());
        // Boxed, because it is large and what is around it is kept until it ends.
        let exchange = Box::pin(exchange(client.clone(), open, outbound, show_usage, onward));
        if stream {
            let begun =
                streamed::begin(exchange, self.policy.keep_alive, (call.request_id, call.format));
            let begun = begun.await?;
            if let Some(relay) = begun.relay() {
                standing.lowered_output = relay.lowered_output;
            }
            return Ok(Reply::Stream(Box::new(begun)));
        }
        match exchange.await? {
            Answer::Stream(_) => Err(Failed { fault: failure::garbage(), charge: Charge::NOTHING }),
            Answer::Whole(whole) => {
                standing.charge = Some(whole.charge);
                standing.lowered_output = whole.lowered_output;
                if whole.served_model.is_some() {
                    standing.served_model = whole.served_model;
                }
                Ok(Reply::Whole(whole.bytes))
            }
        }
    }

    /// What a run has used, its latest settlements on this gateway included.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn usage(&self, run: RunId) -> Result<Option<RunRecord>, Fault> {
        let _place = self.reads.acquire().await;
        self.catch_up(run).await;
        self.ledger.record(run).await.map_err(unavailable)
    }

    /// Waits a moment for what this gateway has yet to write of a run, so that whoever reads right
    /// after his own call finds it.
    pub(super) async fn catch_up(&self, run: RunId) {
        if let Some(known) = self.directory.known(run) {
            let _written_or_not = tokio::time::timeout(READ_PATIENCE, known.queue.written()).await;
        }
        self.write_refusals().await;
    }

    /// Writes the counts of refusals. Nothing that matters waits for them to be written.
    pub async fn write_refusals(&self) {
        if let Err(error) = self.refusals.flush(&self.ledger).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "refusals.flush_failed");
        }
    }
}

/// A fault before anything was sent.
fn nothing(fault: Fault) -> Failed {
    Failed { fault, charge: Charge::NOTHING }
}
