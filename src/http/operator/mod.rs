//! The control plane: what orchestrators do to runs, and what operators read.
//!
//! Every request but a load balancer's shows the operator's token. What is too large or encoded in
//! an unknown way is refused before that; everything else about a request is looked at after it.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;

use crate::domain::fault::{Code, Fault};
use crate::gateway::Gateway;

use super::data::health::{Health, readiness};
use super::openapi::Document;
use super::respond::{self, Manners};
use super::route::{self, Right};

mod exchange;
mod credential;
mod members;
mod fields;
mod metadata;
mod control;
mod run_providers;
mod register;
mod change;
mod paging;
mod view;
mod runs;
mod calls;
mod models;
mod totals;
mod organizations;
mod usage;
mod csv;
mod providers;
mod provider_routes;
mod routes;
mod document;

pub use document::document;

use exchange::{Exchange, NO_STORE};

/// What the control plane works on.
pub struct Operator {
    /// The use cases.
    pub gateway: Arc<Gateway>,
    /// What answers depend on besides the request.
    pub manners: Manners,
    /// What a request must show; `None` on a developer's gateway, which asks for nothing.
    pub admin_token: Option<SecretString>,
    /// Where the metrics come from.
    pub metrics: PrometheusHandle,
    /// Most bytes of a body, decoded.
    pub max_body_bytes: usize,
    /// What [`document`] wrote.
    pub document: Document,
}

/// The type of what Prometheus reads.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of the control plane, on an [`Operator`] that the app holds as its data. Whatever is
/// not among them, by its path or its method, is not found.
pub fn configure(config: &mut web::ServiceConfig) {
    for endpoints in routes::mounted() {
        route::mount(config, "", endpoints);
    }
    config.default_service(web::to(not_found));
}

async fn metrics(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        let text = exchange.operator.metrics.render();
        Ok(respond::answer(StatusCode::OK, &exchange.id, exchange.operator.manners)
            .insert_header((CONTENT_TYPE, METRICS))
            .insert_header(NO_STORE)
            .body(text))
    };
    exchange.answer(work).await
}

async fn healthz(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let health = Health::of(&exchange.operator.gateway, "ok");
        exchange.json(StatusCode::OK, &health)
    };
    exchange.answer(work).await
}

async fn readyz(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let health = readiness(&exchange.operator.gateway).await?;
        exchange.json(StatusCode::OK, &health)
    };
    exchange.answer(work).await
}

async fn openapi(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        Ok(respond::answer(StatusCode::OK, &exchange.id, exchange.operator.manners)
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .insert_header(NO_STORE)
            .body(exchange.operator.document.text()))
    };
    exchange.answer(work).await
}

async fn not_found(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Runs).await?;
        Err(Fault::new(
            Code::NotFound,
            "There is no such endpoint on the control plane. Check the path and the method.",
        ))
    };
    exchange.answer(work).await
}
