//! The endpoints of runs.

use std::collections::{HashMap, HashSet};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Utc;
use serde_json::json;

use crate::domain::fault::Fault;
use crate::domain::id::OrganizationId;
use crate::domain::run::RunState;
use crate::http::route::{Param, Right};
use crate::http::usage_view::UsageView;

use super::credential::Caller;
use super::exchange::Exchange;
use super::fields::{STATES, invalid};
use super::register::{self, Owners, Wanted};
use super::run_providers;
use super::view::{ListView, RunView};
use super::{Operator, change, paging};

/// What `GET /runs` may be asked.
pub(super) static LIST_QUERY: &[Param] = &[
    Param {
        name: "status",
        about: "Only runs of this state.",
        schema: || json!({"type": "string", "enum": RunState::ALL.map(RunState::as_str)}),
    },
    paging::LIMIT,
    paging::AFTER,
];

/// What `GET /runs/{id}/usage` may be asked.
pub(super) static USAGE_QUERY: &[Param] = &[paging::WAIT_FINAL];

/// `POST /runs`
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (caller, body) = exchange.body(payload, Right::Runs).await?;
        let text = body.text()?;
        let owners = owners(&exchange, &caller, text).await?;
        let (mut wanted, alone) = match register::read(text, Utc::now(), &owners)? {
            Wanted::One(wanted) => (vec![*wanted], true),
            Wanted::Many(wanted) => (wanted, false),
        };
        let gateway = &exchange.operator.gateway;
        let by_operator = matches!(caller, Caller::Operator);
        for wanted in &mut wanted {
            run_providers::bring(gateway, wanted, by_operator)?;
        }
        let registrations = wanted.into_iter().map(|wanted| wanted.registration).collect();
        let opened = gateway.register(registrations).await?;
        let any_new = opened.iter().any(|run| run.token.is_some());
        let status = if any_new { StatusCode::CREATED } else { StatusCode::OK };
        let mut views: Vec<_> = opened.into_iter().map(RunView::opened).collect();
        match views.pop_if(|_| alone) {
            Some(view) => exchange.json(status, &view),
            None => exchange.json(status, &views),
        }
    };
    exchange.answer(work).await
}

/// For whom this caller may register the runs of this body.
async fn owners(exchange: &Exchange, caller: &Caller, body: &str) -> Result<Owners, Fault> {
    let usual = caller.bound_to().unwrap_or(OrganizationId::DEFAULT);
    let gateway = &exchange.operator.gateway;
    let mut known = HashMap::from([(usual, gateway.usual_run_defaults(usual).await?)]);
    let named = match caller.bound_to() {
        Some(_) => HashSet::new(),
        None => register::named_organizations(body),
    };
    for id in named.into_iter().filter(|id| *id != usual) {
        if let Some(defaults) = gateway.run_defaults(id).await? {
            known.insert(id, defaults);
        }
    }
    Ok(Owners { usual, known })
}

/// `GET /runs`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let caller = exchange.admit(Right::Runs).await?;
        let query = exchange.query(LIST_QUERY)?;
        let status = query
            .get("status")
            .map(|word| RunState::parse(word).ok_or_else(|| invalid("status".to_owned(), STATES)));
        let (status, page) = (status.transpose()?, paging::read(&query)?);
        let found = exchange.operator.gateway.runs(caller.bound_to(), status, page).await?;
        let next = found.rows.last().filter(|_| found.more).map(|record| record.run.id.to_string());
        let data = found.rows.into_iter().map(RunView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// `GET /runs/{id}`
pub(super) async fn show(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Runs).await?;
        exchange.query(&[])?;
        let record = exchange.operator.gateway.run(exchange.run()?).await?;
        exchange.json(StatusCode::OK, &RunView::of(record))
    };
    exchange.answer(work).await
}

/// `PATCH /runs/{id}`
pub(super) async fn patch(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Runs).await?;
        let patch = change::read_patch(body.text()?)?;
        let record = exchange.operator.gateway.patch_run(exchange.run()?, patch).await?;
        exchange.json(StatusCode::OK, &RunView::of(record))
    };
    exchange.answer(work).await
}

/// `POST /runs/{id}/close`
pub(super) async fn close(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Runs).await?;
        let (close, wait) = change::read_close(body.text()?)?;
        let run = exchange.run()?;
        let record = exchange.operator.gateway.close_run(run, close, wait).await?;
        let status = if record.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
        exchange.json(status, &UsageView::of(&record))
    };
    exchange.answer(work).await
}

/// `POST /runs/{id}/attempts`
pub(super) async fn open_attempt(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Runs).await?;
        let status = change::read_attempt(body.text()?)?;
        let opened = exchange.operator.gateway.open_attempt(exchange.run()?, status).await?;
        exchange.json(StatusCode::CREATED, &RunView::opened(opened))
    };
    exchange.answer(work).await
}

/// `POST /runs/{id}/token`
pub(super) async fn rotate_token(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Runs).await?;
        change::read_nothing(body.text()?)?;
        let opened = exchange.operator.gateway.rotate_token(exchange.run()?).await?;
        exchange.json(StatusCode::OK, &RunView::opened(opened))
    };
    exchange.answer(work).await
}

/// `GET /runs/{id}/usage`
pub(super) async fn usage(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Runs).await?;
        let wait = paging::wait(&exchange.query(USAGE_QUERY)?)?;
        let run = exchange.run()?;
        let record = exchange.operator.gateway.wait_final(run, wait).await?;
        exchange.json(StatusCode::OK, &UsageView::of(&record))
    };
    exchange.answer(work).await
}
