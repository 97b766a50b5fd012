//! What a client of a stream reads: the relay, or comments until there is one.
//!
//! A client that waits for long, and the proxies on its way, would take a silent connection for a
//! dead one. Comments keep it open; clients of server-sent events pass over them. They are sent
//! only once the call is admitted, and they fix the status at 200: whatever fails later is told as
//! an event.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::domain::fault::Fault;
use crate::protocol::format::Format;

use super::call::Failed;
use super::exchange::Answer;
use super::failure;
use super::relay::Relay;

const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// A call that is being sent, with its retries.
pub(super) type Exchange = Pin<Box<dyn Future<Output = Result<Answer, Failed>> + Send>>;

/// The bytes of a streamed answer.
pub struct Streamed {
    state: State,
    quiet: Option<Quiet>,
    request_id: String,
    format: Format,
}

enum State {
    /// Nothing has come of it yet. Dropped, it leaves the answer to whoever reads it to its usage.
    Waiting(Exchange),
    Relaying(Box<Relay>),
    Over,
}

/// The silence before the first byte.
pub(super) struct Quiet {
    timer: Pin<Box<Sleep>>,
    longest: Duration,
}

impl Quiet {
    pub(super) fn new(longest: Duration) -> Self {
        Self { timer: Box::pin(sleep(longest)), longest }
    }

    /// Completes when the client has waited for long enough to be told something.
    pub(super) fn poll_lapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }
}

/// Waits for the answer to begin, or for the silence to become too long; then the answer begins
/// without the provider.
///
/// # Errors
/// What the client hears if there is no answer, and it can still be told by a status.
pub(super) async fn begin(
    mut exchange: Exchange,
    longest: Option<Duration>,
    (request_id, format): (&str, Format),
) -> Result<Streamed, Failed> {
    let mut quiet = longest.map(Quiet::new);
    let first = std::future::poll_fn(|cx| {
        if let Poll::Ready(answered) = exchange.as_mut().poll(cx) {
            return Poll::Ready(Some(answered));
        }
        match &mut quiet {
            Some(quiet) => quiet.poll_lapsed(cx).map(|()| None),
            None => Poll::Pending,
        }
    });
    let state = match first.await {
        None => State::Waiting(exchange),
        Some(answered) => State::Relaying(relay(answered)?),
    };
    Ok(Streamed { state, quiet, request_id: request_id.to_owned(), format })
}

/// The relay of an answer: where a stream was asked for, one piece is a failure already.
fn relay(answered: Result<Answer, Failed>) -> Result<Box<Relay>, Failed> {
    match answered? {
        Answer::Stream(relay) => Ok(relay),
        Answer::Whole(whole) => Err(Failed { fault: failure::garbage(), charge: whole.charge }),
    }
}

impl Streamed {
    /// The answer, if it has begun.
    pub(super) fn relay(&self) -> Option<&Relay> {
        match &self.state {
            State::Relaying(relay) => Some(relay),
            State::Waiting(_) | State::Over => None,
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.state {
                State::Waiting(exchange) => match relay(ready!(exchange.as_mut().poll(cx))) {
                    Ok(relay) => self.state = State::Relaying(relay),
                    Err(Failed { fault, .. }) => {
                        self.state = State::Over;
                        return Poll::Ready(Some(self.last_event(&fault)));
                    }
                },
                State::Relaying(relay) => return Pin::new(relay.as_mut()).poll_next(cx),
                State::Over => return Poll::Ready(None),
            }
        }
    }

    fn last_event(&self, fault: &Fault) -> Bytes {
        failure::tell(fault, &self.request_id);
        self.format.error_event(fault, &self.request_id).into()
    }
}

impl Stream for Streamed {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Poll::Ready(piece) = self.poll_answer(cx) {
            self.quiet = None;
            return Poll::Ready(piece);
        }
        let Some(quiet) = &mut self.quiet else { return Poll::Pending };
        // At first it has lapsed: that is why the answer began without the provider.
        ready!(quiet.poll_lapsed(cx));
        let next = Instant::now() + quiet.longest;
        quiet.timer.as_mut().reset(next);
        Poll::Ready(Some(COMMENT))
    }
}
