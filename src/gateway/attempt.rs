//! One attempt to have a call answered: the request on its way, and the head of the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use hyper::body::Incoming as ProviderBody;
use tokio::time::{Instant, sleep_until};

use crate::domain::fault::{Code, Fault};
use crate::domain::settlement::{Charge, Ending};
use crate::protocol::answer::Served;
use crate::upstream::retry_after::retry_after_seconds;
use crate::upstream::{Access, Client, Outbound, SendError, Sent};

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, Failed, OpenCall};
use super::exchange::Answer;
use super::relay::Relay;
use super::retry::Miss;
use super::whole::Whole;
use super::{Gateway, failure};

/// How long the body of a failure may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The beginning of a provider's answer.
type Response = http::Response<ProviderBody>;
type Head = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

/// A request on its way. Dropped while it is – the client has gone – it leaves the answer to a task
/// that reads it to its usage.
struct OnItsWay {
    waiting: Option<(Head, Box<OpenCall>)>,
    sent: Sent,
    stream: bool,
    end: Instant,
    unread: bool,
}

/// Why an attempt came to no answer.
pub(super) enum Missed {
    /// It is settled, and the client hears of it.
    Over(Failed),
    /// It bought nothing and is not settled: another attempt may help.
    Passing(Box<Missing>),
}

/// An attempt that bought nothing. Dropped, it is released.
pub(super) struct Missing {
    pub(super) call: Box<OpenCall>,
    pub(super) miss: Miss,
    /// What the client hears if there is no other attempt.
    pub(super) fault: Fault,
    /// What is left of the provider's answer, which may say why.
    pub(super) said: Option<Said>,
}

/// One attempt.
pub(super) async fn attempt(
    client: &Client,
    call: Box<OpenCall>,
    outbound: &Outbound,
    show_usage: bool,
    end: Instant,
) -> Result<Answer, Missed> {
    let access = Arc::clone(&call.access);
    let (client, outbound, stream) = (client.clone(), outbound.clone(), outbound.stream);
    let sent = Sent::default();
    let told = sent.clone();
    let head: Head = Box::pin(async move { access.send(&client, outbound, told).await });
    let mut way = OnItsWay { waiting: Some((head, call)), sent, stream, end, unread: false };
    let (call, response) = way.head().await?;
    if !response.status().is_success() {
        return Err(refused(call, response, end).await);
    }
    let is_stream = stream && is_event_stream(&response);
    let incoming = Incoming::new(response, &call.gateway().policy, end);
    if is_stream {
        return Ok(Answer::Stream(Box::new(Relay::new(incoming, call, show_usage, end))));
    }
    Whole::new(incoming, call, stream).answer().await.map(Answer::Whole).map_err(Missed::Over)
}

impl OnItsWay {
    async fn head(&mut self) -> Result<(Box<OpenCall>, Response), Missed> {
        let nothing = || Failed { fault: failure::broken(), charge: Charge::NOTHING };
        let Some((head, call)) = &mut self.waiting else { return Err(Missed::Over(nothing())) };
        let outcome = tokio::select! {
            biased;
            outcome = head.as_mut() => outcome.map_err(|error| {
                let (ending, fault) = failure::fault_of_send(error);
                (ending, fault, true)
            }),
            () = sleep_until(self.end) => {
                Err((given_up(&self.sent), failure::timed_out(), false))
            }
            () = call.cut.cancelled() => {
                Err((given_up(&self.sent), failure::cut(call.gateway()), false))
            }
        };
        let Some((_, mut call)) = self.waiting.take() else { return Err(Missed::Over(nothing())) };
        match outcome {
            Ok(response) => Ok((call, response)),
            Err((Ending::NothingBought, fault, true)) => {
                call.refused();
                let miss = Miss::Unreachable;
                Err(Missed::Passing(Box::new(Missing { call, miss, fault, said: None })))
            }
            Err((ending, fault, _)) => {
                let charge = call.finish(ending, fault.code().status(), Served::default());
                Err(Missed::Over(Failed { fault, charge }))
            }
        }
    }

    /// Reads an answer that nobody waits for to its usage.
    async fn unread(mut self) {
        // An attempt that nobody waits for is not made again: what is dropped here is released.
        let Ok((call, response)) = self.head().await else { return };
        let status = response.status();
        if !status.is_success() {
            call.finish(failure::ending_of_status(status), CLIENT_GONE, Served::default());
            return;
        }
        let is_stream = self.stream && is_event_stream(&response);
        let incoming = Incoming::new(response, &call.gateway().policy, self.end);
        // Dropped at once, either reads on by itself.
        if is_stream {
            drop(Relay::new(incoming, call, false, self.end));
        } else {
            drop(Whole::new(incoming, call, self.stream));
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        // A task that is dropped itself – its runtime has ended – leaves nothing to another task:
        // the call ends by being dropped.
        if self.unread {
            return;
        }
        let Some(waiting) = self.waiting.take() else { return };
        let gateway = Arc::clone(waiting.1.gateway());
        let (sent, stream, end) = (self.sent.clone(), self.stream, self.end);
        let way = Self { waiting: Some(waiting), sent, stream, end, unread: true };
        gateway.spawn(way.unread());
    }
}

/// What was bought from a provider that we no longer wait for.
fn given_up(sent: &Sent) -> Ending {
    if sent.happened() { Ending::Unknown } else { Ending::NothingBought }
}

fn is_event_stream(response: &Response) -> bool {
    if !is_plain(response) {
        return false;
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with("text/event-stream"))
}

/// What becomes of a call whose answer failed with its status.
async fn refused(mut call: Box<OpenCall>, response: Response, end: Instant) -> Missed {
    let said = Said::new(Arc::clone(&call.access), response);
    let miss = Miss::Status(said.status, said.retry_after);
    let ending = failure::ending_of_status(said.status);
    if ending == Ending::NothingBought && miss.is_passing() {
        call.refused();
        let fault = failure::broken();
        return Missed::Passing(Box::new(Missing { call, miss, fault, said: Some(said) }));
    }
    let gateway = Arc::clone(call.gateway());
    // The bill depends on the status alone, so it is settled before the body is read.
    let charge = call.finish(ending, shown_status(said.status), Served::default());
    let fault = said.fault(&gateway, end, PATIENCE).await;
    Missed::Over(Failed { fault, charge })
}

/// A failure that a provider answered with.
pub(super) struct Said {
    access: Arc<Access>,
    status: http::StatusCode,
    retry_after: Option<u32>,
    response: Response,
}

impl Said {
    pub(super) fn new(access: Arc<Access>, response: Response) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after_seconds(value, SystemTime::now()));
        Self { access, status, retry_after, response }
    }

    /// What the client hears of it, after at most `patience` for its body.
    pub(super) async fn fault(self, gateway: &Gateway, end: Instant, patience: Duration) -> Fault {
        // What is encoded, though nobody asked for that, cannot be read.
        let reads = is_plain(&self.response);
        let mut incoming = Incoming::new(self.response, &gateway.policy, end);
        let body = if reads { read_small(&mut incoming, patience).await } else { Vec::new() };
        failure::fault_of_status(&self.access, self.status, self.retry_after, &body)
    }
}

/// Whether a body is as it was written: no encoding is ever asked for.
pub(super) fn is_plain(response: &Response) -> bool {
    response.headers().get(CONTENT_ENCODING).is_none_or(|coding| coding.as_bytes() == b"identity")
}

/// The status that the client gets for a provider's failing status.
fn shown_status(status: http::StatusCode) -> u16 {
    match status.as_u16() {
        verdict @ (400 | 404 | 413 | 422) => verdict,
        _ => Code::UpstreamError.status(),
    }
}

/// As much of a body as a failure's message needs; a failure may be slow or endless, too.
pub(super) async fn read_small(incoming: &mut Incoming, patience: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while let Piece::Chunk(chunk) = incoming.next().await {
            body.extend_from_slice(&chunk);
            if body.len() >= failure::MAX_FAILURE_BYTES {
                break;
            }
        }
    };
    let _complete_or_not = tokio::time::timeout(patience, reading).await;
    body
}
