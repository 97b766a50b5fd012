//! The endpoints of the control plane.

use actix_web::web;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::domain::fault::Code;
use crate::http::data::health::Health;
use crate::http::openapi::SCHEMAS;
use crate::http::route::{Answer, Body, Content, Endpoint, Method, Right, Spec, of};
use crate::http::usage_view::UsageView;

use super::view::{CallView, ListView, RunView};
use super::{
    calls, change, csv, members, models, organizations, paging, provider_routes, register, runs,
    totals, usage,
};

const LEDGER: &[Code] = &[Code::Unavailable];
const OF_RUN: &[Code] = &[Code::InvalidRunId, Code::RunNotFound, Code::Unavailable];

/// Every list of endpoints of this plane.
pub(super) fn mounted() -> impl Iterator<Item = &'static [Endpoint]> {
    [ALL, provider_routes::ALL].into_iter().chain(organizations::ALL)
}

/// The endpoints of runs, and those that every gateway has.
static ALL: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/runs",
        to: |_| web::to(runs::create),
        spec: Spec {
            id: "createRuns",
            needs: Right::Runs,
            summary: "Register a run, or an array of runs: all or none",
            about: "The same body with the same id again is the same run.",
            body: Some(Body { required: true, schema: registration, example: run_example }),
            answers: &[
                Answer {
                    status: 201,
                    ..json("What was asked for; new runs show their token.", opened)
                },
                json("Every one of them was registered before.", opened),
            ],
            errors: &[Code::InvalidRunId, Code::InvalidModel, Code::RunConflict, Code::Unavailable],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/runs",
        to: |_| web::to(runs::list),
        spec: Spec {
            id: "listRuns",
            needs: Right::Runs,
            summary: "Runs with their usage, in the order of their registration",
            query: runs::LIST_QUERY,
            answers: &[json("A page of runs.", of::<ListView<RunView>>)],
            errors: LEDGER,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/runs/{id}",
        to: |_| web::to(runs::show),
        spec: Spec {
            id: "showRun",
            needs: Right::Runs,
            summary: "A run with its usage",
            answers: &[json("The run.", of::<RunView>)],
            errors: &[
                Code::InvalidRequest,
                Code::InvalidRunId,
                Code::RunNotFound,
                Code::Unavailable,
            ],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Patch,
        path: "/runs/{id}",
        to: |_| web::to(runs::patch),
        spec: Spec {
            id: "changeRun",
            needs: Right::Runs,
            summary: "Change a run",
            about: "A state that the run has passed changes nothing. Once this is answered, \
                    nothing is admitted on what was before.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "RunPatch", change::PATCH_FIELDS),
                example: || json!({"status": "running", "cost_limit_usd": "0.50"}),
            }),
            answers: &[json("The run as it is now.", of::<RunView>)],
            errors: &[
                Code::InvalidRunId,
                Code::RunNotFound,
                Code::LimitBelowSpent,
                Code::Unavailable,
            ],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/runs/{id}/close",
        to: |_| web::to(runs::close),
        spec: Spec {
            id: "closeRun",
            needs: Right::Runs,
            summary: "End a run's spending, and get the bill",
            about: "From its answer on nothing is admitted. A second close answers the same bill.",
            body: Some(Body {
                required: false,
                schema: |schemas| object(schemas, "RunClose", change::CLOSE_FIELDS),
                example: || json!({"mode": "drain", "wait_seconds": 60}),
            }),
            answers: &[
                json("The final bill.", of::<UsageView>),
                Answer {
                    status: 202,
                    ..json("The wait lapsed; calls are still under way.", of::<UsageView>)
                },
            ],
            errors: TO_A_STATE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/runs/{id}/attempts",
        to: |_| web::to(runs::open_attempt),
        spec: Spec {
            id: "openAttempt",
            needs: Right::Runs,
            summary: "Open the next attempt",
            about: "It has a new token; the old one is dead. The budget stays.",
            body: Some(Body {
                required: false,
                schema: |schemas| object(schemas, "NewAttempt", change::ATTEMPT_FIELDS),
                example: || json!({"status": "running"}),
            }),
            answers: &[Answer { status: 201, ..json("The run, with its token.", of::<RunView>) }],
            errors: TO_A_STATE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/runs/{id}/token",
        to: |_| web::to(runs::rotate_token),
        spec: Spec {
            id: "rotateToken",
            needs: Right::Runs,
            summary: "Replace the token of the current attempt",
            body: nothing(),
            answers: &[json("The run, with its token.", of::<RunView>)],
            errors: OF_RUN,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/runs/{id}/usage",
        to: |_| web::to(runs::usage),
        spec: Spec {
            id: "runUsage",
            needs: Right::Runs,
            summary: "What a run has used",
            query: runs::USAGE_QUERY,
            answers: &[json("Its usage, `provisional` if the wait lapsed.", of::<UsageView>)],
            errors: OF_RUN,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/runs/{id}/calls",
        to: |_| web::to(calls::list),
        spec: Spec {
            id: "runCalls",
            needs: Right::Runs,
            summary: "The ended calls of a run, in the order of their admission",
            about: "With `accept: application/x-ndjson` all of them, a row on each line, or as \
                    many as `limit` says. Should the rows break off, an `error` is the last line, \
                    and the answer is cut instead of ended.",
            query: paging::PAGE,
            answers: &[Answer {
                content: [
                    Some(Content::json(of::<ListView<CallView>>)),
                    Some(Content {
                        kind: calls::LINES,
                        schema: |_| json!({"type": "string"}),
                        example: None,
                    }),
                ],
                ..json("The calls.", of::<ListView<CallView>>)
            }],
            errors: OF_RUN,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/models",
        to: |_| web::to(models::list),
        spec: Spec {
            id: "listModels",
            summary: "The catalogue, with prices",
            query: models::QUERY,
            answers: &[json("Every model at every provider.", of::<models::CatalogueView>)],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/usage",
        to: |_| web::to(totals::usage),
        spec: Spec {
            id: "usage",
            summary: "What all runs have used over a time",
            about: "Sums over ended calls, by the time of their admission; calls that bought \
                    nothing are left out. What has just ended is seen a moment later.",
            query: totals::QUERY,
            answers: &[json("The sums.", of::<totals::TotalsView>)],
            errors: LEDGER,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/inference/usage",
        to: |_| web::to(usage::show),
        spec: Spec {
            id: "organizationUsage",
            needs: Right::Read,
            summary: "What an organization has used over a time",
            about: "Sums over its ended calls, by the time of their admission; calls that bought \
                    nothing are left out. What has just ended is seen a moment later. With \
                    `accept: text/csv` all rows, or as many as `limit` says.",
            query: usage::QUERY,
            answers: &[Answer {
                content: [
                    Some(Content::json(of::<usage::OrganizationUsageView>)),
                    Some(Content {
                        kind: csv::KIND,
                        schema: |_| json!({"type": "string"}),
                        example: None,
                    }),
                ],
                ..json("The sums.", of::<usage::OrganizationUsageView>)
            }],
            errors: &[Code::InvalidRequest, Code::NotFound, Code::Unavailable],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/metrics",
        to: |_| web::to(super::metrics),
        spec: Spec {
            id: "metrics",
            summary: "Counts and times for Prometheus",
            answers: &[Answer {
                content: [
                    Some(Content {
                        kind: super::METRICS,
                        schema: |_| json!({"type": "string"}),
                        example: None,
                    }),
                    None,
                ],
                ..json("Prometheus text.", of::<Health>)
            }],
            ..Spec::NEW
        },
    },
    // These two ask for no token: a load balancer has none, and they tell nothing.
    Endpoint {
        method: Method::GetOrHead,
        path: "/healthz",
        to: |_| web::to(super::healthz),
        spec: Spec {
            id: "healthz",
            summary: "Whether the process lives",
            credential: false,
            answers: &[json("It lives.", of::<Health>)],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::GetOrHead,
        path: "/readyz",
        to: |_| web::to(super::readyz),
        spec: Spec {
            id: "readyz",
            summary: "Whether calls can be admitted",
            credential: false,
            answers: &[json("They can.", of::<Health>)],
            errors: LEDGER,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/openapi.json",
        to: |_| web::to(super::openapi),
        spec: Spec {
            id: "openapi",
            summary: "This document",
            answers: &[json("An OpenAPI 3.1 document.", |_| json!({"type": "object"}))],
            ..Spec::NEW
        },
    },
];

const TO_A_STATE: &[Code] =
    &[Code::InvalidRunId, Code::RunNotFound, Code::InvalidTransition, Code::Unavailable];

/// Nothing that this plane answers may be kept.
pub(super) const fn json(about: &'static str, schema: crate::http::route::SchemaOf) -> Answer {
    Answer { headers: &["cache-control"], ..Answer::json(about, schema) }
}

/// A body that has nothing to say, and may be missing.
pub(super) const fn nothing() -> Option<Body> {
    Some(Body {
        required: false,
        schema: |schemas| object(schemas, "Nothing", &[]),
        example: || json!({}),
    })
}

pub(super) fn object(
    schemas: &mut SchemaGenerator,
    name: &str,
    members: &[members::Member],
) -> Value {
    schemas.definitions_mut().insert(name.to_owned(), members::schema(members));
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

fn registration(schemas: &mut SchemaGenerator) -> Value {
    let one = object(schemas, "Registration", register::FIELDS);
    json!({"anyOf": [one, {"type": "array", "items": one, "maxItems": register::MAX_RUNS}]})
}

fn opened(schemas: &mut SchemaGenerator) -> Value {
    let one = of::<RunView>(schemas);
    json!({"anyOf": [one, {"type": "array", "items": one}]})
}

fn run_example() -> Value {
    let metadata = json!({"task": "demo"});
    json!({"cost_limit_usd": "0.25", "status": "running", "metadata": metadata})
}
