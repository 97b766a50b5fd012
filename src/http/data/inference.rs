//! Model calls.

use std::convert::Infallible;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::domain::fault::Fault;
use crate::gateway::inference::{ModelCall, Reply, Standing};
use crate::limits::bodies::Held;

use super::super::decode::{check_headers, is_heavy, read_json};
use super::super::openapi::EVENT_STREAM;
use super::super::respond::{answer, hang_up, refuse, tell_standing};
use super::{Plane, answered, presented};

/// What a model call was sent to, as it is written down.
struct Endpoint {
    name: &'static str,
    always_show_usage: bool,
}

const AGENTS_INFERENCE: Endpoint = Endpoint { name: "/agents/inference", always_show_usage: false };
const CHAT: Endpoint = Endpoint { name: "/v1/chat/completions", always_show_usage: false };
const CHAT_WITH_USAGE: Endpoint =
    Endpoint { name: "/inference/v1/chat/completions", always_show_usage: true };

/// `POST /agents/inference`
pub(super) async fn agents_inference(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    serve(request, payload, plane, &AGENTS_INFERENCE).await
}

/// `POST /v1/chat/completions`
pub(super) async fn chat(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    serve(request, payload, plane, &CHAT).await
}

/// `POST /inference/v1/chat/completions`
pub(super) async fn chat_with_usage(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    serve(request, payload, plane, &CHAT_WITH_USAGE).await
}

async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
    endpoint: &Endpoint,
) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        call(&request, payload, &plane, endpoint, id, standing).await
    })
    .await
}

async fn call(
    request: &HttpRequest,
    mut payload: web::Payload,
    plane: &Plane,
    endpoint: &Endpoint,
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
        endpoint: endpoint.name,
        always_show_usage: endpoint.always_show_usage,
    };
    // Boxed, because what is around it is moved several times before it is first polled.
    let reply = Box::pin(plane.gateway.infer(&plane.client, call, standing)).await?;
    let mut builder = answer(StatusCode::OK, id, plane.manners);
    tell_standing(&mut builder, standing);
    Ok(match reply {
        Reply::Whole(bytes) => builder
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .body(bytes),
        Reply::Stream(relay) => builder
            .insert_header((CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)))
            .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
            .insert_header(("x-accel-buffering", "no"))
            .streaming(relay.map(Ok::<_, Infallible>)),
    })
}

/// Reads a call's body. If it may become large, only that of a good credential, and its bytes are
/// counted as its run's for as long as `held` lives.
async fn read(
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
