//! A streamed answer on its way to the client: bytes pass as they come, usage is picked out, and
//! the settlement belongs to the stream itself. A client that hangs up leaves the stream to a
//! task that reads it to its usage.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::JoinHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::domain::fault::Fault;
use crate::domain::settlement::Ending;
use crate::protocol::chat::stream::{StreamFault, StreamMeter};
use crate::protocol::error;

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, OpenCall};
use super::failure;

/// Largest single event that is held while it arrives in pieces.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// A metered stream of bytes for the client. It ends after an error event, if there is one.
pub struct Relay {
    metered: Option<Metered>,
    out: VecDeque<Bytes>,
}

/// The stream and its call, whoever reads it.
struct Metered {
    incoming: Incoming,
    meter: StreamMeter,
    call: Option<OpenCall>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Option<Closing>,
    client_gone: bool,
}

/// An ending that is still being counted, and what the client hears then.
struct Closing {
    counting: JoinHandle<Ending>,
    failure: Option<Fault>,
}

/// Whether there is more to come.
enum Step {
    More,
    Over,
}

impl Relay {
    pub(super) fn new(incoming: Incoming, call: OpenCall, show_usage: bool) -> Self {
        let cut = Box::pin(call.cut.clone().cancelled_owned());
        Self {
            metered: Some(Metered {
                incoming,
                meter: StreamMeter::new(show_usage, MAX_EVENT_BYTES),
                call: Some(call),
                cut,
                closing: None,
                client_gone: false,
            }),
            out: VecDeque::new(),
        }
    }

    /// Whether the next piece would come after the last.
    fn next_ready(&mut self) -> Option<Bytes> {
        // While an ending is being counted, what came last is held back: in dev mode a call is
        // settled before the last byte of its answer is sent.
        let counting = self.metered.as_ref().is_some_and(|metered| metered.closing.is_some());
        if counting { None } else { self.out.pop_front() }
    }
}

impl Stream for Relay {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.next_ready() {
                return Poll::Ready(Some(piece));
            }
            let Self { metered, out } = &mut *self;
            let Some(inner) = metered else { return Poll::Ready(None) };
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
        let Some(mut metered) = self.metered.take() else { return };
        let Some(call) = &metered.call else { return };
        let gateway = std::sync::Arc::clone(call.gateway());
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

    fn poll_step(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>) -> Poll<Step> {
        if let Some(closing) = &mut self.closing {
            let counted = ready!(Pin::new(&mut closing.counting).poll(cx));
            let failure = closing.failure.take();
            self.closing = None;
            return Poll::Ready(self.end(counted.unwrap_or(Ending::Unknown), failure, out));
        }
        if self.call.is_some() && self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(self.close(Some(failure::cut()), true, out));
        }
        let step = match ready!(self.incoming.poll_piece(cx)) {
            Piece::Chunk(chunk) => self.take_in(chunk, out),
            Piece::End => self.at_end(out),
            Piece::Broken if self.meter.is_done() => self.close(None, true, out),
            Piece::Broken => self.close(Some(failure::broken()), true, out),
            Piece::TimedOut => self.close(Some(failure::timed_out()), false, out),
            Piece::TooLarge => self.close(Some(failure::too_large()), false, out),
        };
        Poll::Ready(step)
    }

    fn take_in(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>) -> Step {
        if let Some(call) = &mut self.call {
            call.note_byte();
        }
        match self.meter.feed(chunk, out) {
            Ok(()) if self.meter.is_done() && self.call.is_some() => {
                // Everything that matters has come; what follows is only the connection's end.
                match self.close(None, true, out) {
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
        let complete = self.meter.is_done() || self.meter.usage().is_some();
        let failure = (!complete).then(failure::broken);
        self.close(failure, true, out)
    }

    fn fail(&mut self, fault: &StreamFault, out: &mut VecDeque<Bytes>) -> Step {
        let failure = match fault {
            StreamFault::Provider(error) => self.call.as_ref().and_then(|call| {
                let access = call.gateway().access(call.target.provider.name)?;
                Some(failure::fault_of_error(access, error))
            }),
            StreamFault::Garbage => Some(failure::garbage()),
            StreamFault::EventTooLarge => Some(failure::too_large()),
        };
        self.close(failure, !matches!(fault, StreamFault::EventTooLarge), out)
    }

    /// Ends the call: by its usage if that has come; else by what was seen, where that is the rule;
    /// else at its worst case.
    fn close(&mut self, failure: Option<Fault>, seen: bool, out: &mut VecDeque<Bytes>) -> Step {
        let Some(call) = &self.call else { return Step::Over };
        if let Some(usage) = self.meter.usage() {
            return self.end(Ending::Reported(usage), failure, out);
        }
        if !(seen && call.estimates()) {
            return self.end(Ending::Unknown, failure, out);
        }
        let (text, uncounted) = self.meter.output_text();
        let count = call.count_seen(text, uncounted);
        let counting = call.gateway().spawn_blocking(count);
        self.closing = Some(Closing { counting, failure });
        Step::More
    }

    fn end(&mut self, ending: Ending, failure: Option<Fault>, out: &mut VecDeque<Bytes>) -> Step {
        let Some(call) = self.call.take() else { return Step::Over };
        let status = match (&failure, self.client_gone) {
            (_, true) => CLIENT_GONE,
            (Some(fault), false) => fault.code().status(),
            (None, false) => 200,
        };
        if let Some(fault) = &failure {
            out.push_back(error::event(fault, &call.request_id).into());
        }
        call.finish(ending, status, self.meter.served_model());
        Step::Over
    }
}
