//! The book of changes: who changed what, when, from where.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::fault::Fault;
use crate::domain::id::OrganizationId;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::view::ListView;
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::instant;
use crate::ledger::audit::AuditRecord;
use crate::protocol::schema::InstantText;

/// What a cursor begins with.
const CURSOR: &str = "before:";

/// One change.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Change")]
pub(super) struct ChangeView {
    id: i64,
    #[schemars(with = "InstantText")]
    at: String,
    organization_id: Option<OrganizationId>,
    actor: ActorView,
    /// The address that the request came from.
    address: Option<String>,
    request_id: Option<String>,
    /// `create`, `change` or `delete`.
    action: String,
    object: ObjectView,
    /// What changed, as it was.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    old: Option<Box<RawValue>>,
    /// What changed, as it became. Secrets are not shown.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    new: Option<Box<RawValue>>,
}

/// Who made a change.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Actor")]
struct ActorView {
    /// `operator`, `orchestrator_key` or `member`; `database` for what went past the gateway.
    kind: String,
    id: Option<String>,
    name: Option<String>,
}

/// What was changed.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ChangedObject")]
struct ObjectView {
    kind: String,
    id: String,
}

impl ChangeView {
    fn of(record: AuditRecord) -> Self {
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            id: record.id,
            at: instant(record.at),
            organization_id: record.organization,
            actor: ActorView {
                kind: record.actor_kind,
                id: record.actor_id,
                name: record.actor_name,
            },
            address: record.address,
            request_id: record.request_id,
            action: record.action,
            object: ObjectView { kind: record.object_kind, id: record.object_id },
            old: json(record.old),
            new: json(record.new),
        }
    }
}

/// A page of changes, the newest first.
async fn page(
    exchange: &Exchange,
    organization: Option<OrganizationId>,
) -> Result<HttpResponse, Fault> {
    let query = exchange.query(paging::PAGE)?;
    let limit = paging::limit(&query, paging::DEFAULT_LIMIT)?;
    let before = query.get("after").map(|text| {
        let number = text.strip_prefix(CURSOR).and_then(|digits| digits.parse::<i64>().ok());
        number.ok_or_else(paging::no_cursor)
    });
    let before = before.transpose()?;
    let found = exchange.operator.gateway.audit(organization, before, limit).await?;
    let next =
        found.rows.last().filter(|_| found.more).map(|record| format!("{CURSOR}{}", record.id));
    let data = found.rows.into_iter().map(ChangeView::of).collect();
    exchange.json(StatusCode::OK, &ListView { data, next })
}

/// `GET /organizations/{org}/audit`
pub(super) async fn of_one(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Manage).await?;
        page(&exchange, Some(exchange.organization()?)).await
    };
    exchange.answer(work).await
}

/// `GET /audit`
pub(super) async fn of_all(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        page(&exchange, None).await
    };
    exchange.answer(work).await
}
