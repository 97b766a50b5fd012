//! A streamed answer on its way to the client: bytes pass as they come, usage is picked out, and
//! the settlement belongs to the stream itself. A client that hangs up leaves the stream to a
//! task that reads it to its usage.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::domain::fault::Fault;
use crate::domain::settlement::Ending;
use crate::domain::usage::Tokens;
use crate::protocol::stream::{StreamFault, StreamMeter};

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, OpenCall};
use super::failure;

/// Largest single event that is held while it arrives in pieces.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// How long a client may take to hear of a cut or a deadline by itself before the call is ended
/// without it. A client that does not read keeps the server from asking for more.
const HEARING: Duration = Duration::from_secs(1);

/// Pieces of a flood after which a cut is looked for.
const LOOK_EVERY: u8 = 16;

/// A metered stream of bytes for the client. It ends after an error event, if there is one.
pub struct Relay {
    /// The output bound of its call, if it was lowered.
    pub lowered_output: Option<Tokens>,
    metered: Shared,
    out: VecDeque<Bytes>,
    watch: AbortHandle,
}

/// The stream, for whoever ends it first: the client's reading, or the watch over it.
type Shared = Arc<Mutex<Option<Metered>>>;

/// The stream and its call, whoever reads it.
struct Metered {
    incoming: Incoming,
    meter: StreamMeter,
    call: Option<Box<OpenCall>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Option<Closing>,
    client_gone: bool,
    /// Pieces since the cut was last looked for.
    unlooked: u8,
}

/// An ending that is still being counted, and what the client hears then.
struct Closing {
    counting: JoinHandle<Ending>,
    failure: Option<Fault>,
}

/// How a stream ended, as far as its bill cares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// As streams should: any usage in it counts.
    Proper,
    /// Broken by the provider or cut for its run: without a final usage, what was seen counts.
    Broken,
    /// Given up by us: without a final usage, anything may have been bought.
    GivenUp,
}

/// Whether there is more to come.
enum Step {
    More,
    Over,
}

impl Relay {
    pub(super) fn new(
        incoming: Incoming,
        call: Box<OpenCall>,
        show_usage: bool,
        deadline: Instant,
    ) -> Self {
        let gateway = Arc::clone(call.gateway());
        let (token, lowered_output) = (call.cut.clone(), call.lowered_output);
        let metered = Arc::new(Mutex::new(Some(Metered {
            incoming,
            meter: meter_of(&call, show_usage),
            cut: Box::pin(token.clone().cancelled_owned()),
            call: Some(call),
            closing: None,
            client_gone: false,
            unlooked: 0,
        })));
        let watch = gateway.spawn(watch(Arc::downgrade(&metered), token, deadline));
        Self { lowered_output, metered, out: VecDeque::new(), watch }
    }
}

/// What reads the answer, and translates it where the client speaks another format.
fn meter_of(call: &OpenCall, show_usage: bool) -> StreamMeter {
    let meter = match call.translation.and_then(|translation| translation.stream()) {
        Some(translate) => StreamMeter::translating(call.spoken, translate, MAX_EVENT_BYTES),
        None => StreamMeter::new(call.spoken, show_usage, MAX_EVENT_BYTES),
    };
    if call.tells_cost { meter.telling_cost(call.pricing().teller()) } else { meter }
}

/// Ends a call whose client does not read, once it is cut or its time is over.
async fn watch(metered: Weak<Mutex<Option<Metered>>>, cut: CancellationToken, deadline: Instant) {
    let end = tokio::select! {
        () = cut.cancelled() => End::Broken,
        () = sleep_until(deadline) => End::GivenUp,
    };
    sleep(HEARING).await;
    let Some(shared) = metered.upgrade() else { return };
    let Some(metered) = shared.lock().take() else { return };
    // Boxed, because hardly any of the many that watch comes to it.
    Box::pin(metered.end_unheard(end)).await;
}

impl Stream for Relay {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Self { metered, out, .. } = &mut *self;
        let mut metered = metered.lock();
        loop {
            // While an ending is being counted, what came last is held back: in dev mode a call is
            // settled before the last byte of its answer is sent.
            let counting = metered.as_ref().is_some_and(|metered| metered.closing.is_some());
            if !counting && let Some(piece) = out.pop_front() {
                return Poll::Ready(Some(piece));
            }
            let Some(inner) = metered.as_mut() else { return Poll::Ready(None) };
            match ready!(inner.poll_step(cx, out)) {
                Step::More => {}
                Step::Over => *metered = None,
            }
        }
    }
}

/// The client has gone, or has everything.
impl Drop for Relay {
    fn drop(&mut self) {
        self.watch.abort();
        let Some(mut metered) = self.metered.lock().take() else { return };
        let Some(call) = &metered.call else { return };
        let gateway = Arc::clone(call.gateway());
        metered.client_gone = true;
        gateway.spawn(metered.drain());
    }
}

impl Metered {
    /// Reads what the client no longer does, to the usage.
    async fn drain(mut self) {
        let mut unread = VecDeque::new();
        while self.call.is_some() {
            unread.clear();
            let step = std::future::poll_fn(|cx| self.poll_step(cx, &mut unread)).await;
            if matches!(step, Step::Over) {
                return;
            }
        }
    }

    /// Ends the call although nobody hears of it.
    async fn end_unheard(mut self, end: End) {
        let mut unheard = VecDeque::new();
        let failure = match (end, &self.call) {
            (End::Broken, Some(call)) => failure::cut(call.gateway()),
            _ => failure::timed_out(),
        };
        if matches!(self.close(Some(failure), end, &mut unheard), Step::More) {
            self.drain().await;
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>) -> Poll<Step> {
        if let Some(closing) = &mut self.closing {
            let counted = ready!(Pin::new(&mut closing.counting).poll(cx));
            let failure = closing.failure.take();
            self.closing = None;
            return Poll::Ready(self.end(counted.unwrap_or(Ending::Unknown), failure, out));
        }
        let piece = self.incoming.poll_piece(cx);
        // Looked for when there is nothing to pass, and now and then in a flood.
        let looks = piece.is_pending() || self.unlooked >= LOOK_EVERY;
        if looks {
            self.unlooked = 0;
            if let Some(call) = &self.call
                && self.cut.as_mut().poll(cx).is_ready()
            {
                let failure = failure::cut(call.gateway());
                return Poll::Ready(self.close(Some(failure), self.end_of_cut(), out));
            }
        }
        self.unlooked += 1;
        let step = match ready!(piece) {
            Piece::Chunk(chunk) => self.take_in(chunk, out),
            Piece::End => self.at_end(out),
            Piece::Broken if self.meter.is_done() => self.close(None, End::Proper, out),
            Piece::Broken => self.close(Some(failure::broken()), End::Broken, out),
            Piece::TimedOut => self.close(Some(failure::timed_out()), End::GivenUp, out),
            Piece::TooLarge => self.close(Some(failure::too_large()), End::GivenUp, out),
        };
        Poll::Ready(step)
    }

    /// Only a run's own end is estimated; a gateway that goes down, or a client that has gone, is
    /// no reason to charge less than the worst case.
    fn end_of_cut(&self) -> End {
        let halted = self.call.as_ref().is_some_and(|call| call.gateway().is_halted());
        if self.client_gone || halted { End::GivenUp } else { End::Broken }
    }

    fn take_in(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>) -> Step {
        if let Some(call) = &mut self.call {
            call.note_byte();
        }
        match self.meter.feed(chunk, out) {
            Ok(()) if self.meter.is_done() && self.call.is_some() => {
                // Everything that matters has come; what follows is only the connection's end.
                match self.close(None, End::Proper, out) {
                    Step::Over => Step::More,
                    more => more,
                }
            }
            Ok(()) => Step::More,
            Err(fault) => self.fail(&fault, out),
        }
    }

    fn at_end(&mut self, out: &mut VecDeque<Bytes>) -> Step {
        if let Err(fault) = self.meter.finish(out) {
            return self.fail(&fault, out);
        }
        if self.meter.is_done() || self.meter.final_usage().is_some() {
            self.close(None, End::Proper, out)
        } else {
            self.close(Some(failure::broken()), End::Broken, out)
        }
    }

    fn fail(&mut self, fault: &StreamFault, out: &mut VecDeque<Bytes>) -> Step {
        let (failure, end) = match fault {
            StreamFault::Provider(error) => {
                let access = self.call.as_ref().map(|call| &call.access);
                let failure = access.map(|access| failure::fault_of_error(access, error));
                (failure.unwrap_or_else(failure::broken), End::Broken)
            }
            StreamFault::Garbage => (failure::garbage(), End::Broken),
            StreamFault::EventTooLarge => (failure::too_large(), End::GivenUp),
        };
        self.close(Some(failure), end, out)
    }

    /// Ends the call: by its usage if that has come; else by what was seen, where that is the rule;
    /// else at its worst case.
    fn close(&mut self, failure: Option<Fault>, end: End, out: &mut VecDeque<Bytes>) -> Step {
        let Some(call) = &self.call else { return Step::Over };
        let usage = match end {
            End::Proper => self.meter.usage(),
            End::Broken | End::GivenUp => self.meter.final_usage(),
        };
        if let Some(usage) = usage {
            return self.end(Ending::Reported(usage), failure, out);
        }
        if end == End::GivenUp || !call.estimates() {
            return self.end(Ending::Unknown, failure, out);
        }
        let (text, uncounted) = self.meter.output_text();
        let count = call.count_seen(text, uncounted);
        let counting = call.gateway().spawn_blocking(count);
        self.closing = Some(Closing { counting, failure });
        Step::More
    }

    fn end(&mut self, ending: Ending, fault: Option<Fault>, out: &mut VecDeque<Bytes>) -> Step {
        let Some(mut call) = self.call.take() else { return Step::Over };
        if self.meter.saw_output() {
            call.note_output();
        }
        let status = match (&fault, self.client_gone) {
            (_, true) => CLIENT_GONE,
            (Some(fault), false) => fault.code().status(),
            (None, false) => 200,
        };
        if let Some(fault) = &fault {
            failure::tell(fault, &call.request_id);
            out.push_back(call.asked.error_event(fault, &call.request_id).into());
        }
        call.finish(ending, status, self.meter.served());
        Step::Over
    }
}
