//! The document of the data plane.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::config::RunAuth;
use crate::domain::fault::Code;
use crate::gateway::{Gateway, Mode};
use crate::http::openapi::{self, Document};
use crate::http::respond::{Manners, answer};
use crate::http::route::Param;

use super::{Plane, answered, routes};

const PARAMETERS: &[Param] = &[Param {
    name: "X-Run-Id",
    about: "The run, where its id alone is enough. Must agree with whatever else names one.",
    schema: || json!({"type": "string", "format": "uuid"}),
}];

/// The document of the data plane of this gateway.
pub fn document(gateway: &Gateway, manners: Manners, base_paths: &[String]) -> Document {
    let by_id = gateway.mode == Mode::Dev || gateway.policy.run_auth == RunAuth::RunId;
    let base_paths = base_paths.to_vec();
    let key = |header: &str| json!({"type": "apiKey", "in": "header", "name": header});
    let about = "What sandboxed agents reach. Every call belongs to a run and is metered against \
                 its cap. A credential is the run's token or, where that is enough, its id; a \
                 client that can only set a base URL puts it into the path. Amounts of money are \
                 exact decimal text in US dollars.";
    Document::new(move || {
        openapi::render(&openapi::Plane {
            title: "rungate: data plane",
            about: about.to_owned(),
            servers: json!([
                {"url": "/"},
                {
                    "url": "/r/{run_token}",
                    "description": "The run's token in the path instead of a header.",
                    "variables": {"run_token": {"default": "rg-run-token"}},
                },
            ]),
            security: json!({
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": key("x-api-key"),
                "api-key": key("api-key"),
            }),
            mounted: routes::mounted(&base_paths).collect(),
            parameters: PARAMETERS,
            rights: None,
            anonymous: by_id,
            headers: &["x-run-id"],
            errors: &[Code::UpgradeNotSupported, Code::InternalError],
            manners,
        })
    })
}

/// `GET /openapi.json`
pub(super) async fn serve(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, _| {
        Ok(answer(StatusCode::OK, id, plane.manners)
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .body(plane.document.text()))
    })
    .await
}
