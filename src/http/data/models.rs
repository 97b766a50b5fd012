//! The models that a run may use, in one shape that the clients of OpenAI's list and of Anthropic's
//! both read.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::Kind;
use crate::domain::fault::{Code, Fault};
use crate::domain::usage::Tokens;
use crate::gateway::caller::Caller;
use crate::gateway::inference::Standing;
use crate::gateway::reach::Reach;
use crate::gateway::route::Listed;

use super::super::respond::answer;
use super::{Plane, answered, presented};

/// The models that a run may use.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelList")]
pub(super) struct List<'a> {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<Entry<'a>>,
    /// Always false: the list is whole. This and the next two are Anthropic's.
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    /// For Codex alone, which says its `client_version`: an empty catalogue of its own kind, whose
    /// rows change with its releases. Without one it reports an error; with an empty one it uses
    /// the rows that it was built with.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<[&'a str; 0]>,
}

/// What the path names.
#[derive(Deserialize)]
struct Named {
    model: String,
}

/// A model that a run may use, by its name or by an alias of the run's.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Model")]
pub(super) struct Entry<'a> {
    id: &'a str,
    #[schemars(extend("const" = "model"))]
    object: &'static str,
    /// Always 0: the catalogue knows no dates.
    created: u64,
    /// As `object`, for clients of Anthropic's list, as the next two are.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "model"))]
    kind_of_object: &'static str,
    display_name: &'a str,
    /// Always 1970: the catalogue knows no dates.
    created_at: &'static str,
    /// The provider.
    owned_by: &'static str,
    /// What it makes, and so which endpoint it fits.
    #[schemars(extend("enum" = ["chat", "embedding"]))]
    kind: &'static str,
    /// The most input tokens of one request.
    context_window: Tokens,
    /// The most output tokens of one choice; none of an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<Tokens>,
}

impl<'a> Entry<'a> {
    fn of(listed: &'a Listed) -> Self {
        let target = &listed.target;
        Self {
            id: listed.name(),
            object: "model",
            // The wire format wants a date of release; the catalogue knows none.
            created: 0,
            kind_of_object: "model",
            display_name: &target.model,
            created_at: "1970-01-01T00:00:00Z",
            owned_by: target.provider.name,
            kind: target.kind.name(),
            context_window: target.context_window,
            max_output_tokens: (target.kind == Kind::Chat).then_some(target.max_output),
        }
    }
}

/// `GET /v1/models`
pub(super) async fn list(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        let (caller, reach) = caller(&request, &plane, standing).await?;
        let models = plane.gateway.models_of(&caller, &reach);
        let mut query = request.query_string().split('&');
        let is_codex = query.any(|member| member.starts_with("client_version="));
        let list = List {
            object: "list",
            data: models.iter().map(Entry::of).collect(),
            has_more: false,
            first_id: models.first().map(Listed::name),
            last_id: models.last().map(Listed::name),
            models: is_codex.then_some([]),
        };
        Ok(answer(StatusCode::OK, id, plane.manners).json(list))
    })
    .await
}

/// `GET /v1/models/{id}`
pub(super) async fn one(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        let (caller, reach) = caller(&request, &plane, standing).await?;
        // Clients escape the slash of a name; this unescapes it.
        let named: Result<Named, _> = request.match_info().load();
        let found =
            named.ok().and_then(|named| plane.gateway.model_of(&caller, &named.model, &reach));
        let found = found.ok_or_else(|| {
            Fault::new(
                Code::NotFound,
                "This run has no such model. GET /v1/models lists those that it has.",
            )
            .param("model")
        })?;
        Ok(answer(StatusCode::OK, id, plane.manners).json(Entry::of(&found)))
    })
    .await
}

async fn caller(
    request: &HttpRequest,
    plane: &Plane,
    standing: &mut Standing,
) -> Result<(Caller, Arc<Reach>), Fault> {
    let presented = presented(request)?;
    let identity = plane.gateway.authenticate(&presented).await?;
    let caller = plane.gateway.name_run(identity, &presented, &[]).await?;
    standing.run = caller.run.named();
    let reach = plane.gateway.reach_of(&caller.run).await?;
    Ok((caller, reach))
}
