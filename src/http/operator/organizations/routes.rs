//! The endpoints of organizations, their settings and their credits.

use actix_web::web;
use serde_json::json;

use crate::domain::fault::Code;
use crate::http::operator::paging;
use crate::http::operator::routes::{json, object};
use crate::http::operator::view::ListView;
use crate::http::route::{Answer, Body, Endpoint, Method, Right, Spec, of};

use super::changes::{self, ChangeView};
use super::credits::{self, BookedView, CreditsView};
use super::settings::{self, OrganizationView, SettingsView};

const OF_ONE: &[Code] = &[Code::InvalidRequest, Code::NotFound];

/// Every endpoint.
pub(super) static ALL: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/organizations",
        to: |_| web::to(settings::create),
        spec: Spec {
            id: "createOrganization",
            summary: "Make an organization",
            about: "Until its settings are put it admits no call.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "NewOrganization", settings::NEW_FIELDS),
                example: || json!({"name": "vision-lab"}),
            }),
            answers: &[Answer { status: 201, ..json("It is made.", of::<OrganizationView>) }],
            errors: &[Code::Conflict],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations",
        to: |_| web::to(settings::list),
        spec: Spec {
            id: "listOrganizations",
            summary: "Organizations in the order of their ids",
            query: paging::PAGE,
            answers: &[json("A page of them.", of::<ListView<OrganizationView>>)],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}",
        to: |_| web::to(settings::show),
        spec: Spec {
            id: "showOrganization",
            needs: Right::Read,
            summary: "An organization",
            about: "`default` stands for the default organization, here and below.",
            answers: &[json("The organization.", of::<OrganizationView>)],
            errors: OF_ONE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/inference/settings",
        to: |_| web::to(settings::settings),
        spec: Spec {
            id: "showSettings",
            needs: Right::Read,
            summary: "What an organization has set, and where its month stands",
            answers: &[json("The settings.", of::<SettingsView>)],
            errors: OF_ONE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Put,
        path: "/organizations/{org}/inference/settings",
        to: |_| web::to(settings::put_settings),
        spec: Spec {
            id: "putSettings",
            needs: Right::Manage,
            summary: "Change settings, the monthly limit, the cost circuit",
            about: "What is left out stays as it is. Once this is answered nothing is admitted \
                    on the old limit.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "SettingsPut", settings::SETTINGS_FIELDS),
                example: || json!({"monthly_cost_limit_cents": 5000, "eu_only": false}),
            }),
            answers: &[json("The settings as they are now.", of::<SettingsView>)],
            errors: OF_ONE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/credits",
        to: |_| web::to(credits::show),
        spec: Spec {
            id: "showCredits",
            needs: Right::Read,
            summary: "What is left of prepaid credits, and every transaction, the newest first",
            query: paging::PAGE,
            answers: &[json("The credits.", of::<CreditsView>)],
            errors: OF_ONE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/credits",
        to: |_| web::to(credits::add),
        spec: Spec {
            id: "addCredit",
            summary: "Put credits in",
            about: "From the first credit on the organization pays in advance: what its credits \
                    cannot afford is refused.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "NewCredit", credits::NEW_FIELDS),
                example: || json!({"kind": "grant", "amount_usd": "20", "note": "trial"}),
            }),
            answers: &[
                Answer { status: 201, ..json("It is booked.", of::<BookedView>) },
                json("It was booked before.", of::<BookedView>),
            ],
            errors: &[Code::NotFound, Code::Conflict],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/audit",
        to: |_| web::to(changes::of_one),
        spec: Spec {
            id: "organizationAudit",
            needs: Right::Manage,
            summary: "Who changed what in an organization, the newest first",
            query: paging::PAGE,
            answers: &[json("A page of changes.", of::<ListView<ChangeView>>)],
            errors: OF_ONE,
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/audit",
        to: |_| web::to(changes::of_all),
        spec: Spec {
            id: "audit",
            summary: "Who changed what, the newest first",
            query: paging::PAGE,
            answers: &[json("A page of changes.", of::<ListView<ChangeView>>)],
            ..Spec::NEW
        },
    },
];
