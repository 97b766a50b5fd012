//! Messages and responses: answered as chat completions are, by way of the gateway's translation.
//!
//! So they are as deterministic, and take the same directives. It does not know what is asked.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::plan::Refusal;
use crate::domain::fault::Fault;
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::protocol::responses::{ResponsesFromChat, chat_answer_to_responses, responses_to_chat};
use crate::protocol::stream::StreamMeter;
use crate::protocol::translate::{
    ChatToMessages, Translate, chat_answer_to_messages, messages_to_chat,
};

const MAX_EVENT_BYTES: usize = 1 << 20;

/// A format that the simulator speaks by way of chat.
#[derive(Clone, Copy)]
pub(super) enum Foreign {
    Messages,
    Responses,
}

impl Foreign {
    /// The chat request that stands for a body; its stream tells the usage.
    pub(super) fn chat(self, body: &Bytes) -> Result<Bytes, Refusal> {
        let format = match self {
            Self::Messages => Format::Messages,
            Self::Responses => Format::Responses,
        };
        let body = &in_default_tier(body);
        let request = Request::parse(format, body.clone()).map_err(refused)?;
        let chat = match self {
            Self::Messages => messages_to_chat(body),
            Self::Responses => responses_to_chat(body),
        };
        let mut chat = chat.map_err(refused)?;
        // Responses ask for it by themselves.
        if request.stream && matches!(self, Self::Messages) {
            let end = chat.iter().rposition(|byte| *byte == b'}').unwrap_or(chat.len());
            chat.truncate(end);
            chat.extend_from_slice(b",\"stream_options\":{\"include_usage\":true}}");
        }
        Ok(chat.into())
    }

    /// An answer in one piece.
    pub(super) fn answer(self, chat: &str) -> Option<Vec<u8>> {
        match self {
            Self::Messages => chat_answer_to_messages(chat.as_bytes()).ok(),
            Self::Responses => chat_answer_to_responses(chat.as_bytes()).ok(),
        }
    }

    /// An answer as events.
    pub(super) fn stream<B>(self, chat: B) -> TranslatedStream<B> {
        let translate: Box<dyn Translate> = match self {
            Self::Messages => Box::new(ChatToMessages::new()),
            Self::Responses => Box::new(ResponsesFromChat::default()),
        };
        let meter = StreamMeter::translating(Format::Chat, translate, MAX_EVENT_BYTES);
        TranslatedStream { chat, meter, out: VecDeque::new(), over: false }
    }
}

/// The same body in the default tier: gateways ask for others, which no client of theirs may.
fn in_default_tier(body: &Bytes) -> Bytes {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        service_tier: Option<&'a RawValue>,
    }

    let asked = serde_json::from_slice::<Asked<'_>>(body).ok();
    let raw = asked.and_then(|asked| asked.service_tier).map(RawValue::get);
    let other = raw.filter(|raw| matches!(*raw, "\"flex\"" | "\"priority\""));
    // The member lies within the body that it was read from.
    let split = other.and_then(|raw| {
        let at = raw.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
        Some((body.get(..at)?, body.get(at + raw.len()..)?))
    });
    match split {
        None => body.clone(),
        Some((before, behind)) => [before, b"\"default\"", behind].concat().into(),
    }
}

/// A fault of a body, as the simulator tells it.
pub(super) fn refused(fault: Fault) -> Refusal {
    Refusal::invalid(None, fault.message().to_owned())
}

/// A stream of chat as that of another format.
pub(super) struct TranslatedStream<B> {
    chat: B,
    meter: StreamMeter,
    out: VecDeque<Bytes>,
    over: bool,
}

impl<B: MessageBody + Unpin> MessageBody for TranslatedStream<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let Self { chat, meter, out, over } = &mut *self;
        loop {
            if let Some(piece) = out.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if *over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut *chat).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    *over = true;
                    meter.close(out);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                // What was broken on purpose breaks the other format, too.
                Poll::Ready(Some(Ok(event))) => {
                    if meter.feed(event.clone(), out).is_err() {
                        out.push_back(event);
                        *over = true;
                    }
                }
            }
        }
    }
}
