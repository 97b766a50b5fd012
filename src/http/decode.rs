//! Bodies: their size, their type and their encoding, before anybody parses them.

use std::io::Read;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Semaphore;

use crate::domain::fault::{Code, Fault};

/// Compressed bodies up to this size are decoded on the worker; larger ones beside it.
const INLINE_BYTES: usize = 16 << 10;
/// The largest window that a zstd frame may ask memory for: 8 MiB, as RFC 8878 section 3.1.1.1.2
/// recommends decoders to support at least.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How long a whole body may take: enough for the largest at 1.5 Mbit/s, and an end for a client
/// that sends a byte now and then to hold its place.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

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

/// Reads a whole JSON body, decoded, of at most `limit` bytes both before and after decoding. After
/// an error some of it may be left in `payload`.
///
/// # Errors
/// 413 if it is larger, 415 if its type or encoding is another, 400 if it breaks off or is late.
pub async fn read_json(
    headers: &HeaderMap,
    payload: &mut web::Payload,
    limit: usize,
) -> Result<Bytes, Fault> {
    let encoding = encoding(headers)?;
    check_type(headers)?;
    let body = in_time(BODY_DEADLINE, read(headers, payload, limit)).await?;
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    if body.len() <= INLINE_BYTES {
        return decode(&body, encoding, limit);
    }
    let _place = DECODERS.acquire().await;
    let decoding = tokio::task::spawn_blocking(move || decode(&body, encoding, limit));
    decoding.await.unwrap_or_else(|_| Err(undecodable()))
}

/// The end of reading a body, if it comes within `deadline`.
async fn in_time(
    deadline: Duration,
    reading: impl Future<Output = Result<Bytes, Fault>>,
) -> Result<Bytes, Fault> {
    tokio::time::timeout(deadline, reading).await.unwrap_or_else(|_| {
        Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "The body did not arrive in time: {} seconds. Send the request again, whole.",
                deadline.as_secs()
            ),
        ))
    })
}

async fn read(
    headers: &HeaderMap,
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    limit: usize,
) -> Result<Bytes, Fault> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| {
            Fault::new(Code::InvalidRequest, "The body broke off. Send the request again, whole.")
        })?;
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if so_far + chunk.len() > limit {
            return Err(too_large(limit));
        }
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

    #[tokio::test]
    async fn a_body_that_does_not_end_is_refused_when_its_time_is_over() {
        let begun = stream::iter([Ok(Bytes::from_static(b"{"))]);
        let mut trickling = begun.chain(stream::pending());
        let headers = HeaderMap::new();
        let reading = read(&headers, &mut trickling, 100);
        let fault = in_time(Duration::from_millis(20), reading).await.unwrap_err();
        assert_eq!(fault.code(), Code::InvalidRequest);
        assert!(fault.message().starts_with("The body did not arrive in time"), "{fault}");
    }

    #[tokio::test]
    async fn a_body_that_comes_in_pieces_in_time_is_read_whole() {
        let mut pieces = stream::iter(["{", "\"a\"", ":1}"].map(|p| Ok(Bytes::from(p))));
        let headers = HeaderMap::new();
        let reading = read(&headers, &mut pieces, 100);
        assert_eq!(in_time(BODY_DEADLINE, reading).await.unwrap(), r#"{"a":1}"#);
    }
}
