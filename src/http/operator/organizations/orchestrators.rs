//! Orchestrator keys: what an organization's own orchestrators use `/runs` with.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::OrchestratorKeyId;
use crate::domain::organization::KeyStatus;
use crate::http::operator::change::read_nothing;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::fields::Fields;
use crate::http::operator::members::{Kind, Member, not_null};
use crate::http::operator::view::ListView;
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::instant;
use crate::ledger::organizations::OrchestratorKey;
use crate::protocol::schema::InstantText;

use super::MAX_NAME_BYTES;

/// The members of a new key.
pub(super) static NEW_FIELDS: &[Member] = &[Member {
    required: true,
    ..not_null("name", Kind::Label(MAX_NAME_BYTES), "What its owner calls it.")
}];

/// An orchestrator key.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OrchestratorKey")]
pub(super) struct KeyView {
    id: OrchestratorKeyId,
    name: String,
    /// The beginning of its secret.
    key_prefix: String,
    status: KeyStatus,
    #[schemars(with = "InstantText")]
    created_at: String,
}

/// A key with its secret, which is shown once.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "MintedOrchestratorKey")]
pub(super) struct MintedView {
    key: KeyView,
    secret: String,
}

impl KeyView {
    fn of(key: OrchestratorKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            key_prefix: key.prefix,
            status: key.status,
            created_at: instant(key.created_at),
        }
    }
}

/// `POST /organizations/{org}/orchestrator-keys`
pub(super) async fn mint(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Manage).await?;
        let fields = Fields::read(body.text()?, NEW_FIELDS, String::new())?;
        let name = fields.label("name", MAX_NAME_BYTES)?;
        let name = fields.required("name", name)?;
        let organization = exchange.organization()?;
        let gateway = &exchange.operator.gateway;
        let (key, secret) = gateway.mint_orchestrator_key(organization, name).await?;
        let secret = secret.expose_secret().to_owned();
        exchange.json(StatusCode::CREATED, &MintedView { key: KeyView::of(key), secret })
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/orchestrator-keys`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        let page = paging::read(&exchange.query(paging::PAGE)?)?;
        let organization = exchange.organization()?;
        let found = exchange.operator.gateway.orchestrator_keys(organization, page).await?;
        let next = found.rows.last().filter(|_| found.more).map(|key| key.id.to_string());
        let data = found.rows.into_iter().map(KeyView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// `DELETE /organizations/{org}/orchestrator-keys/{key}`
pub(super) async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Manage).await?;
        read_nothing(body.text()?)?;
        let id = OrchestratorKeyId::parse(exchange.part("key")).ok_or_else(|| {
            Fault::new(Code::NotFound, "The key's id in the path is not a UUID. Check the path.")
        })?;
        let organization = exchange.organization()?;
        let revoked = exchange.operator.gateway.revoke_orchestrator_key(organization, id).await?;
        exchange.json(StatusCode::OK, &KeyView::of(revoked))
    };
    exchange.answer(work).await
}
