//! The control plane: what orchestrators do to runs, and what operators read.
//!
//! Every request but a load balancer's shows the operator's token. What is too large or encoded in
//! an unknown way is refused before that; everything else about a request is looked at after it.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;

use crate::domain::fault::{Code, Fault};
use crate::gateway::Gateway;

use super::data::health::{Health, readiness};
use super::respond::{self, Manners};

mod exchange;
mod fields;
mod metadata;
mod register;
mod change;
mod paging;
mod view;
mod runs;
mod calls;

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
}

/// The routes of the control plane, on an [`Operator`] that the app holds as its data. Whatever is
/// not among them, by its path or its method, is not found.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/runs", web::post().to(runs::create))
        .route("/runs", web::get().to(runs::list))
        .route("/runs/{id}", web::get().to(runs::show))
        .route("/runs/{id}", web::patch().to(runs::patch))
        .route("/runs/{id}/close", web::post().to(runs::close))
        .route("/runs/{id}/attempts", web::post().to(runs::open_attempt))
        .route("/runs/{id}/token", web::post().to(runs::rotate_token))
        .route("/runs/{id}/usage", web::get().to(runs::usage))
        .route("/runs/{id}/calls", web::get().to(calls::list))
        .route("/metrics", web::get().to(metrics))
        // These two ask for no token: a load balancer has none, and they tell nothing.
        .route("/healthz", web::get().to(healthz))
        .route("/readyz", web::get().to(readyz))
        .default_service(web::to(not_found));
}

async fn metrics(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.authenticate()?;
        let text = exchange.operator.metrics.render();
        Ok(respond::answer(StatusCode::OK, &exchange.id, exchange.operator.manners)
            .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
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

async fn not_found(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.authenticate()?;
        Err(Fault::new(
            Code::NotFound,
            "There is no such endpoint on the control plane. Check the path and the method.",
        ))
    };
    exchange.answer(work).await
}
