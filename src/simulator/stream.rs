//! Bodies that are made while they are sent: event streams, and bodies that break on purpose.
//!
//! A body says `Pending` between two events so that the server writes each by itself, as a
//! provider does that makes them one by one. It does not know what the events mean.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::directive::{Directives, Stall};
use super::plan::Plan;
use super::reply::Reply;
use super::wire::{self, Delta, Events};
use super::words::{Numbers, Words};

/// How much of an endless unstreamed body is made at a time, in bytes.
const BLOCK_BYTES: usize = 8192;
const EVENTS_BEFORE_ERROR: u64 = 2;

/// The body was cut because the request asked for it.
#[derive(Debug, thiserror::Error)]
#[error("the simulated provider cut the connection, as asked")]
pub(super) struct Cut;

/// An answer as server-sent events.
pub(super) struct EventStream {
    events: Events,
    reply: Reply,
    directives: Directives,
    include_usage: bool,
    delay: Duration,
    choice: usize,
    step: Step,
    sent: u64,
    pause: Pause,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Role,
    Call,
    Pieces,
    Usage,
    Done,
    End,
}

/// What stands between two events.
enum Pause {
    None,
    /// Give the server a turn to write.
    Turn,
    Sleep(Pin<Box<Sleep>>),
}

enum Next {
    Event(Bytes),
    End,
    Cut,
    Stall,
}

impl EventStream {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            events: Events::new(&plan.reply, plan.include_usage),
            reply: plan.reply,
            // A cut before the first event still sends the head.
            pause: match plan.directives.cut {
                Some(0) => Pause::Turn,
                _ => Pause::None,
            },
            directives: plan.directives,
            include_usage: plan.include_usage,
            delay: plan.chunk_delay,
            choice: 0,
            step: Step::Role,
            sent: 0,
        }
    }

    /// What to do now: an event, or what the directives put in its place.
    fn next(&mut self) -> Next {
        if self.directives.cut.is_some_and(|events| self.sent >= events) {
            return Next::Cut;
        }
        if self.directives.stall == Some(Stall::Body) && self.sent > 0 {
            return Next::Stall;
        }
        if self.step == Step::End {
            return Next::End;
        }
        self.sent += 1;
        if self.directives.error_event && self.sent > EVENTS_BEFORE_ERROR {
            self.step = Step::End;
            return Next::Event(Bytes::from_static(wire::STREAM_ERROR.as_bytes()));
        }
        if self.directives.garbage && self.sent == 2 {
            return Next::Event(Bytes::from_static(wire::GARBAGE.as_bytes()));
        }
        self.event().map_or(Next::End, Next::Event)
    }

    /// The next event of the answer itself.
    fn event(&mut self) -> Option<Bytes> {
        match self.step {
            Step::Usage => {
                self.step = Step::Done;
                let usage = self.reply.usage.as_ref()?;
                return Some(self.events.usage(usage).into());
            }
            Step::Done => {
                self.step = Step::End;
                return Some(Bytes::from_static(wire::DONE.as_bytes()));
            }
            Step::End => return None,
            Step::Role | Step::Call | Step::Pieces => {}
        }
        let index = self.choice;
        let choice = self.reply.choices.get_mut(index)?;
        let call = choice.call.as_ref();
        let delta = match (self.step, call) {
            (Step::Role, _) => {
                self.step = if call.is_some() { Step::Call } else { Step::Pieces };
                Delta::Role
            }
            (Step::Call, Some(call)) => {
                self.step = Step::Pieces;
                Delta::Call(call)
            }
            _ => match (choice.source.next_piece(), call) {
                (Some(piece), None) => Delta::Text(piece),
                (Some(piece), Some(_)) => Delta::Arguments(piece),
                (None, _) => return Some(self.finish()),
            },
        };
        Some(self.events.delta(index, &delta, None).into())
    }

    /// The event that ends the choice at hand.
    fn finish(&mut self) -> Bytes {
        let index = self.choice;
        let reason = self.reply.choices.get(index).map_or("stop", |choice| choice.finish.as_str());
        self.choice += 1;
        let last = self.choice == self.reply.choices.len();
        let usage = self.reply.usage.as_ref();
        let rides = usage.filter(|_| last && self.directives.usage_on_content);
        self.step = match (last, self.include_usage && usage.is_some() && rides.is_none()) {
            (false, _) => Step::Role,
            (true, true) => Step::Usage,
            (true, false) => Step::Done,
        };
        self.events.delta(index, &Delta::Finish(reason), rides).into()
    }

    /// Whether the pause before the next event is over.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.pause {
            Pause::None => return Poll::Ready(()),
            Pause::Turn => {
                context.waker().wake_by_ref();
                self.pause = Pause::None;
                return Poll::Pending;
            }
            Pause::Sleep(sleep) => {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// Sets the pause that follows an event.
    fn pause(&mut self) {
        if self.delay.is_zero() {
            self.pause = Pause::Turn;
            return;
        }
        let until = Instant::now() + self.delay;
        match &mut self.pause {
            Pause::Sleep(sleep) => sleep.as_mut().reset(until),
            _ => self.pause = Pause::Sleep(Box::pin(sleep_until(until))),
        }
    }
}

impl MessageBody for EventStream {
    type Error = Cut;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.poll_pause(context).is_pending() {
            return Poll::Pending;
        }
        match self.next() {
            Next::Event(event) => {
                self.pause();
                Poll::Ready(Some(Ok(event)))
            }
            Next::End => Poll::Ready(None),
            Next::Cut => Poll::Ready(Some(Err(Cut))),
            // Nothing wakes this body again; the server drops it when the client leaves.
            Next::Stall => Poll::Pending,
        }
    }
}

/// A body that announces its length, sends half of it, and then stalls or cuts the connection.
pub(super) struct HalfBody {
    whole: Bytes,
    stalls: bool,
    sent: bool,
    written: bool,
}

impl HalfBody {
    pub(super) fn new(whole: Bytes, stalls: bool) -> Self {
        Self { whole, stalls, sent: false, written: false }
    }
}

impl MessageBody for HalfBody {
    type Error = Cut;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.whole.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Cut>>> {
        if !self.sent {
            self.sent = true;
            let half = self.whole.len() / 2;
            return Poll::Ready(Some(Ok(self.whole.slice(..half))));
        }
        if self.stalls {
            return Poll::Pending;
        }
        if !self.written {
            self.written = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut)))
    }
}

/// An unstreamed answer whose text never ends.
pub(super) struct EndlessBody {
    opening: Option<String>,
    words: Words,
}

impl EndlessBody {
    pub(super) fn new(reply: &Reply) -> Self {
        Self {
            opening: Some(wire::opening(reply)),
            words: Words::new(Numbers(reply.id), u64::MAX, u64::MAX, false),
        }
    }
}

impl MessageBody for EndlessBody {
    type Error = Cut;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut block = self.opening.take().unwrap_or_default();
        while block.len() < BLOCK_BYTES {
            block.push_str(self.words.next_piece().unwrap_or(" "));
        }
        Poll::Ready(Some(Ok(block.into())))
    }
}
