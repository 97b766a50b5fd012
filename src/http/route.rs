//! An endpoint: where it is mounted, and what the plane's document says of it. Both come from here,
//! so that neither has what the other has not.

use actix_web::{Route, guard, web};
use schemars::SchemaGenerator;
use serde_json::Value;

use crate::domain::fault::Code;
use crate::domain::organization::Role;
use crate::protocol::format::Format;
use crate::protocol::style::Style;

/// One endpoint.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// Its path behind the base, as actix-web reads it.
    pub(super) path: &'static str,
    /// Its handler, which may be another one on another base.
    pub(super) to: fn(&str) -> Route,
    pub(super) spec: Spec,
}

/// By which methods it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// HEAD is answered as GET is, without the body.
    GetOrHead,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As the document names them.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["get"],
            Self::GetOrHead => &["get", "head"],
            Self::Post => &["post"],
            Self::Put => &["put"],
            Self::Patch => &["patch"],
            Self::Delete => &["delete"],
        }
    }

    fn guard(self, route: Route) -> Route {
        match self {
            Self::Get => route.guard(guard::Get()),
            Self::GetOrHead => route.guard(guard::Any(guard::Get()).or(guard::Head())),
            Self::Post => route.guard(guard::Post()),
            Self::Put => route.guard(guard::Put()),
            Self::Patch => route.guard(guard::Patch()),
            Self::Delete => route.guard(guard::Delete()),
        }
    }
}

/// What somebody must be allowed to, on the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Whatever the operator alone does.
    Operator,
    /// Runs: the operator's are all, an orchestrator key's those of its organization.
    Runs,
    /// To look at the organization of the path.
    Read,
    /// To change what is that organization's, but for its members.
    Manage,
    /// To change its members.
    Own,
}

impl Right {
    /// The ways to show a credential that may have it.
    pub(super) const fn ways(self) -> &'static [&'static str] {
        match self {
            Self::Operator => &["operator"],
            Self::Runs => &["operator", "orchestrator"],
            Self::Read | Self::Manage | Self::Own => &["operator", "member"],
        }
    }

    /// Which members have it.
    pub(super) const fn roles(self) -> &'static [Role] {
        match self {
            Self::Operator | Self::Runs => &[],
            Self::Read => &[Role::Owner, Role::Admin, Role::Viewer],
            Self::Manage => &[Role::Owner, Role::Admin],
            Self::Own => &[Role::Owner],
        }
    }
}

/// What the document says of an endpoint.
pub(super) struct Spec {
    /// Its name, for generated clients.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    /// Whether it asks who is there.
    pub(super) credential: bool,
    /// What its credential must allow, on the control plane.
    pub(super) needs: Right,
    pub(super) query: &'static [Param],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Answer],
    /// What it refuses, beside what follows from the members above.
    pub(super) errors: &'static [Code],
    /// Whether a provider is asked, whose own verdict on the request may be the answer.
    pub(super) model_call: bool,
    /// How its refusals are told.
    pub(super) style: Style,
}

impl Spec {
    /// An endpoint that shows something to whoever has a credential.
    pub(super) const NEW: Self = Self {
        id: "",
        summary: "",
        about: "",
        credential: true,
        needs: Right::Operator,
        query: &[],
        body: None,
        answers: &[],
        errors: &[],
        model_call: false,
        style: Style::Of(Format::Chat),
    };
}

/// A member of a query.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: fn() -> Value,
}

/// A body that is read.
pub(super) struct Body {
    pub(super) required: bool,
    pub(super) schema: SchemaOf,
    pub(super) example: fn() -> Value,
}

/// An answer that is no refusal.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    /// Its headers, beside those that every answer has.
    pub(super) headers: &'static [&'static str],
    /// Its form, and another one that may be asked for.
    pub(super) content: [Option<Content>; 2],
}

/// One form of an answer.
pub(super) struct Content {
    pub(super) kind: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) example: Option<fn() -> Value>,
}

impl Answer {
    /// A 200 with JSON of this schema.
    pub(super) const fn json(about: &'static str, schema: SchemaOf) -> Self {
        Self { status: 200, about, headers: &[], content: [Some(Content::json(schema)), None] }
    }
}

impl Content {
    /// JSON of this schema.
    pub(super) const fn json(schema: SchemaOf) -> Self {
        Self { kind: "application/json", schema, example: None }
    }
}

/// Writes a schema, and the schemas that it refers to into the document.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Value;

/// The schema of what a type is serialised to.
pub(super) fn of<T: schemars::JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

/// Mounts endpoints below a base.
pub(super) fn mount(config: &mut web::ServiceConfig, base: &str, endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        let route = endpoint.method.guard((endpoint.to)(base));
        config.route(&format!("{base}{}", endpoint.path), route);
    }
}
