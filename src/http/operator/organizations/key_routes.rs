//! The endpoints of an organization's keys.

use actix_web::web;
use serde_json::json;

use crate::domain::fault::Code;
use crate::domain::organization::KeyStatus;
use crate::http::operator::paging;
use crate::http::operator::routes::{json, nothing, object};
use crate::http::operator::view::ListView;
use crate::http::route::{Answer, Body, Endpoint, Method, Right, Spec, of};

use super::key_terms;
use super::keys::{self, KeyView, MintedView};
use super::orchestrators;

const OF_KEY: &[Code] = &[Code::NotFound, Code::InvalidTransition];

/// Every endpoint.
pub(super) static ALL: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/inference/keys",
        to: |_| web::to(keys::mint),
        spec: Spec {
            id: "mintKey",
            needs: Right::Manage,
            summary: "Make an inference key",
            about: "Its secret is shown once; only its SHA-256 is kept.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "NewInferenceKey", key_terms::NEW_FIELDS),
                example: || {
                    json!({
                        "name": "checkout-service",
                        "monthly_token_limit": 1_000_000,
                        "rate_limit_rpm": 60,
                    })
                },
            }),
            answers: &[Answer { status: 201, ..json("The key.", of::<MintedView>) }],
            errors: &[Code::InvalidModel, Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/inference/keys",
        to: |_| web::to(keys::list),
        spec: Spec {
            id: "listKeys",
            needs: Right::Read,
            summary: "Inference keys in the order in which they were made",
            query: paging::PAGE,
            answers: &[json("A page of keys.", of::<ListView<KeyView>>)],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/inference/keys/{key}",
        to: |_| web::to(keys::show),
        spec: Spec {
            id: "showKey",
            needs: Right::Read,
            summary: "An inference key, and what it has used",
            answers: &[json("The key.", of::<KeyView>)],
            errors: &[Code::InvalidRequest, Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Patch,
        path: "/organizations/{org}/inference/keys/{key}",
        to: |_| web::to(keys::patch),
        spec: Spec {
            id: "changeKey",
            needs: Right::Manage,
            summary: "Change what an inference key allows and may spend",
            about: "What is left out stays. `null` takes a limit away; one that was not there \
                    counts what is spent from now on. Once this is answered no call is admitted on \
                    what the key was before.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "KeyChange", key_terms::PATCH_FIELDS),
                example: || json!({"rate_limit_rpm": 30, "daily_token_limit": null}),
            }),
            answers: &[json("The key as it is now.", of::<KeyView>)],
            errors: &[
                Code::InvalidModel,
                Code::Forbidden,
                Code::NotFound,
                Code::InvalidTransition,
                Code::Conflict,
            ],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Delete,
        path: "/organizations/{org}/inference/keys/{key}",
        to: |_| web::to(async |a, b, c| keys::set_status(a, b, c, KeyStatus::Revoked).await),
        spec: Spec {
            id: "revokeKey",
            needs: Right::Manage,
            summary: "Revoke an inference key for good",
            about: "Once this is answered it is good nowhere. The key is still shown.",
            body: nothing(),
            answers: &[json("The key as it is now.", of::<KeyView>)],
            errors: OF_KEY,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/inference/keys/{key}/suspend",
        to: |_| web::to(async |a, b, c| keys::set_status(a, b, c, KeyStatus::Suspended).await),
        spec: Spec {
            id: "suspendKey",
            needs: Right::Manage,
            summary: "Suspend an inference key",
            body: nothing(),
            answers: &[json("The key as it is now.", of::<KeyView>)],
            errors: OF_KEY,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/inference/keys/{key}/resume",
        to: |_| web::to(async |a, b, c| keys::set_status(a, b, c, KeyStatus::Active).await),
        spec: Spec {
            id: "resumeKey",
            needs: Right::Manage,
            summary: "Resume a suspended inference key",
            body: nothing(),
            answers: &[json("The key as it is now.", of::<KeyView>)],
            errors: OF_KEY,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/inference/keys/{key}/rotate",
        to: |_| web::to(keys::rotate),
        spec: Spec {
            id: "rotateKey",
            needs: Right::Manage,
            summary: "Replace the secret of an inference key",
            about: "The old one is dead; what was spent stays spent.",
            body: nothing(),
            answers: &[json("The key with its new secret.", of::<MintedView>)],
            errors: OF_KEY,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/orchestrator-keys",
        to: |_| web::to(orchestrators::mint),
        spec: Spec {
            id: "mintOrchestratorKey",
            needs: Right::Manage,
            summary: "Make a key for the runs of an organization",
            about: "Its secret is shown once; only its SHA-256 is kept.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "NewOrchestratorKey", orchestrators::NEW_FIELDS),
                example: || json!({"name": "nightly"}),
            }),
            answers: &[Answer { status: 201, ..json("The key.", of::<orchestrators::MintedView>) }],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/orchestrator-keys",
        to: |_| web::to(orchestrators::list),
        spec: Spec {
            id: "listOrchestratorKeys",
            needs: Right::Read,
            summary: "Orchestrator keys in the order in which they were made",
            query: paging::PAGE,
            answers: &[json("A page of keys.", of::<ListView<orchestrators::KeyView>>)],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Delete,
        path: "/organizations/{org}/orchestrator-keys/{key}",
        to: |_| web::to(orchestrators::revoke),
        spec: Spec {
            id: "revokeOrchestratorKey",
            needs: Right::Manage,
            summary: "Revoke an orchestrator key for good",
            body: nothing(),
            answers: &[json("The key as it is now.", of::<orchestrators::KeyView>)],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
];
