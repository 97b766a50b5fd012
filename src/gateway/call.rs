//! An admitted call until its settlement. Whatever happens to its handler, its task or its client,
//! it ends in exactly one place: [`OpenCall::finish`].

mod again;

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, Target};
use crate::domain::bound::{InputShape, input_bound};
use crate::domain::fault::Fault;
use crate::domain::id::{Attempt, ReservationId};
use crate::domain::money::Usd;
use crate::domain::price::Caching;
use crate::domain::reservation::Authority;
use crate::domain::settlement::{Charge, CostSource, Ending, Flag, Terms};
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;
use crate::ledger::queue::Turn;
use crate::ledger::{Grant, Outcome};
use crate::limits::gate::Entered;
use crate::protocol::answer::Served;
use crate::protocol::format::Format;
use crate::protocol::request::{Request, TextCounter};
use crate::protocol::translate::Translation;
use crate::upstream::{Access, Outbound};

use super::admission::Admitted;
use super::caller::Caller;
use super::directory::KnownRun;
use super::incidents;
use super::payers::KnownKey;
use super::pricing::Pricing;
use super::{Busy, Gateway, Work};

/// What a client sees if it has gone: nothing. It is only recorded.
pub const CLIENT_GONE: u16 = 499;

/// What one ended call was, for whoever wants to print it.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// The run.
    pub run: crate::domain::id::RunId,
    /// The model's name in the catalogue.
    pub model: String,
    /// What is booked.
    pub charge: Charge,
    /// What the run has left.
    pub remaining: Usd,
    /// What the client got.
    pub status: u16,
}

/// A call that failed after it was admitted, and what it cost all the same.
pub struct Failed {
    /// What the client hears.
    pub fault: Fault,
    /// What is booked.
    pub charge: Charge,
}

/// How the input of a call is counted when the provider did not say: the text, as it was sent, and
/// what is around it.
struct InputCount {
    text: TextCounter,
    shape: InputShape,
}

/// An admitted call: one attempt to have it answered, and then perhaps the next. Boxed wherever it
/// goes, since it is handed on many times.
pub struct OpenCall {
    /// Its run.
    pub run: Arc<KnownRun>,
    /// The request's id.
    pub request_id: String,
    /// Where it goes.
    pub target: Arc<Target>,
    /// How its provider is reached.
    pub access: Arc<Access>,
    /// The format that the client speaks.
    pub asked: Format,
    /// The format that the provider is spoken to in.
    pub spoken: Format,
    /// What is between the two.
    pub translation: Option<Translation>,
    /// Whether the usage in the answer tells its cost.
    pub tells_cost: bool,
    /// Its output bound, if it was lowered.
    pub lowered_output: Option<Tokens>,
    /// What cuts it.
    pub cut: CancellationToken,
    /// When it was admitted.
    pub admitted: Instant,
    /// Its id in the ledger.
    pub id: ReservationId,
    gateway: Arc<Gateway>,
    catalog: Arc<Catalog>,
    endpoint: &'static str,
    key: Option<Arc<KnownKey>>,
    authority: Authority,
    certificate: Option<Arc<[String]>>,
    turn: Arc<Turn>,
    attempt: Attempt,
    terms: Terms,
    caching: Caching,
    tier: ServiceTier,
    requested_model: Option<String>,
    grant: Option<Grant>,
    input: Option<Arc<InputCount>>,
    first_byte: Option<Instant>,
    sent: bool,
    refused: bool,
    saw_output: bool,
    entered: Entered,
    _busy: Busy,
}

impl OpenCall {
    /// Takes a grant over, together with the call's places among those under way.
    pub fn new(
        gateway: Arc<Gateway>,
        caller: Caller,
        (request_id, endpoint): (String, &'static str),
        (asked, spoken, translation): (Format, Format, Option<Translation>),
        (target, access): (Arc<Target>, Arc<Access>),
        admitted: Admitted,
        entered: Entered,
    ) -> Box<Self> {
        let busy = Busy::with(&gateway, Work::Call);
        let Admitted { catalog, grant, terms, caching, tier, turn, requested_model, .. } = admitted;
        let Caller { run, key, authority, certificate } = caller;
        Box::new(Self {
            cut: run.cut_token(grant.attempt()),
            run,
            request_id,
            target,
            access,
            asked,
            spoken,
            translation,
            tells_cost: false,
            lowered_output: admitted.lowered.then_some(admitted.output),
            admitted: Instant::now(),
            id: grant.id(),
            attempt: grant.attempt(),
            gateway,
            catalog,
            endpoint,
            key,
            authority,
            certificate,
            turn,
            terms,
            caching,
            tier,
            requested_model,
            grant: Some(grant),
            input: None,
            first_byte: None,
            sent: false,
            refused: false,
            saw_output: false,
            entered,
            _busy: busy,
        })
    }

    /// The gateway that made the call.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The provider did not take the call: whatever happens now, this attempt bought nothing.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Writes the body for the call's provider. From now on something may have been bought.
    pub(super) fn write(
        &mut self,
        request: Request,
        output: Tokens,
        betas: Option<HeaderValue>,
    ) -> Outbound {
        let (stream, shape, format) = (request.stream, request.shape, request.format);
        let (model, provider) = (&self.target.upstream_model, self.target.provider);
        let body = request.into_upstream(model, &provider.dialect, output);
        // Only a stream can end in an estimate; no other call keeps its prompt.
        let counts = stream && self.estimates();
        self.input = counts.then(|| Arc::new(InputCount { text: body.counter, shape }));
        self.sent = true;
        let betas = betas.filter(|_| format == Format::Messages);
        Outbound { format, body: body.bytes, stream, counts: false, betas }
    }

    /// A byte of the answer's body arrived.
    pub fn note_byte(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
    }

    /// The answer had something in it that costs output tokens.
    pub fn note_output(&mut self) {
        self.saw_output = true;
    }

    /// The ending of a stream without usage: the input counted, and the output that was seen. Runs
    /// where blocking is allowed.
    pub fn count_seen(
        &self,
        output: &str,
        uncounted_bytes: u64,
    ) -> impl FnOnce() -> Ending + Send + 'static {
        let (target, input) = (Arc::clone(&self.target), self.input.clone());
        let output = output.to_owned();
        move || {
            let count = target.tokenizer.counter();
            let Some(input) = input else { return Ending::Unknown };
            let text = input.text.count_normalized(target.tokenizer.normalizing(), &count);
            Ending::Seen {
                input: input_bound(
                    text,
                    input.shape,
                    &target.constants,
                    target.most_input(input.shape),
                ),
                output: Tokens::new(count(&output).saturating_add(uncounted_bytes)),
            }
        }
    }

    /// Whether counting would change what is charged.
    pub fn estimates(&self) -> bool {
        !self.terms.hidden_reasoning
            && self.terms.unknown_usage == crate::domain::settlement::UnknownUsage::Estimate
    }

    /// What its charge depends on.
    pub(super) fn pricing(&self) -> Pricing {
        let (catalog, target) = (Arc::clone(&self.catalog), Arc::clone(&self.target));
        Pricing { catalog, target, terms: self.terms, caching: self.caching, tier: self.tier }
    }

    /// Ends the call: prices it, settles it, tells of it.
    pub fn finish(mut self: Box<Self>, ending: Ending, status: u16, served: Served<'_>) -> Charge {
        self.end(ending, status, served)
    }

    fn end(&mut self, ending: Ending, status: u16, served: Served<'_>) -> Charge {
        let Some(grant) = self.grant.take() else { return Charge::NOTHING };
        let pricing = self.pricing();
        let (mut charge, doubt) = pricing.charge(ending, served);
        self.entered.note_used(charge.usage.total().count());
        charge.flag = charge.flag.or_else(|| self.suspicion(&charge, doubt));
        let tier = pricing.tier_kept(&charge, served);
        let latency = millis(self.admitted, Instant::now());
        let ttfb = self.first_byte.map(|first| millis(self.admitted, first));
        grant.settle(Outcome {
            charge,
            served_model: served.model.map(incidents::clean),
            service_tier: tier.clone(),
            status,
            latency_ms: latency,
            ttfb_ms: ttfb,
        });
        self.run.note_settled(self.attempt, self.terms.reserved.usd, charge.cost);
        self.tell(&charge, tier.as_deref(), (status, latency));
        incidents::tell(self.id, &pricing, &charge, served);
        charge
    }

    /// What is odd about a report that is believed all the same.
    fn suspicion(&self, charge: &Charge, doubt: Option<Flag>) -> Option<Flag> {
        match charge.source {
            CostSource::None => None,
            CostSource::Usage if self.saw_output && charge.usage.output == Tokens::ZERO => {
                Some(Flag::ContradictedUsage)
            }
            _ => doubt,
        }
    }

    fn tell(&self, charge: &Charge, tier: Option<&str>, (status, latency_ms): (u16, u64)) {
        tracing::info!(
            request.id = %self.request_id,
            run.id = self.run.named().map(tracing::field::display),
            key.id = self.key.as_ref().map(|key| tracing::field::display(key.id)),
            run.attempt = self.attempt.number(),
            call.id = %self.id,
            model = %self.target.model,
            provider = self.target.provider.name,
            service_tier = tier,
            status,
            cost_usd = %charge.cost,
            cost_source = charge.source.as_str(),
            flag = charge.flag.map(Flag::as_str),
            input_tokens = charge.usage.input().count(),
            output_tokens = charge.usage.output.count(),
            latency_ms,
            "call.ended"
        );
        self.gateway.counters.count(&self.target, charge, status);
        self.gateway.report(|| CallReport {
            run: self.run.id,
            model: self.target.model.clone(),
            charge: *charge,
            remaining: Usd::from_decimal(self.run.balance().unwrap_or_default().available())
                .unwrap_or_default(),
            status,
        });
    }
}

/// A call that is dropped without an end – a panic, a runtime that goes down – is charged what it
/// may have cost.
impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.grant.is_some() {
            let bought_nothing = self.refused || !self.sent;
            let ending = if bought_nothing { Ending::NothingBought } else { Ending::Unknown };
            self.end(ending, CLIENT_GONE, Served::default());
        }
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}
