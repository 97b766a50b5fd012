//! Members: the people of an organization, who sign in with a name and a password.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::fault::Fault;
use crate::domain::organization::Role;
use crate::http::operator::change::read_nothing;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::fields::Fields;
use crate::http::operator::members::{Kind, not_null};
use crate::http::operator::view::ListView;
use crate::http::operator::{Operator, members, paging};
use crate::http::route::Right;
use crate::http::usage_view::instant;
use crate::ledger::members::Member;
use crate::protocol::schema::InstantText;

use super::MAX_NAME_BYTES;

/// What a cursor begins with.
const CURSOR: &str = "name:";
/// Fewest characters of a password.
const MIN_PASSWORD: usize = 12;
/// Most bytes of a password.
const MAX_PASSWORD_BYTES: usize = 1 << 10;
const ROLES: [&str; 3] = [Role::Owner.as_str(), Role::Admin.as_str(), Role::Viewer.as_str()];

/// The members of a body that adds one.
pub(super) static NEW_FIELDS: &[members::Member] = &[
    members::Member {
        required: true,
        ..not_null(
            "name",
            Kind::SignIn(MAX_NAME_BYTES),
            "What he signs in with: letters, digits and any of `. _ @ + -`.",
        )
    },
    members::Member {
        required: true,
        ..not_null(
            "password",
            Kind::Password(MIN_PASSWORD, MAX_PASSWORD_BYTES),
            "At least 12 characters; kept as a hash (argon2id).",
        )
    },
    members::Member {
        required: true,
        ..not_null(
            "role",
            Kind::Word(&ROLES),
            "`owner`: everything; `admin`: everything but members; `viewer`: look.",
        )
    },
];

/// A member.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Member")]
pub(super) struct MemberView {
    name: String,
    role: Role,
    #[schemars(with = "InstantText")]
    created_at: String,
}

impl MemberView {
    fn of(member: Member) -> Self {
        let Member { name, role, created_at, .. } = member;
        Self { name, role, created_at: instant(created_at) }
    }
}

fn read_new(body: &str) -> Result<(String, Role, Zeroizing<String>), Fault> {
    let fields = Fields::read(body, NEW_FIELDS, String::new())?;
    let name = fields.label("name", MAX_NAME_BYTES)?;
    let name = fields.required("name", name)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    if !name.chars().all(plain) {
        return Err(fields.wrong("name", "may hold letters, digits and any of . _ @ + -"));
    }
    let password = fields.storable("password", MAX_PASSWORD_BYTES)?.map(Zeroizing::new);
    let password = fields.required("password", password)?;
    if password.chars().count() < MIN_PASSWORD {
        let says = format!("must have at least {MIN_PASSWORD} characters");
        return Err(fields.wrong("password", says));
    }
    let role = fields.text("role")?;
    let role = fields.required("role", role)?;
    let role = Role::parse(&role);
    let says = || fields.wrong("role", "must be \"owner\", \"admin\" or \"viewer\"");
    Ok((name, role.ok_or_else(says)?, password))
}

/// `POST /organizations/{org}/members`
pub(super) async fn add(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Own).await?;
        let (name, role, password) = read_new(body.text()?)?;
        let organization = exchange.organization()?;
        let gateway = &exchange.operator.gateway;
        let member = gateway.add_member(organization, (name, role), password).await?;
        exchange.json(StatusCode::CREATED, &MemberView::of(member))
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/members`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Own).await?;
        let query = exchange.query(paging::PAGE)?;
        let limit = usize::try_from(paging::limit(&query, paging::DEFAULT_LIMIT)?);
        let after =
            query.get("after").map(|text| text.strip_prefix(CURSOR).ok_or_else(paging::no_cursor));
        let (limit, after) = (limit.unwrap_or(usize::MAX), after.transpose()?.unwrap_or_default());
        let found = exchange.operator.gateway.members(exchange.organization()?).await?;
        let mut rest = found.into_iter().filter(|member| member.name.as_str() > after);
        let data: Vec<_> = rest.by_ref().take(limit).map(MemberView::of).collect();
        let more = rest.next().is_some();
        let next = data.last().filter(|_| more).map(|member| format!("{CURSOR}{}", member.name));
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// `DELETE /organizations/{org}/members/{name}`
pub(super) async fn remove(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Own).await?;
        read_nothing(body.text()?)?;
        let (organization, name) = (exchange.organization()?, exchange.part("name"));
        let removed = exchange.operator.gateway.remove_member(organization, name).await?;
        exchange.json(StatusCode::OK, &MemberView::of(removed))
    };
    exchange.answer(work).await
}
