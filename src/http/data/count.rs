//! Counting the tokens of messages.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::fault::Fault;
use crate::gateway::count_tokens::InputTokens;
use crate::gateway::inference::{ModelCall, Standing};
use crate::protocol::format::Format;
use crate::protocol::messages::count;
use crate::protocol::style::Style;

use super::super::respond::{answer, hang_up, refuse, tell_standing};
use super::inference::{betas, read};
use super::{Plane, answered_in, presented};

/// The path, as it is written down.
const NAME: &str = "/v1/messages/count_tokens";

/// Answers how many tokens an input has.
pub(super) async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    answered_in(Style::Of(Format::Messages), &request, &plane, async |id, standing| {
        count(&request, payload, &plane, id, standing).await
    })
    .await
}

async fn count(
    request: &HttpRequest,
    mut payload: web::Payload,
    plane: &Plane,
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
        format: Format::Messages,
        betas: betas(request.headers()),
        endpoint: NAME,
        always_show_usage: false,
        always_tell_cost: false,
    };
    let counting = plane.gateway.count_tokens(&plane.client, call, standing);
    // Boxed, because what is around it is moved several times before it is first polled.
    let (tokens, by) = match Box::pin(counting).await? {
        InputTokens::Counted(tokens) => (tokens, "provider"),
        InputTokens::Bound(tokens) => (tokens, "bound"),
    };
    let mut builder = answer(StatusCode::OK, id, plane.manners);
    tell_standing(&mut builder, standing);
    Ok(builder
        .insert_header(("request-id", id))
        .insert_header(("x-token-count", by))
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .body(count::body(tokens)))
}
