//! The wait for a provider's answer to begin.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};
use tokio::time::Instant;

use crate::domain::fault::Fault;
use crate::domain::settlement::Ending;
use crate::upstream::{Access, SendError};

use super::body::{Incoming, Piece};
use super::call::{CLIENT_GONE, OpenCall};
use super::failure;
use super::relay::Relay;
use super::whole::{Whole, WholeAnswer};

/// Most bytes of a failure's body that are read for its message.
const MAX_FAILURE_BYTES: usize = 64 << 10;

type Head = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

/// How an answer begins.
pub enum Answer {
    /// It is complete.
    Whole(WholeAnswer),
    /// It goes on as a stream.
    Stream(Relay),
}

/// A request on its way. Dropped while it is – the client has gone – it leaves the answer to a task
/// that reads it to its usage.
struct OnItsWay {
    waiting: Option<(Head, OpenCall)>,
    stream: bool,
    end: Instant,
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
) -> Result<Answer, Fault> {
    let end = Instant::now() + call.gateway().policy.deadlines.whole;
    let (client, access) = (client.clone(), access.clone());
    let head: Head = Box::pin(async move { access.send_chat(&client, body, stream).await });
    let mut way = OnItsWay { waiting: Some((head, call)), stream, end };
    let (call, response) = way.head().await?;
    receive(call, response, stream, show_usage, end).await
}

impl OnItsWay {
    async fn head(&mut self) -> Result<(OpenCall, Response), Fault> {
        let Some((head, call)) = &mut self.waiting else { return Err(failure::broken()) };
        let outcome = tokio::select! {
            biased;
            outcome = head.as_mut() => outcome.map_err(failure::fault_of_send),
            () = tokio::time::sleep_until(self.end) => {
                Err((Ending::Unknown, failure::timed_out()))
            }
            () = call.cut.cancelled() => Err((Ending::Unknown, failure::cut())),
        };
        let Some((_, call)) = self.waiting.take() else { return Err(failure::broken()) };
        match outcome {
            Ok(response) => Ok((call, response)),
            Err((ending, fault)) => {
                call.finish(ending, fault.code().status(), None);
                Err(fault)
            }
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let gateway = Arc::clone(waiting.1.gateway());
        let (stream, end) = (self.stream, self.end);
        gateway.spawn(async move {
            let mut way = Self { waiting: Some(waiting), stream, end };
            let Ok((call, response)) = way.head().await else { return };
            // Nobody reads it, so a relay or a reading dropped at once drains it.
            match receive_unread(call, response, stream, end).await {
                Some(Answer::Stream(relay)) => drop(relay),
                Some(Answer::Whole(_)) | None => {}
            }
        });
    }
}

async fn receive(
    call: OpenCall,
    response: Response,
    stream: bool,
    show_usage: bool,
    end: Instant,
) -> Result<Answer, Fault> {
    if !response.status().is_success() {
        return Err(refused(call, response, end, None).await);
    }
    let is_stream = stream && is_event_stream(&response);
    let incoming = Incoming::new(response, &call.gateway().policy, end);
    if is_stream {
        return Ok(Answer::Stream(Relay::new(incoming, call, show_usage)));
    }
    Whole::new(incoming, call, stream).answer().await.map(Answer::Whole)
}

/// The same for a client that has gone.
async fn receive_unread(
    call: OpenCall,
    response: Response,
    stream: bool,
    end: Instant,
) -> Option<Answer> {
    if !response.status().is_success() {
        refused(call, response, end, Some(CLIENT_GONE)).await;
        return None;
    }
    let incoming = Incoming::new(response, &call.gateway().policy, end);
    if stream {
        return Some(Answer::Stream(Relay::new(incoming, call, false)));
    }
    drop(Whole::new(incoming, call, stream));
    None
}

fn is_event_stream(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with("text/event-stream"))
}

/// Settles a call whose answer failed with its status, and says what the client hears.
async fn refused(
    call: OpenCall,
    response: Response,
    end: Instant,
    status_for_record: Option<u16>,
) -> Fault {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<u32>().ok());
    let ending = failure::ending_of_status(status);
    let gateway = Arc::clone(call.gateway());
    let provider = call.target.provider;
    let mut incoming = Incoming::new(response, &gateway.policy, end);
    let body = read_failure(&mut incoming).await;
    let fault = match gateway.access(provider.name) {
        Some(access) => failure::fault_of_status(access, status, retry_after, &body),
        None => failure::broken(),
    };
    let recorded = fault.upstream_verdict().map_or(fault.code().status(), |v| v.status);
    call.finish(ending, status_for_record.unwrap_or(recorded), None);
    fault
}

/// As much of a failure's body as its message needs; a failure may be slow or endless, too.
async fn read_failure(incoming: &mut Incoming) -> Vec<u8> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
    let mut body = Vec::new();
    let reading = async {
        while let Piece::Chunk(chunk) = incoming.next().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MAX_FAILURE_BYTES {
                break;
            }
        }
    };
    let _complete_or_not = tokio::time::timeout(PATIENCE, reading).await;
    body
}
