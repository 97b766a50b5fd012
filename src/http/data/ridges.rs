//! The gateway API of Ridges: its shapes around the same calls.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::catalog::Kind;
use crate::domain::budget::{Balance, Unit};
use crate::domain::fault::{Code, Fault};
use crate::gateway::caller::{Identity, Presented};
use crate::gateway::inference::{ModelCall, Reply, Standing};
use crate::gateway::route::Listed;
use crate::ledger::{ModelUse, RunRecord};
use crate::protocol::format::Format;
use crate::protocol::ridges::{
    Asked, Embedding, EmbeddingModel, Exact, InferenceModel, Shape, SidecarModel, SidecarUsage,
    Usage, embedding_answer, inference_answer, to_chat,
};
use crate::protocol::style::Style;

use super::super::respond::{answer, hang_up, refuse, tell_standing};
use super::inference::read;
use super::{Plane, answered, answered_in, presented, usage};

/// What the endpoints for model calls differ in.
struct Endpoint {
    /// Its path, as it is written down.
    name: &'static str,
    format: Format,
    told: fn(&[u8], Shape) -> Option<Vec<u8>>,
}

static INFERENCE: Endpoint =
    Endpoint { name: "/api/inference", format: Format::Chat, told: inference_answer };
static EMBEDDING: Endpoint =
    Endpoint { name: "/api/embedding", format: Format::Embeddings, told: embedding_answer };

/// `POST /api/inference`
pub(super) async fn inference(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    serve(request, payload, plane, &INFERENCE, async |presented, body, plane, standing| {
        let read = || to_chat(body);
        Ok(plane.gateway.understand(presented, standing, read).await?.1)
    })
    .await
}

/// `POST /api/embedding`
pub(super) async fn embedding(
    request: HttpRequest,
    payload: web::Payload,
    plane: web::Data<Plane>,
) -> HttpResponse {
    serve(request, payload, plane, &EMBEDDING, async |presented, body, plane, standing| {
        let read = || Embedding::read(body);
        let (identity, mut asked) = plane.gateway.understand(presented, standing, read).await?;
        if asked.model.is_none() {
            let model = first_embedder(plane, identity, presented, &asked, standing).await?;
            asked.model = Some(model.into());
        }
        Ok(asked.into_asked())
    })
    .await
}

/// The model for whoever names none: the first that the run may use.
async fn first_embedder(
    plane: &Plane,
    identity: Identity,
    presented: &Presented,
    asked: &Embedding<'_>,
    standing: &mut Standing,
) -> Result<String, Fault> {
    let gateway = &plane.gateway;
    let caller = gateway.name_run(identity, presented, &asked.run_names()).await?;
    standing.run = caller.run.named();
    let reach = gateway.reach_of(&caller.run).await?;
    let models = gateway.models_of(&caller, &reach);
    let first = models.iter().find(|listed| listed.target.kind == Kind::Embedding);
    first.map(|listed| listed.name().to_owned()).ok_or_else(|| {
        gateway.refusals.count(caller.run.id, Code::InvalidModel);
        let says = "This run has no model for embeddings. Ask its operator for one.";
        Fault::new(Code::InvalidModel, says).param("model")
    })
}

/// Serves a model call that `ask` translates into one of OpenAI's formats.
async fn serve(
    request: HttpRequest,
    mut payload: web::Payload,
    plane: web::Data<Plane>,
    endpoint: &'static Endpoint,
    ask: impl AsyncFnOnce(&Presented, &[u8], &Plane, &mut Standing) -> Result<Asked, Fault>,
) -> HttpResponse {
    answered_in(Style::Ridges, &request, &plane, async |id, standing| {
        let mut held = None;
        let body = match read(&request, &mut payload, &plane, &mut held).await {
            Ok(body) => body,
            Err(fault) => {
                return Ok(hang_up(refuse(&fault, id, plane.manners, standing), payload));
            }
        };
        // Before the body is understood, as everywhere: what is wrong with it is no reason to blame
        // an agent whose call could not have been served.
        let _busy = plane.gateway.take_in()?;
        let presented = presented(&request)?;
        let Asked { body, shape } = ask(&presented, &body, &plane, standing).await?;
        let call = ModelCall {
            request_id: id,
            presented: &presented,
            body: Bytes::from(body),
            format: endpoint.format,
            betas: None,
            endpoint: endpoint.name,
            always_show_usage: false,
            always_tell_cost: false,
        };
        let reply = Box::pin(plane.gateway.infer(&plane.client, call, standing)).await?;
        let told = match reply {
            Reply::Whole(bytes) => (endpoint.told)(&bytes, shape),
            Reply::Stream(_) => None,
        };
        let told = told.ok_or_else(|| {
            Fault::new(
                Code::UpstreamError,
                "The model's answer does not fit this endpoint: it is empty, or calls a tool with \
                 arguments that are no JSON object. It has been paid for; another try may differ.",
            )
        })?;
        let mut builder = answer(StatusCode::OK, id, plane.manners);
        tell_standing(&mut builder, standing);
        builder.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        Ok(builder.body(told))
    })
    .await
}

/// `GET /api/usage`
pub(super) async fn spent(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered_in(Style::Ridges, &request, &plane, async |id, standing| {
        let record = usage::record(&request, &plane, standing).await?;
        let balance: Balance = record.balance(Unit::Usd).copied().unwrap_or_default();
        Ok(answer(StatusCode::OK, id, plane.manners).json(Usage::of(&balance)))
    })
    .await
}

/// `GET /api/v1/usage`
pub(super) async fn sidecar_spent(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        let record = usage::record(&request, &plane, standing).await?;
        Ok(answer(StatusCode::OK, id, plane.manners).json(sidecar_usage(&record)))
    })
    .await
}

fn sidecar_usage(record: &RunRecord) -> SidecarUsage<'_> {
    let balance = record.balance(Unit::Usd).copied().unwrap_or_default();
    let sum = |of: fn(&ModelUse) -> u64| record.models.iter().map(of).sum();
    let models = record.models.iter().map(|used| SidecarModel {
        model: &used.model,
        requests: used.calls,
        prompt_tokens: used.input_tokens,
        completion_tokens: used.output_tokens,
        cost_usd: Exact(used.cost),
    });
    SidecarUsage {
        evaluation_run_id: record.run.id,
        total_cost_usd: Exact(balance.spent),
        budget_remaining_usd: Exact(balance.available()),
        requests: sum(|used| used.calls),
        prompt_tokens: sum(|used| used.input_tokens),
        completion_tokens: sum(|used| used.output_tokens),
        models: models.collect(),
    }
}

/// `GET /api/inference-models`
pub(super) async fn inference_models(
    request: HttpRequest,
    plane: web::Data<Plane>,
) -> HttpResponse {
    answered_in(Style::Ridges, &request, &plane, async |id, standing| {
        let models = models(&request, &plane, standing, Kind::Chat).await?;
        let models: Vec<_> = models.iter().map(model).collect();
        Ok(answer(StatusCode::OK, id, plane.manners).json(models))
    })
    .await
}

/// `GET /api/embedding-models`
pub(super) async fn embedding_models(
    request: HttpRequest,
    plane: web::Data<Plane>,
) -> HttpResponse {
    answered_in(Style::Ridges, &request, &plane, async |id, standing| {
        let models = models(&request, &plane, standing, Kind::Embedding).await?;
        let priced = |model| EmbeddingModel { model, pricing_mode: "per_token" };
        let models: Vec<_> = models.iter().map(|listed| priced(model(listed))).collect();
        Ok(answer(StatusCode::OK, id, plane.manners).json(models))
    })
    .await
}

/// The models of a kind: those of the run, if one is named, else all that are configured.
async fn models(
    request: &HttpRequest,
    plane: &Plane,
    standing: &mut Standing,
    kind: Kind,
) -> Result<Vec<Listed>, Fault> {
    let gateway = &plane.gateway;
    let presented = presented(request)?;
    let identity = gateway.authenticate(&presented).await?;
    let mut models = match identity {
        Identity::Anonymous if presented.named_runs.is_empty() => {
            gateway.models(&*gateway.default_reach().await)
        }
        identity => {
            let caller = gateway.name_run(identity, &presented, &[]).await?;
            standing.run = caller.run.named();
            let reach = gateway.reach_of(&caller.run).await?;
            gateway.models_of(&caller, &reach)
        }
    };
    models.retain(|listed| listed.target.kind == kind);
    Ok(models)
}

fn model(listed: &Listed) -> InferenceModel<'_> {
    let target = &listed.target;
    let prices = &target.prices.base;
    InferenceModel {
        name: listed.name(),
        external_name: &target.upstream_model,
        max_input_tokens: target.context_window,
        cost_usd_per_million_input_tokens: Exact(prices.input.decimal()),
        cost_usd_per_million_output_tokens: Exact(prices.output.decimal()),
    }
}
