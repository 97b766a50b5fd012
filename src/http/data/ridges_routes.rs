//! The endpoints of Ridges' gateway API.

use actix_web::web;
use serde_json::json;

use crate::domain::fault::Code;
use crate::http::route::{Answer, Body, Endpoint, Method, Param, Spec, of};
use crate::protocol::ridges::{EmbeddingModel, InferenceModel, SidecarUsage, Usage};
use crate::protocol::style::Style;

use super::routes::{OF_CALL, OF_RUN, RUN_ID};
use super::{formats, ridges};

const EVALUATION_RUN_ID: Param = Param {
    name: "evaluation_run_id",
    about: "As `run_id`.",
    schema: || json!({"type": "string", "format": "uuid"}),
};
const RUN: &[Param] = &[RUN_ID, EVALUATION_RUN_ID];

/// Errors are `{"detail": "…"}`, under statuses of their own.
const RIDGES: Spec = Spec { query: RUN, style: Style::Ridges, ..Spec::NEW };

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/api/inference",
        to: |_| web::to(ridges::inference),
        spec: Spec {
            id: "ridgesInference",
            summary: "A chat in the shape of Ridges' gateway",
            about: "Served as a chat completion. A tool's parameters are a flat list, and so are \
                    the arguments of its calls. Without `tool_mode` it is the provider's default.",
            body: Some(Body {
                required: true,
                schema: formats::ridges_inference,
                example: formats::ridges_inference_example,
            }),
            answers: &[formats::RIDGES_ANSWER],
            errors: OF_CALL,
            model_call: true,
            ..RIDGES
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/api/embedding",
        to: |_| web::to(ridges::embedding),
        spec: Spec {
            id: "ridgesEmbedding",
            summary: "One embedding in the shape of Ridges' gateway",
            about: "Without `model`, the first model for embeddings that the run may use.",
            body: Some(Body {
                required: true,
                schema: formats::ridges_embedding,
                example: formats::ridges_embedding_example,
            }),
            answers: &[formats::RIDGES_VECTOR],
            errors: OF_CALL,
            model_call: true,
            ..RIDGES
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/api/usage",
        to: |_| web::to(ridges::spent),
        spec: Spec {
            id: "ridgesUsage",
            summary: "What the run has spent, as numbers",
            answers: &[Answer::json("Exact, though numbers.", of::<Usage>)],
            errors: OF_RUN,
            ..RIDGES
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/api/inference-models",
        to: |_| web::to(ridges::inference_models),
        spec: Spec {
            id: "ridgesInferenceModels",
            summary: "The models for chats: of the run, if one is named, else all",
            answers: &[Answer::json("The models.", of::<Vec<InferenceModel<'static>>>)],
            errors: OF_MODELS,
            ..RIDGES
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/api/embedding-models",
        to: |_| web::to(ridges::embedding_models),
        spec: Spec {
            id: "ridgesEmbeddingModels",
            summary: "The models for embeddings: of the run, if one is named, else all",
            answers: &[Answer::json("The models.", of::<Vec<EmbeddingModel<'static>>>)],
            errors: OF_MODELS,
            ..RIDGES
        },
    },
];

/// Mounted where Ridges' sidecar, which stands in for OpenRouter, has it.
pub(super) static SIDECAR: &[Endpoint] = &[Endpoint {
    method: Method::Get,
    path: "/usage",
    to: |_| web::to(ridges::sidecar_spent),
    spec: Spec {
        id: "sidecarUsage",
        summary: "What the run has spent, in the shape of Ridges' sidecar",
        about: "A call that has just been answered may be seen a moment later.",
        query: RUN,
        answers: &[Answer::json("Exact, though numbers.", of::<SidecarUsage<'static>>)],
        errors: OF_RUN,
        ..Spec::NEW
    },
}];

/// What stands in the way of finding the run, if one is named.
const OF_MODELS: &[Code] = &[
    Code::InvalidRunId,
    Code::RunIdMismatch,
    Code::RunNotFound,
    Code::RateLimited,
    Code::Unavailable,
];
