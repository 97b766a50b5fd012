//! A provider's answer as it comes in, under its deadlines and its size limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use super::Policy;

/// The body of a provider's answer.
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    timer: Pin<Box<Sleep>>,
    last_byte: Instant,
    idle: Duration,
    end: Instant,
    left: usize,
}

/// What came next.
pub(super) enum Piece {
    /// Bytes.
    Chunk(Bytes),
    /// The regular end.
    End,
    /// The connection broke.
    Broken,
    /// Nothing came for too long, or the whole took too long.
    TimedOut,
    /// More came than is relayed.
    TooLarge,
}

impl Incoming {
    /// Begins to read; `end` is when the whole answer has to be there.
    pub(super) fn new(
        response: Response<hyper::body::Incoming>,
        policy: &Policy,
        end: Instant,
    ) -> Self {
        let now = Instant::now();
        Self {
            body: response.into_body(),
            timer: Box::pin(tokio::time::sleep_until(end.min(now + policy.deadlines.idle))),
            last_byte: now,
            idle: policy.deadlines.idle,
            end,
            left: policy.max_response_bytes,
        }
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Piece::End),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Piece::Broken),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.last_byte = Instant::now();
                    return Poll::Ready(match self.left.checked_sub(chunk.len()) {
                        Some(left) => {
                            self.left = left;
                            Piece::Chunk(chunk)
                        }
                        None => Piece::TooLarge,
                    });
                }
                Poll::Pending => {}
            }
            // The timer is not moved at every chunk, only looked at when it fires.
            std::task::ready!(self.timer.as_mut().poll(cx));
            let due = self.end.min(self.last_byte + self.idle);
            if Instant::now() >= due {
                return Poll::Ready(Piece::TimedOut);
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// The next piece.
    pub(super) async fn next(&mut self) -> Piece {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }
}
