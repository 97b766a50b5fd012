//! The data plane: a fixed list of endpoints. What is not on it does not exist.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, UPGRADE};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::fault::{Code, Fault};
use crate::domain::key::Credential;
use crate::gateway::Gateway;
use crate::gateway::caller::Presented;
use crate::gateway::inference::Standing;
use crate::limits::bodies::Bodies;
use crate::protocol::style::Style;
use crate::upstream::Client;

use super::connection::Connection;
use super::openapi::Document;
use super::request_id::request_id;
use super::respond::{self, Manners, guarded, refuse};
use super::route;

mod inference;
mod count;
mod models;
mod usage;
mod ridges;
pub mod health;
mod document;
mod formats;
mod routes;
mod ridges_routes;

pub use document::document;

/// What the handlers of one worker share.
pub struct Plane {
    /// The use cases.
    pub gateway: Arc<Gateway>,
    /// How answers look.
    pub manners: Manners,
    /// This worker's connections to the providers.
    pub client: Client,
    /// Largest body, decoded.
    pub max_body_bytes: usize,
    /// What all workers count of large bodies.
    pub bodies: Arc<Bodies>,
    /// What [`document`] wrote.
    pub document: Document,
}

/// Mounts the data plane.
pub fn mount(config: &mut web::ServiceConfig, base_paths: &[String]) {
    config
        .configure(|config| endpoints(config, base_paths))
        .service(web::scope("/r/{run_token}").configure(|config| endpoints(config, base_paths)))
        .default_service(web::route().to(not_found));
}

fn endpoints(config: &mut web::ServiceConfig, base_paths: &[String]) {
    for (base, endpoints) in routes::mounted(base_paths) {
        route::mount(config, base, endpoints);
    }
}

async fn not_found(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |_, _| {
        Err(Fault::new(
            Code::NotFound,
            "There is no such endpoint here. GET /v1/models and POST /v1/chat/completions are.",
        ))
    })
    .await
}

/// Refuses a request that asks for a WebSocket. Its body would be whatever follows on the
/// connection, so nobody may wait for it. Offers of other protocols may be ignored (RFC 9110,
/// section 7.8), and clients that offer HTTP/2 to everybody rely on that.
fn stay_with_http(headers: &HeaderMap) -> Result<(), Fault> {
    let offers_websocket = headers
        .get_all(UPGRADE)
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|protocol| protocol.split(|byte| *byte == b'/').next())
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    if !offers_websocket {
        return Ok(());
    }
    Err(Fault::new(
        Code::UpgradeNotSupported,
        "This gateway speaks plain HTTP only. Send the request as a POST.",
    ))
}

/// Runs a handler's fallible part and renders its fault.
async fn answered(
    request: &HttpRequest,
    plane: &Plane,
    handler: impl AsyncFnOnce(&str, &mut Standing) -> Result<HttpResponse, Fault>,
) -> HttpResponse {
    answered_in(Style::default(), request, plane, handler).await
}

/// The same, with faults told in a style.
async fn answered_in(
    style: Style,
    request: &HttpRequest,
    plane: &Plane,
    handler: impl AsyncFnOnce(&str, &mut Standing) -> Result<HttpResponse, Fault>,
) -> HttpResponse {
    let id = request_id(request.headers());
    let rendered = async {
        let mut standing = Standing { style, ..Standing::default() };
        let response = match stay_with_http(request.headers()) {
            Ok(()) => handler(&id, &mut standing).await,
            Err(fault) => Err(fault),
        };
        response.unwrap_or_else(|fault| refuse(&fault, &id, plane.manners, &standing))
    };
    let answer = guarded(&id, plane.manners, style, rendered).await;
    respond::last_answer(answer, plane.gateway.is_leaving())
}

/// Everything before a request's body that says who is calling.
fn presented(request: &HttpRequest) -> Result<Presented, Fault> {
    let headers = request.headers();
    let mut shown =
        Presented { from: request.peer_addr().map(|peer| peer.ip()), ..Presented::default() };
    let mut signed = None;
    let mut add = |credential: Credential, text: &str| {
        if !shown.credentials.contains(&credential) {
            shown.credentials.push(credential);
            if matches!(credential, Credential::Signed(_)) {
                signed = Some(text.to_owned());
            }
        }
    };
    for value in headers.get_all("authorization") {
        match bearer(value.to_str().unwrap_or_default()) {
            Some("") => {}
            Some(token) => add(Credential::parse(token), token),
            None => add(Credential::foreign(value.as_bytes()), ""),
        }
    }
    for name in ["x-api-key", "api-key"] {
        for value in headers.get_all(name) {
            match value.to_str().map(str::trim) {
                Ok("") => {}
                Ok(key) => add(Credential::parse(key), key),
                Err(_) => add(Credential::foreign(value.as_bytes()), ""),
            }
        }
    }
    if let Some(token) = request.match_info().get("run_token") {
        add(Credential::parse(token), token);
    }
    shown.signed = signed;
    let connection = request.conn_data::<Rc<Connection>>();
    if let Some(certificate) = connection.and_then(|connection| connection.certificate()) {
        let names = certificate.names();
        shown.certificate_is_bad = names.is_none();
        shown.certificate_names = names.map(<[String]>::to_vec).unwrap_or_default();
    }
    shown.named_runs = run_headers(headers);
    shown.named_runs.extend(run_names(request)?);
    Ok(shown)
}

fn run_headers(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("x-run-id")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect()
}

/// The token of `Bearer …`; `None` if it is another scheme.
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The values of query parameters that name a run.
fn run_names(request: &HttpRequest) -> Result<Vec<String>, Fault> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|_| Fault::new(Code::InvalidRequest, "The query string is malformed."))?;
    Ok(pairs
        .into_inner()
        .into_iter()
        .filter(|(name, _)| name == "run_id" || name == "evaluation_run_id")
        .map(|(_, value)| value)
        .collect())
}
