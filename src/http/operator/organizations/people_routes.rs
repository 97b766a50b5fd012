//! The endpoints of an organization's members.

use actix_web::web;
use serde_json::json;

use crate::domain::fault::Code;
use crate::http::operator::paging;
use crate::http::operator::routes::{json, nothing, object};
use crate::http::operator::view::ListView;
use crate::http::route::{Answer, Body, Endpoint, Method, Right, Spec, of};

use super::people::{self, MemberView};

/// Every endpoint.
pub(super) static ALL: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/organizations/{org}/members",
        to: |_| web::to(people::add),
        spec: Spec {
            id: "addMember",
            needs: Right::Own,
            summary: "Add a member, who signs in with a name and a password",
            about: "Names are the organization's own. He signs in by basic authentication, for \
                    what is below `/organizations/{org}` alone.",
            body: Some(Body {
                required: true,
                schema: |schemas| object(schemas, "NewMember", people::NEW_FIELDS),
                example: || json!({"name": "ada", "password": "PASSWORD-OF-ADA", "role": "admin"}),
            }),
            answers: &[Answer { status: 201, ..json("The member.", of::<MemberView>) }],
            errors: &[Code::NotFound, Code::Conflict],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Get,
        path: "/organizations/{org}/members",
        to: |_| web::to(people::list),
        spec: Spec {
            id: "listMembers",
            needs: Right::Own,
            summary: "Members by their names",
            query: paging::PAGE,
            answers: &[json("A page of members.", of::<ListView<MemberView>>)],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
    Endpoint {
        method: Method::Delete,
        path: "/organizations/{org}/members/{name}",
        to: |_| web::to(people::remove),
        spec: Spec {
            id: "removeMember",
            needs: Right::Own,
            summary: "Take a member out",
            about: "Once this is answered his password is good for nothing.",
            body: nothing(),
            answers: &[json("Who he was.", of::<MemberView>)],
            errors: &[Code::NotFound],
            ..Spec::NEW
        },
    },
];
