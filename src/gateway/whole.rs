//! An answer in one piece: read whole, so that its cost can be told with it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::domain::fault::Fault;
use crate::domain::settlement::{Charge, Ending, ReportedUsage};
use crate::domain::usage::Tokens;
use crate::protocol::answer::{Answer, AnswerFault, has_output, read_answer};
use crate::protocol::chat::cost;

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, Failed, OpenCall};
use super::failure;

/// An answer that is being read. Dropped before its end – the client has gone – it leaves the rest
/// to a task that reads it to its usage.
pub(super) struct Whole {
    reading: Option<Reading>,
}

struct Reading {
    incoming: Incoming,
    call: Box<OpenCall>,
    bytes: BytesMut,
    /// A stream was promised to the client; one piece is no answer to that.
    streamed: bool,
}

/// A whole answer, settled.
pub struct WholeAnswer {
    /// The provider's bytes.
    pub bytes: Bytes,
    /// What it cost.
    pub charge: Charge,
    /// The model that answered.
    pub served_model: Option<String>,
    /// Its output bound, if it was lowered.
    pub lowered_output: Option<Tokens>,
}

/// How reading ended.
enum Read {
    Complete,
    Failed(Fault),
}

impl Whole {
    pub(super) fn new(incoming: Incoming, call: Box<OpenCall>, streamed: bool) -> Self {
        let bytes = BytesMut::new();
        Self { reading: Some(Reading { incoming, call, bytes, streamed }) }
    }

    /// Reads to the end and settles.
    pub(super) async fn answer(mut self) -> Result<WholeAnswer, Failed> {
        let nothing = || Failed { fault: failure::broken(), charge: Charge::NOTHING };
        let Some(reading) = &mut self.reading else { return Err(nothing()) };
        let read = reading.read().await;
        let Some(reading) = self.reading.take() else { return Err(nothing()) };
        reading.settle(read, false)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        let gateway = Arc::clone(reading.call.gateway());
        gateway.spawn(async move {
            let read = reading.read().await;
            let _nobody_reads_it = reading.settle(read, true);
        });
    }
}

impl Reading {
    /// Safe to be dropped and begun again: all progress is kept in `self`.
    async fn read(&mut self) -> Read {
        loop {
            let piece = tokio::select! {
                biased;
                piece = self.incoming.next() => piece,
                () = self.call.cut.cancelled() => {
                    return Read::Failed(failure::cut(self.call.gateway()));
                }
            };
            match piece {
                Piece::Chunk(chunk) => {
                    self.call.note_byte();
                    self.bytes.extend_from_slice(&chunk);
                }
                Piece::End => return Read::Complete,
                Piece::Broken => return Read::Failed(failure::broken()),
                Piece::TimedOut => return Read::Failed(failure::timed_out()),
                Piece::TooLarge => return Read::Failed(failure::too_large()),
            }
        }
    }

    fn settle(self, read: Read, client_gone: bool) -> Result<WholeAnswer, Failed> {
        let Self { mut call, bytes, streamed, .. } = self;
        let bytes = bytes.freeze();
        let (answer, failure) = match read {
            Read::Failed(fault) => (Answer::default(), Some(fault)),
            Read::Complete => match read_answer(call.spoken, &bytes) {
                Ok(answer) => (answer, streamed.then(failure::garbage)),
                Err(AnswerFault::Garbage) => (Answer::default(), Some(failure::garbage())),
                Err(AnswerFault::Provider(error)) => {
                    let fault = failure::fault_of_error(&call.access, &error);
                    (Answer::default(), Some(fault))
                }
            },
        };
        let says_nothing = matches!(
            answer.usage,
            Some(ReportedUsage::Counted(usage)) if usage.output == Tokens::ZERO
        );
        // Read again only if there is reason to.
        if says_nothing && has_output(call.spoken, &bytes) {
            call.note_output();
        }
        let ending = answer.usage.map_or(Ending::Unknown, Ending::Reported);
        let status = match (&failure, client_gone) {
            (_, true) => CLIENT_GONE,
            (Some(fault), false) => fault.code().status(),
            (None, false) => 200,
        };
        let translated = call.translation.filter(|_| failure.is_none());
        let translated = translated.map(|translation| translation.answer(&bytes));
        let (tells_cost, lowered_output) = (call.tells_cost, call.lowered_output);
        let charge = call.finish(ending, status, answer.served());
        let (mut bytes, mut failure) = match translated {
            Some(Ok(translated)) => (translated.into(), None),
            Some(Err(_)) => (bytes, Some(failure::garbage())),
            None => (bytes, failure),
        };
        if tells_cost && failure.is_none() {
            match cost::in_answer(&bytes, charge.cost, &charge.usage) {
                Some(told) => bytes = told.into(),
                None => failure = Some(failure::garbage()),
            }
        }
        match failure {
            Some(fault) => Err(Failed { fault, charge }),
            None => {
                let served_model = answer.served_model;
                Ok(WholeAnswer { bytes, charge, served_model, lowered_output })
            }
        }
    }
}
