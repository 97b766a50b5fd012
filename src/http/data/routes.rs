//! The endpoints of the data plane, those below each base among them.

use actix_web::web;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::domain::fault::Code;
use crate::http::openapi::{CALL_HEADERS, EVENT_STREAM, SCHEMAS};
use crate::http::route::{Answer, Body, Content, Endpoint, Method, Param, Spec, of};
use crate::protocol::chat::TABLE;
use crate::protocol::request::schema;

use super::health::Health;
use super::{count, document, formats, health, inference, models, ridges_routes, usage};

/// The base of OpenRouter's clients, and of the sidecar that Ridges has in its place.
const OPENROUTER: &str = "/api/v1";

/// The base whose streams always show their usage.
const ALWAYS_SHOWS_USAGE: &str = "/inference/v1";

pub(super) const RUN_ID: Param = Param {
    name: "run_id",
    about: "The run, where its id alone is enough. Must agree with whatever else names one.",
    schema: || json!({"type": "string", "format": "uuid"}),
};

/// What stands in the way of finding the run.
pub(super) const OF_RUN: &[Code] = &[
    Code::InvalidRunId,
    Code::RunIdMismatch,
    Code::RunIdRequired,
    Code::RunNotFound,
    Code::RateLimited,
    Code::Unavailable,
];
const OF_MODEL: &[Code] = &[
    Code::InvalidRunId,
    Code::RunIdMismatch,
    Code::RunIdRequired,
    Code::RunNotFound,
    Code::NotFound,
    Code::RateLimited,
    Code::Unavailable,
];
pub(super) const OF_CALL: &[Code] = &[
    Code::InvalidModel,
    Code::InvalidRunId,
    Code::RunIdMismatch,
    Code::RunIdRequired,
    Code::ParameterNotAllowed,
    Code::CostLimitExceeded,
    Code::KeyBudgetExceeded,
    Code::CostCircuitOpen,
    Code::InsufficientCredits,
    Code::RunClosed,
    Code::RunExpired,
    Code::ModelNotAllowed,
    Code::EndpointNotAllowed,
    Code::RunNotFound,
    Code::RunNotActive,
    Code::ProviderNotConfigured,
    Code::RateLimited,
    Code::ConcurrencyLimited,
    Code::TokenCeilingExceeded,
    Code::CallLimitExceeded,
    Code::BudgetReserved,
    Code::UpstreamError,
    Code::Unavailable,
    Code::UpstreamTimeout,
];

/// As those of a call, without those about money.
const OF_COUNT: &[Code] = &[
    Code::InvalidModel,
    Code::InvalidRunId,
    Code::RunIdMismatch,
    Code::RunIdRequired,
    Code::ParameterNotAllowed,
    Code::RunClosed,
    Code::RunExpired,
    Code::ModelNotAllowed,
    Code::RunNotFound,
    Code::RunNotActive,
    Code::ProviderNotConfigured,
    Code::RateLimited,
    Code::ConcurrencyLimited,
    Code::UpstreamError,
    Code::Unavailable,
    Code::UpstreamTimeout,
];

/// Every base with what is mounted below it: the root twice, then the bases of the wire format.
pub(super) fn mounted(base_paths: &[String]) -> impl Iterator<Item = (&str, &'static [Endpoint])> {
    let bases = base_paths.iter().map(String::as_str).flat_map(|base| {
        let usage = if base == OPENROUTER { ridges_routes::SIDECAR } else { SPENT };
        [(base, BASED), (base, usage)]
    });
    [("", ROOT), ("", ridges_routes::ENDPOINTS)].into_iter().chain(bases)
}

/// A handler of model calls to an endpoint.
macro_rules! calls {
    ($endpoint:ident) => {
        web::to(|request, payload, plane| {
            inference::serve(request, payload, plane, &inference::$endpoint)
        })
    };
}

static ROOT: &[Endpoint] = &[
    Endpoint {
        method: Method::GetOrHead,
        path: "/healthz",
        to: |_| web::to(health::alive),
        spec: Spec {
            id: "healthz",
            summary: "Whether the process lives",
            credential: false,
            answers: &[Answer::json("It lives.", of::<Health>)],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::GetOrHead,
        path: "/readyz",
        to: |_| web::to(health::ready),
        spec: Spec {
            id: "readyz",
            summary: "Whether calls can be admitted",
            credential: false,
            answers: &[Answer::json("They can.", of::<Health>)],
            errors: &[Code::Unavailable],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/agents/inference",
        to: |_| calls!(AGENTS_INFERENCE),
        spec: Spec {
            id: "agentsInference",
            summary: "A chat completion of the run that the body names",
            ..CALL
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/agents/embedding",
        to: |_| calls!(AGENTS_EMBEDDING),
        spec: Spec {
            id: "agentsEmbedding",
            summary: "Embeddings for the run that the body names",
            about: "As `/v1/embeddings`, answered in a shape of its own.",
            body: Some(Body {
                required: true,
                schema: formats::embedding_request,
                example: formats::embedding_example,
            }),
            answers: &[formats::VECTORS],
            ..CALL
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/agents/usage",
        to: |_| web::to(usage::of_caller),
        spec: Spec { id: "agentsUsage", ..USAGE },
    },
    Endpoint {
        method: Method::Get,
        path: "/openapi.json",
        to: |_| web::to(document::serve),
        spec: Spec {
            id: "openapi",
            summary: "This document",
            credential: false,
            answers: &[Answer::json("An OpenAPI 3.1 document.", |_| json!({"type": "object"}))],
            ..Spec::NEW
        },
    },
];

static BASED: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/chat/completions",
        to: |base| match base {
            ALWAYS_SHOWS_USAGE => calls!(CHAT_WITH_USAGE),
            OPENROUTER => calls!(CHAT_WITH_COST),
            _ => calls!(CHAT),
        },
        spec: Spec { id: "createChatCompletion", summary: "A chat completion", ..CALL },
    },
    Endpoint {
        method: Method::Post,
        path: "/embeddings",
        to: |_| calls!(EMBEDDINGS),
        spec: Spec {
            id: "createEmbedding",
            summary: "Embeddings",
            body: Some(Body {
                required: true,
                schema: formats::embedding_request,
                example: formats::embedding_example,
            }),
            answers: &[formats::EMBEDDINGS],
            ..CALL
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/messages",
        to: |_| calls!(MESSAGES),
        spec: Spec {
            id: "createMessage",
            summary: "A message of Anthropic's format",
            about: "Where another provider serves the model, the request and its answer are \
                    translated; what that provider's format cannot say is refused by name. Errors \
                    have Anthropic's shape.",
            body: Some(Body {
                required: true,
                schema: formats::messages_request,
                example: formats::messages_example,
            }),
            answers: &[formats::MESSAGE],
            ..CALL
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/messages/count_tokens",
        to: |_| web::to(count::serve),
        spec: Spec {
            id: "countMessageTokens",
            summary: "How many tokens the input of a message has",
            about: "Costs nothing and is no call; the run must be one that could make it. Where \
                    Anthropic serves the model, it counts. Elsewhere the gateway does, with the \
                    model's vocabulary or, where none is known, by bytes, and answers the most \
                    that the input can be. Errors have Anthropic's shape.",
            body: Some(Body {
                required: true,
                schema: formats::count_request,
                example: formats::count_example,
            }),
            answers: &[formats::TOKEN_COUNT],
            errors: OF_COUNT,
            ..CALL
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/responses",
        to: |_| calls!(RESPONSES),
        spec: Spec {
            id: "createResponse",
            summary: "A response of OpenAI's format",
            about: "Nothing is stored, and nothing stored is referred to. Where a provider serves \
                    only chat completions, the request and its answer are translated.",
            body: Some(Body {
                required: true,
                schema: formats::responses_request,
                example: formats::responses_example,
            }),
            answers: &[formats::RESPONSE],
            ..CALL
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/models",
        to: |_| web::to(models::list),
        spec: Spec {
            id: "listModels",
            summary: "The models that the run may use",
            query: &[RUN_ID],
            answers: &[Answer::json("The models.", of::<models::List<'static>>)],
            errors: OF_RUN,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/models/{model:.+}",
        to: |_| web::to(models::one),
        spec: Spec {
            id: "retrieveModel",
            summary: "One model that the run may use",
            query: &[RUN_ID],
            answers: &[Answer::json("The model.", of::<models::Entry<'static>>)],
            errors: OF_MODEL,
            ..Spec::NEW
        },
    },
];

static SPENT: &[Endpoint] = &[Endpoint {
    method: Method::Get,
    path: "/usage",
    to: |_| web::to(usage::of_caller),
    spec: Spec { id: "usage", ..USAGE },
}];

const USAGE: Spec = Spec {
    summary: "What the run has spent, or the key that names none",
    about: "A call that has just been answered may be seen a moment later.",
    query: &[RUN_ID],
    answers: &[Answer::json("Its usage.", of::<usage::SpentView>)],
    errors: OF_RUN,
    ..Spec::NEW
};

const CALL: Spec = Spec {
    about: "The most that the call can cost is reserved, the body is written anew for the \
            provider, and the answer is the provider's. Fields that are not in the schema are \
            refused, at every level. Bodies may be sent with `content-encoding` gzip or zstd.",
    query: &[RUN_ID],
    body: Some(Body { required: true, schema: chat_request, example: chat_example }),
    answers: &[Answer {
        status: 200,
        about: "The provider's answer; with `stream: true` as server-sent events.",
        headers: CALL_HEADERS,
        content: [
            Some(Content {
                kind: "application/json",
                schema: chat_completion,
                example: Some(completion_example),
            }),
            Some(Content {
                kind: EVENT_STREAM,
                schema: |_| json!({"type": "string"}),
                example: Some(stream_example),
            }),
        ],
    }],
    errors: OF_CALL,
    model_call: true,
    ..Spec::NEW
};

/// As the table of fields says it.
fn chat_request(schemas: &mut SchemaGenerator) -> Value {
    schemas.definitions_mut().extend(schema::schemas(&TABLE, SCHEMAS));
    json!({"$ref": format!("{SCHEMAS}{}", TABLE.name)})
}

/// What every provider's answer has; the rest is each one's own.
fn chat_completion(schemas: &mut SchemaGenerator) -> Value {
    const NAME: &str = "ChatCompletion";
    let tokens = json!({"type": "integer", "minimum": 0});
    let usage = json!({"type": ["object", "null"], "properties": {
        "prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens,
    }});
    let completion = json!({
        "type": "object",
        "description": "OpenAI's chat completion, as the provider wrote it.",
        "required": ["choices"],
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": {"type": "array", "items": {"type": "object"}},
            "usage": usage,
        },
    });
    schemas.definitions_mut().insert(NAME.to_owned(), completion);
    json!({"$ref": format!("{SCHEMAS}{NAME}")})
}

fn chat_example() -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": "gpt-4o-mini", "messages": messages, "max_tokens": 100})
}

fn completion_example() -> Value {
    let message = json!({"role": "assistant", "content": "Hello! What can I do for you?"});
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 17},
    })
}

fn stream_example() -> Value {
    let delta = json!({"index": 0, "delta": {"content": "Hello"}, "finish_reason": null});
    let chunk = json!({"object": "chat.completion.chunk", "choices": [delta]});
    format!("data: {chunk}\n\ndata: [DONE]\n\n").into()
}
