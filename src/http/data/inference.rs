//! Model calls.

use std::convert::Infallible;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::domain::fault::Fault;
use crate::gateway::inference::{ModelCall, Reply, Standing};
use crate::limits::bodies::Held;
use crate::protocol::embeddings;
use crate::protocol::format::Format;
use crate::protocol::style::Style;

use super::super::decode::{check_headers, is_heavy, read_json};
use super::super::openapi::EVENT_STREAM;
use super::super::respond::{answer, hang_up, refuse, tell_standing};
use super::{Plane, answered_in, presented};

/// What is made of an answer for a client that sees less of it; `None` leaves it as it is.
type Reshape = fn(&[u8]) -> Option<Vec<u8>>;

/// What a model call is sent to.
pub(super) struct Endpoint {
    /// Its path, as it is written down.
    name: &'static str,
    format: Format,
    always_show_usage: bool,
    always_tell_cost: bool,
    /// What of an answer in one piece the client sees, if not all of it.
    reshape: Option<Reshape>,
}

const fn endpoint(name: &'static str, format: Format) -> Endpoint {
    Endpoint { name, format, always_show_usage: false, always_tell_cost: false, reshape: None }
}

pub(super) static AGENTS_INFERENCE: Endpoint = endpoint("/agents/inference", Format::Chat);
pub(super) static AGENTS_EMBEDDING: Endpoint = Endpoint {
    reshape: Some(embeddings::vectors),
    ..endpoint("/agents/embedding", Format::Embeddings)
};
pub(super) static CHAT: Endpoint = endpoint("/v1/chat/completions", Format::Chat);
pub(super) static CHAT_WITH_USAGE: Endpoint = Endpoint {
    always_show_usage: true,
    ..endpoint("/inference/v1/chat/completions", Format::Chat)
};
/// As OpenRouter's clients call it.
pub(super) static CHAT_WITH_COST: Endpoint =
    Endpoint { always_tell_cost: true, ..endpoint("/v1/chat/completions", Format::Chat) };
pub(super) static EMBEDDINGS: Endpoint = endpoint("/v1/embeddings", Format::Embeddings);
pub(super) static MESSAGES: Endpoint = endpoint("/v1/messages", Format::Messages);
pub(super) static RESPONSES: Endpoint = endpoint("/v1/responses", Format::Responses);

/// Features of Anthropic's that clients may opt into: none of them has another price, reaches
/// outside or brings input that the request does not show. Others are left out.
const BETAS: [&str; 8] = [
    "claude-code-20250219",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "prompt-caching-2024-07-31",
    "structured-outputs-2025-11-13",
    "token-efficient-tools-2025-02-19",
];

/// Serves a model call.
pub(super) async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
    endpoint: &'static Endpoint,
) -> HttpResponse {
    answered_in(Style::Of(endpoint.format), &request, &plane, async |id, standing| {
        call(&request, payload, &plane, endpoint, id, standing).await
    })
    .await
}

/// Those of the client's wishes for features that pass.
pub(super) fn betas(headers: &HeaderMap) -> Option<http::HeaderValue> {
    let asked = headers.get_all("anthropic-beta").filter_map(|value| value.to_str().ok());
    let passing: Vec<&str> = asked
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|it| BETAS.contains(it))
        .collect();
    if passing.is_empty() {
        return None;
    }
    http::HeaderValue::from_str(&passing.join(",")).ok()
}

async fn call(
    request: &HttpRequest,
    mut payload: web::Payload,
    plane: &Plane,
    endpoint: &'static Endpoint,
    id: &str,
    standing: &mut Standing,
) -> Result<HttpResponse, Fault> {
    let mut held = None;
    let body = match read(request, &mut payload, plane, &mut held).await {
        Ok(body) => body,
        Err(fault) => {
            return Ok(hang_up(refuse(&fault, id, plane.manners, standing), payload));
        }
    };
    let call = ModelCall {
        request_id: id,
        presented: &presented(request)?,
        body,
        format: endpoint.format,
        betas: betas(request.headers()),
        endpoint: endpoint.name,
        always_show_usage: endpoint.always_show_usage,
        always_tell_cost: endpoint.always_tell_cost,
    };
    // Boxed, because what is around it is moved several times before it is first polled.
    let reply = Box::pin(plane.gateway.infer(&plane.client, call, standing)).await?;
    let mut builder = answer(StatusCode::OK, id, plane.manners);
    tell_standing(&mut builder, standing);
    if endpoint.format == Format::Messages {
        builder.insert_header(("request-id", id));
    }
    Ok(match reply {
        Reply::Whole(bytes) => builder
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .body(match endpoint.reshape.and_then(|reshape| reshape(&bytes)) {
                Some(shaped) => shaped.into(),
                None => bytes,
            }),
        Reply::Stream(relay) => builder
            .insert_header((CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)))
            .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
            .insert_header(("x-accel-buffering", "no"))
            .streaming(relay.map(Ok::<_, Infallible>)),
    })
}

/// Reads a call's body. If it may become large, only that of a good credential, and its bytes are
/// counted as its run's for as long as `held` lives.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut web::Payload,
    plane: &Plane,
    held: &mut Option<Held>,
) -> Result<Bytes, Fault> {
    let limit = plane.max_body_bytes;
    if is_heavy(request.headers()) {
        check_headers(request.headers(), limit)?;
        let identity = plane.gateway.authenticate(&presented(request)?).await?;
        *held = Some(plane.bodies.begin(identity.owner()));
    }
    read_json(request, payload, limit, held.as_mut()).await
}
