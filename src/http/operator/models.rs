//! The catalogue, with prices. An endpoint of our own: the contract lists none for it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::catalog::Target;
use crate::domain::fault::Fault;
use crate::gateway::Gateway;
use crate::gateway::reach::Reach;
use crate::http::catalogue_view::TargetView;
use crate::http::route::{Param, Right};
use crate::providers::REGISTRY;

use super::Operator;
use super::exchange::{Exchange, Query};
use super::fields::invalid;

/// What `GET /models` may be asked.
pub(super) static QUERY: &[Param] = &[Param {
    name: "provider",
    about: "Only what this provider serves.",
    schema: || json!({"type": "string", "enum": names()}),
}];

/// Every model at every provider that serves it, in the order of the catalogue.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Catalogue")]
pub(super) struct CatalogueView {
    data: Vec<TargetView>,
    /// The catalogue, as calls name the one that they were priced with.
    price_version: String,
    /// Always null: the catalogue is answered whole.
    next: Option<String>,
}

impl CatalogueView {
    fn of(gateway: &Gateway, reach: &Reach, provider: Option<&str>) -> Self {
        let configured = |target: &Target| reach.serves(target.provider);
        let catalog = gateway.catalog();
        let targets = catalog.models().flat_map(|model| &model.targets);
        let wanted = targets.filter(|target| provider.is_none_or(|it| it == target.provider.name));
        Self {
            data: wanted.map(|target| TargetView::of(target, configured(target))).collect(),
            price_version: catalog.version().to_owned(),
            next: None,
        }
    }
}

/// `GET /models`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        let query = exchange.query(QUERY)?;
        let (gateway, provider) = (&exchange.operator.gateway, provider(&query)?);
        let reach = gateway.default_reach().await;
        let view = CatalogueView::of(gateway, &reach, provider);
        exchange.json(StatusCode::OK, &view)
    };
    exchange.answer(work).await
}

fn provider(query: &Query) -> Result<Option<&str>, Fault> {
    let Some(name) = query.get("provider") else { return Ok(None) };
    if names().contains(&name) {
        return Ok(Some(name));
    }
    let says = format!("must be one of {}", names().join(", "));
    Err(invalid("provider".to_owned(), says))
}

fn names() -> [&'static str; REGISTRY.len()] {
    REGISTRY.each_ref().map(|provider| provider.name)
}
