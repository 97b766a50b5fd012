//! The wait for a provider's answer to begin.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::body::Incoming as ProviderBody;
use tokio::time::Instant;

use crate::domain::fault::Code;
use crate::domain::settlement::{Charge, Ending};
use crate::upstream::retry_after::retry_after_seconds;
use crate::upstream::{Access, Client, SendError, Sent};

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, Failed, OpenCall};
use super::failure;
use super::relay::Relay;
use super::whole::{Whole, WholeAnswer};

/// The beginning of a provider's answer.
type Response = http::Response<ProviderBody>;
type Head = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

/// How an answer begins.
pub enum Answer {
    /// It is complete.
    Whole(WholeAnswer),
    /// It goes on as a stream.
    Stream(Box<Relay>),
}

/// A request on its way. Dropped while it is – the client has gone – it leaves the answer to a task
/// that reads it to its usage.
struct OnItsWay {
    waiting: Option<(Head, OpenCall)>,
    sent: Sent,
    stream: bool,
    end: Instant,
    unread: bool,
}

/// Sends an admitted call and reads the beginning of its answer.
///
/// # Errors
/// What the client hears if there is no answer; the call is settled then.
pub async fn exchange(
    client: &Client,
    access: &Access,
    call: OpenCall,
    body: Bytes,
    stream: bool,
    show_usage: bool,
) -> Result<Answer, Failed> {
    let end = Instant::now() + call.gateway().policy.deadlines.whole;
    let (client, access) = (client.clone(), access.clone());
    let sent = Sent::default();
    let told = sent.clone();
    let head: Head = Box::pin(async move { access.send_chat(&client, body, stream, told).await });
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
    Whole::new(incoming, call, stream).answer().await.map(Answer::Whole)
}

impl OnItsWay {
    async fn head(&mut self) -> Result<(OpenCall, Response), Failed> {
        let nothing = || Failed { fault: failure::broken(), charge: Charge::NOTHING };
        let Some((head, call)) = &mut self.waiting else { return Err(nothing()) };
        let outcome = tokio::select! {
            biased;
            outcome = head.as_mut() => outcome.map_err(failure::fault_of_send),
            () = tokio::time::sleep_until(self.end) => {
                Err((given_up(&self.sent), failure::timed_out()))
            }
            () = call.cut.cancelled() => {
                Err((given_up(&self.sent), failure::cut(call.gateway())))
            }
        };
        let Some((_, call)) = self.waiting.take() else { return Err(nothing()) };
        match outcome {
            Ok(response) => Ok((call, response)),
            Err((ending, fault)) => {
                let charge = call.finish(ending, fault.code().status(), None);
                Err(Failed { fault, charge })
            }
        }
    }

    /// Reads an answer that nobody waits for to its usage.
    async fn unread(mut self) {
        let Ok((call, response)) = self.head().await else { return };
        let status = response.status();
        if !status.is_success() {
            call.finish(failure::ending_of_status(status), CLIENT_GONE, None);
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
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with("text/event-stream"))
}

/// Settles a call whose answer failed with its status, and says what the client hears. The bill
/// depends on the status alone, so it is settled before the body is read for its message.
async fn refused(call: OpenCall, response: Response, end: Instant) -> Failed {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after_seconds(value, SystemTime::now()));
    let gateway = Arc::clone(call.gateway());
    let provider = call.target.provider;
    let shown = shown_status(status);
    let charge = call.finish(failure::ending_of_status(status), shown, None);
    let mut incoming = Incoming::new(response, &gateway.policy, end);
    let body = read_failure(&mut incoming).await;
    let fault = match gateway.access(provider.name) {
        Some(access) => failure::fault_of_status(access, status, retry_after, &body),
        None => failure::broken(),
    };
    Failed { fault, charge }
}

/// The status that the client gets for a provider's failing status.
fn shown_status(status: http::StatusCode) -> u16 {
    match status.as_u16() {
        verdict @ (400 | 404 | 413 | 422) => verdict,
        _ => Code::UpstreamError.status(),
    }
}

/// As much of a failure's body as its message needs; a failure may be slow or endless, too.
async fn read_failure(incoming: &mut Incoming) -> Vec<u8> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
    let mut body = Vec::new();
    let reading = async {
        while let Piece::Chunk(chunk) = incoming.next().await {
            body.extend_from_slice(&chunk);
            if body.len() >= failure::MAX_FAILURE_BYTES {
                break;
            }
        }
    };
    let _complete_or_not = tokio::time::timeout(PATIENCE, reading).await;
    body
}
