//! Bodies: their size, their type and their encoding, before anybody parses them.

use std::io::Read;
use std::rc::Rc;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING,
};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::domain::fault::{Code, Fault};
use crate::limits::bodies::{Full, Held};

use super::connection::Connection;

/// Compressed bodies up to this size are decoded on the worker; larger ones beside it.
const INLINE_BYTES: usize = 16 << 10;
/// The largest window that a zstd frame may ask memory for: 8 MiB, as RFC 8878 section 3.1.1.1.2
/// recommends decoders to support at least.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bodies up to this size are not counted among those that are held: connections are few enough.
const LIGHT_BYTES: usize = 64 << 10;

/// How fast a body has to arrive.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How long a whole body may take: enough for the largest at 1.5 Mbit/s.
    whole: Duration,
    /// How long it may take to get going.
    grace: Duration,
    /// From then on so much of it has to have come, on the whole, that no client holds its place by
    /// sending a byte now and then.
    bytes_per_second: u32,
}

const PACE: Pace =
    Pace { whole: Duration::from_secs(60), grace: Duration::from_secs(10), bytes_per_second: 1024 };

impl Pace {
    /// Until when more has to come of a body of which `received` bytes have.
    fn due(self, begun: Instant, received: usize) -> Instant {
        let received = u32::try_from(received).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).saturating_mul(received) / self.bytes_per_second;
        begun + self.whole.min(self.grace.saturating_add(earned))
    }
}

/// How many bytes each byte of a compressed body may become, beside the first few. Prompts come to
/// about ten, repetitive ones to fifty; formats go to a thousand and more. So nobody makes the
/// gateway keep much for little.
const MAX_EXPANSION: usize = 100;
/// What any compressed body may become.
const FREE_BYTES: usize = 256 << 10;
/// How many large bodies are decoded at once, in the whole process: it bounds what a crowd of bombs
/// can take before each is refused.
static DECODERS: Semaphore = Semaphore::const_new(4);

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Whether a body may become large, so that its bytes are counted and its sender is asked for his
/// credential first.
pub fn is_heavy(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_ENCODING)
        || headers.contains_key(TRANSFER_ENCODING)
        || announced(headers).is_some_and(|length| length > LIGHT_BYTES)
}

/// What the headers say of a body: its size, type and encoding.
///
/// # Errors
/// 413 if it is larger than `limit`, 415 if its type or encoding is another than JSON.
pub fn check_headers(headers: &HeaderMap, limit: usize) -> Result<(), Fault> {
    encoding(headers)?;
    check_type(headers)?;
    if announced(headers).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    Ok(())
}

/// Reads a whole JSON body, decoded, of at most `limit` bytes both before and after decoding. Its
/// bytes are counted as `held` for as long as that lives. After an error some of the body may be
/// left in `payload`.
///
/// # Errors
/// 413 if it is larger, 415 if its type or encoding is another, 400 if it breaks off or is late,
/// 429 and 503 if too much is held already.
pub async fn read_json(
    request: &HttpRequest,
    payload: &mut web::Payload,
    limit: usize,
    mut held: Option<&mut Held>,
) -> Result<Bytes, Fault> {
    let headers = request.headers();
    check_headers(headers, limit)?;
    let encoding = encoding(headers)?;
    let reading = request.conn_data::<Rc<Connection>>().map(Connection::read_body);
    let body = read(headers, payload, limit, PACE, held.as_deref_mut()).await?;
    drop(reading);
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    // What it becomes is known only when it is there.
    hold(held.as_deref_mut(), body.len().saturating_add(limit))?;
    let decoded = if body.len() <= INLINE_BYTES {
        decode(&body, encoding, limit)?
    } else {
        let _place = DECODERS.acquire().await;
        let decoding = tokio::task::spawn_blocking(move || decode(&body, encoding, limit));
        decoding.await.unwrap_or_else(|_| Err(undecodable()))?
    };
    hold(held, decoded.len())?;
    Ok(decoded)
}

async fn read(
    headers: &HeaderMap,
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    limit: usize,
    pace: Pace,
    mut held: Option<&mut Held>,
) -> Result<Bytes, Fault> {
    let begun = Instant::now();
    let announced = announced(headers);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        let next = timeout_at(pace.due(begun, so_far), payload.next()).await;
        let Some(chunk) = next.map_err(|_| late())? else { break };
        let chunk = chunk.map_err(|_| {
            Fault::new(Code::InvalidRequest, "The body broke off. Send the request again, whole.")
        })?;
        if so_far + chunk.len() > limit {
            return Err(too_large(limit));
        }
        hold(held.as_deref_mut(), so_far + chunk.len())?;
        // Most bodies come in one piece, which then needs no copy.
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(chunk),
            (Some(begun), true) => {
                rest.reserve(announced.unwrap_or(0).max(begun.len() + chunk.len()));
                rest.extend_from_slice(begun);
                rest.extend_from_slice(&chunk);
                first = None;
            }
            _ => rest.extend_from_slice(&chunk),
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Counts the bytes of a body, if it is counted.
fn hold(held: Option<&mut Held>, bytes: usize) -> Result<(), Fault> {
    let Some(held) = held else { return Ok(()) };
    held.resize(bytes).map_err(|full| match full {
        Full::Run => Fault::new(
            Code::ConcurrencyLimited,
            "The requests that this run has under way are too large together. Try again when one \
             has ended.",
        )
        .retry_after(1),
        Full::Anonymous => Fault::new(
            Code::RateLimited,
            "Too many large requests without a credential are under way. Send the token that the \
             run was given, or try again shortly.",
        )
        .retry_after(1),
        Full::All => Fault::new(
            Code::Unavailable,
            "Too many large requests are under way. Nothing was sent; try again shortly.",
        )
        .retry_after(1),
    })
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    // Longer than can be counted is longer than any limit.
    value.parse::<u64>().ok().map(|length| usize::try_from(length).unwrap_or(usize::MAX))
}

fn late() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        format!(
            "The body did not arrive in time: {} bytes a second, and all of it in {} seconds. Send \
             the request again, whole.",
            PACE.bytes_per_second,
            PACE.whole.as_secs()
        ),
    )
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Fault> {
    let mut named = headers.get_all(CONTENT_ENCODING);
    let encoding = match named.next().map(|value| value.to_str().unwrap_or_default().trim()) {
        None => Encoding::Identity,
        Some(name) if name.is_empty() || name.eq_ignore_ascii_case("identity") => {
            Encoding::Identity
        }
        Some(name) if name.eq_ignore_ascii_case("gzip") => Encoding::Gzip,
        Some(name) if name.eq_ignore_ascii_case("zstd") => Encoding::Zstd,
        Some(_) => return Err(wrong_encoding()),
    };
    if named.next().is_some() { Err(wrong_encoding()) } else { Ok(encoding) }
}

/// JSON, or nothing said. Anything else is not for these endpoints.
fn check_type(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json");
    if is_json {
        return Ok(());
    }
    Err(Fault::new(
        Code::UnsupportedMediaType,
        "Send the body as `content-type: application/json`.",
    ))
}

fn decode(body: &[u8], encoding: Encoding, limit: usize) -> Result<Bytes, Fault> {
    let fair = body.len().saturating_mul(MAX_EXPANSION).saturating_add(FREE_BYTES);
    // One byte more than what is accepted is enough to know that it is passed.
    let most = limit.min(fair) as u64 + 1;
    let mut decoded = Vec::new();
    let read = match encoding {
        Encoding::Identity => return Ok(Bytes::copy_from_slice(body)),
        Encoding::Gzip => {
            flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut decoded)
        }
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            decoder.take(most).read_to_end(&mut decoded)
        }),
    };
    read.map_err(|_| undecodable())?;
    match decoded.len() {
        size if size > limit => Err(too_large(limit)),
        size if size > fair => Err(expands_too_much()),
        _ => Ok(decoded.into()),
    }
}

fn too_large(limit: usize) -> Fault {
    Fault::new(
        Code::RequestTooLarge,
        format!("The body is larger than {limit} bytes, decoded. Send a shorter request."),
    )
}

fn expands_too_much() -> Fault {
    Fault::new(
        Code::RequestTooLarge,
        format!("The body decodes to more than {MAX_EXPANSION} times its size. Send it plain."),
    )
}

fn wrong_encoding() -> Fault {
    Fault::new(
        Code::UnsupportedMediaType,
        "The body's content-encoding is not supported. Send it plain, or as gzip or zstd.",
    )
}

fn undecodable() -> Fault {
    Fault::new(Code::InvalidRequest, "The body is not what its content-encoding says.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::stream;

    use super::*;

    const QUICK: Pace = Pace {
        whole: Duration::from_secs(60),
        grace: Duration::from_millis(50),
        bytes_per_second: 10_000,
    };

    /// Reads pieces of `bytes` bytes that come every 10 ms without an end, until they are refused.
    async fn dripping(bytes: usize, pace: Pace) -> Fault {
        let mut dripping = Box::pin(stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(Bytes::from(vec![b' '; bytes]))
        }));
        read(&HeaderMap::new(), &mut dripping, 1 << 20, pace, None).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_body_that_does_not_go_on_is_refused_when_its_grace_is_over() {
        let begun = stream::iter([Ok(Bytes::from_static(b"{"))]);
        let mut stalled = begun.chain(stream::pending());
        let fault = read(&HeaderMap::new(), &mut stalled, 100, QUICK, None).await.unwrap_err();
        assert_eq!(fault.code(), Code::InvalidRequest);
        assert!(fault.message().starts_with("The body did not arrive in time"), "{fault}");
    }

    #[tokio::test]
    async fn a_byte_now_and_then_does_not_hold_a_place() {
        assert_eq!(dripping(1, QUICK).await.code(), Code::InvalidRequest);
    }

    #[tokio::test]
    async fn a_steady_body_is_read_until_it_is_too_large_or_its_whole_time_is_over() {
        assert_eq!(dripping(60_000, QUICK).await.code(), Code::RequestTooLarge);
        let short = Pace { whole: Duration::from_millis(50), ..QUICK };
        assert_eq!(dripping(1000, short).await.code(), Code::InvalidRequest);
    }

    #[test]
    fn what_has_come_earns_time_up_to_the_whole() {
        let begun = Instant::now();
        let seconds = |received| PACE.due(begun, received).duration_since(begun).as_secs();
        assert_eq!([0, 1023, 1024, 10 * 1024].map(seconds), [10, 10, 11, 20]);
        assert_eq!([50 * 1024, 10 << 20, usize::MAX].map(seconds), [60, 60, 60]);
    }

    #[tokio::test]
    async fn a_body_that_comes_in_pieces_in_time_is_read_whole() {
        let mut pieces = stream::iter(["{", "\"a\"", ":1}"].map(|p| Ok(Bytes::from(p))));
        let read = read(&HeaderMap::new(), &mut pieces, 100, PACE, None).await;
        assert_eq!(read.unwrap(), r#"{"a":1}"#);
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_room_is_not_read_on() {
        let bodies = crate::limits::bodies::Bodies::new(40, 10);
        let mut held = bodies.begin(crate::limits::bodies::Owner::Run(std::sync::Arc::default()));
        let mut pieces = stream::iter([[b'x'; 6]; 3].map(|p| Ok(Bytes::copy_from_slice(&p))));
        let read = read(&HeaderMap::new(), &mut pieces, 100, PACE, Some(&mut held)).await;
        assert_eq!(read.unwrap_err().code(), Code::ConcurrencyLimited);
        assert!(pieces.next().await.is_some(), "the rest was left");
        assert_eq!(bodies.taken(), 6);
        drop(held);
        assert_eq!(bodies.taken(), 0);
    }
}
