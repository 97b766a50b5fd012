//! The endpoints of organizations' providers.

use actix_web::web;
use serde_json::json;

use crate::domain::fault::Code;
use crate::http::route::{Body, Endpoint, Method, Right, Spec, of};

use super::providers::{self, GoneView, ProviderView};
use super::routes::{json, object};
use super::view::ListView;

const OF_ORGANIZATION: &[Code] = &[Code::InvalidRequest, Code::NotFound, Code::Unavailable];

/// Every endpoint.
pub(super) static ALL: &[Endpoint] = &[
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/inference/providers",
        to: |_| web::to(providers::list),
        spec: Spec {
            id: "listProviders",
            needs: Right::Read,
            summary: "The providers that an organization has configured",
            about: "Never their keys.",
            answers: &[json("All of them, by their names.", of::<ListView<ProviderView>>)],
            errors: OF_ORGANIZATION,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Put,
        path: "/organizations/{org}/inference/providers",
        to: |_| web::to(providers::put),
        spec: Spec {
            id: "putProvider",
            needs: Right::Manage,
            summary: "Configure a provider of an organization",
            about: "What is left out stays as it is, the key too; but with another base_url the \
                    key must be sent again, and eu_endpoint is false unless it is sent again. Once \
                    this is answered the gateway that answered calls as it says; others do so a \
                    moment later.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "ProviderPut", providers::FIELDS),
                example: || json!({"provider": "openai", "api_key": "KEY", "enabled": true}),
            }),
            answers: &[json("The configuration as it is now.", of::<ProviderView>)],
            errors: &[Code::NotFound, Code::ProviderNotConfigured, Code::Unavailable],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Delete,
        path: "/organizations/{org}/inference/providers/{provider}",
        to: |_| web::to(providers::delete),
        spec: Spec {
            id: "deleteProvider",
            needs: Right::Manage,
            summary: "Take a provider and its key away from an organization",
            answers: &[json("It is gone.", of::<GoneView>)],
            errors: OF_ORGANIZATION,
            ..Spec::NEW
        },
    },
];
