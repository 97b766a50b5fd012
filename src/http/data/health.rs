//! Whether this process lives, and whether it should be sent anything.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::fault::Fault;
use crate::gateway::{Gateway, Mode, draining, unavailable};

use super::super::respond::answer;
use super::{Plane, answered};

/// What a health check answers.
#[derive(JsonSchema, Serialize)]
pub struct Health {
    /// `ok` or `ready`.
    #[schemars(extend("enum" = ["ok", "ready"]))]
    pub status: &'static str,
    /// `dev` or `serve`.
    #[schemars(extend("enum" = ["dev", "serve"]))]
    pub mode: &'static str,
}

impl Health {
    /// The answer of a gateway that is well.
    pub fn of(gateway: &Gateway, status: &'static str) -> Self {
        let mode = match gateway.mode {
            Mode::Dev => "dev",
            Mode::Serve => "serve",
        };
        Self { status, mode }
    }
}

/// Whether calls can be admitted.
///
/// # Errors
/// 503 from the notice of a shutdown on, or while the ledger cannot be reached.
pub async fn readiness(gateway: &Gateway) -> Result<Health, Fault> {
    if gateway.is_leaving() {
        return Err(draining());
    }
    gateway.ledger.ready().await.map_err(unavailable)?;
    Ok(Health::of(gateway, "ready"))
}

/// `GET /healthz`
pub(super) async fn alive(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, _| {
        let health = Health::of(&plane.gateway, "ok");
        Ok(answer(StatusCode::OK, id, plane.manners).json(health))
    })
    .await
}

/// `GET /readyz`
pub(super) async fn ready(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, _| {
        let health = readiness(&plane.gateway).await?;
        Ok(answer(StatusCode::OK, id, plane.manners).json(health))
    })
    .await
}
