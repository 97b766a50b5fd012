//! An admitted call until its settlement. Whatever happens to its handler, its task or its client,
//! it ends in exactly one place: [`OpenCall::finish`].

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::catalog::Target;
use crate::catalog::tokenizer::Tokenizer;
use crate::domain::bound::{InputShape, input_bound};
use crate::domain::fault::Fault;
use crate::domain::id::{Attempt, ReservationId};
use crate::domain::money::Usd;
use crate::domain::settlement::{Charge, Ending, Flag, Terms};
use crate::domain::usage::Tokens;
use crate::ledger::{Grant, Outcome};
use crate::limits::Permit;
use crate::protocol::chat::TextCounter;

use super::directory::KnownRun;
use super::{Busy, Gateway};

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

/// How the input of a call is counted when the provider did not say.
pub struct InputCount {
    /// The text, as it was sent.
    pub text: TextCounter,
    /// What is around it.
    pub shape: InputShape,
}

/// An admitted call.
pub struct OpenCall {
    /// Its run.
    pub run: Arc<KnownRun>,
    /// The request's id.
    pub request_id: String,
    /// Where it goes.
    pub target: Arc<Target>,
    /// What cuts it.
    pub cut: CancellationToken,
    /// When it was admitted.
    pub admitted: Instant,
    /// Its id in the ledger.
    pub id: ReservationId,
    gateway: Arc<Gateway>,
    attempt: Attempt,
    terms: Terms,
    grant: Option<Grant>,
    input: Option<Arc<InputCount>>,
    first_byte: Option<Instant>,
    sent: bool,
    _permit: Permit,
    _busy: Busy,
}

impl OpenCall {
    /// Takes a grant over, together with the call's place among those under way.
    pub fn new(
        gateway: Arc<Gateway>,
        run: Arc<KnownRun>,
        request_id: String,
        target: Arc<Target>,
        (grant, terms): (Grant, Terms),
        permit: Permit,
    ) -> Self {
        let busy = Busy::new(&gateway);
        Self {
            cut: run.cut_token(grant.attempt()),
            run,
            request_id,
            target,
            admitted: Instant::now(),
            id: grant.id(),
            attempt: grant.attempt(),
            gateway,
            terms,
            grant: Some(grant),
            input: None,
            first_byte: None,
            sent: false,
            _permit: permit,
            _busy: busy,
        }
    }

    /// The gateway that made the call.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// From now on something may have been bought. `input` is what an estimate would count, where
    /// one is possible.
    pub fn sending(&mut self, input: Option<InputCount>) {
        self.sent = true;
        self.input = input.map(Arc::new);
    }

    /// A byte of the answer's body arrived.
    pub fn note_byte(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
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
            let tokenizer: Tokenizer = target.tokenizer;
            let Some(input) = input else { return Ending::Unknown };
            let text = input.text.count(|text| tokenizer.count(text));
            Ending::Seen {
                input: input_bound(text, input.shape, &target.constants, target.context_window),
                output: Tokens::new(tokenizer.count(&output).saturating_add(uncounted_bytes)),
            }
        }
    }

    /// Whether counting would change what is charged.
    pub fn estimates(&self) -> bool {
        !self.terms.hidden_reasoning
            && self.terms.unknown_usage == crate::domain::settlement::UnknownUsage::Estimate
    }

    /// Ends the call: prices it, settles it, tells of it.
    pub fn finish(mut self, ending: Ending, status: u16, served_model: Option<&str>) -> Charge {
        self.end(ending, status, served_model)
    }

    fn end(&mut self, ending: Ending, status: u16, served_model: Option<&str>) -> Charge {
        let Some(grant) = self.grant.take() else { return Charge::NOTHING };
        let served =
            served_model.and_then(|model| self.gateway.catalog.served(self.target.provider, model));
        // What makes something else has prices that do not fit what was made.
        let served = served.filter(|served| served.kind == self.target.kind);
        let prices = served.map_or(&self.target.prices, |served| &served.prices);
        let charge = self.terms.charge(ending, prices);
        let latency = millis(self.admitted, Instant::now());
        let ttfb = self.first_byte.map(|first| millis(self.admitted, first));
        grant.settle(Outcome {
            charge,
            served_model: served_model.map(clean),
            status,
            latency_ms: latency,
            ttfb_ms: ttfb,
        });
        self.run.note_settled(self.terms.reserved.usd, charge.cost);
        self.tell(&charge, status, latency);
        charge
    }

    fn tell(&self, charge: &Charge, status: u16, latency_ms: u64) {
        tracing::info!(
            request.id = %self.request_id,
            run.id = %self.run.id,
            run.attempt = self.attempt.number(),
            call.id = %self.id,
            model = %self.target.model,
            provider = self.target.provider.name,
            status,
            cost_usd = %charge.cost,
            cost_source = charge.source.as_str(),
            flag = charge.flag.map(Flag::as_str),
            input_tokens = charge.usage.input().count(),
            output_tokens = charge.usage.output.count(),
            latency_ms,
            "call.ended"
        );
        if charge.flag == Some(Flag::OverReservation) {
            tracing::error!(
                call.id = %self.id, provider = self.target.provider.name,
                cost_usd = %charge.cost, reserved_usd = %self.terms.reserved.usd,
                "call.over_reservation: the provider broke its own limit; booked in full"
            );
        }
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
            let ending = if self.sent { Ending::Unknown } else { Ending::NothingBought };
            self.end(ending, CLIENT_GONE, None);
        }
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

/// A provider's name for a model, as it may be stored: no NUL, not endless.
fn clean(name: &str) -> String {
    const MOST: usize = 256;
    name.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
