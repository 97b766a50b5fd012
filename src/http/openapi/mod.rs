//! The document of a plane (OpenAPI 3.1), written once from what is mounted.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::domain::fault::Code;

use super::respond::Manners;
use super::route::{Answer, Content, Endpoint, Param, Spec};

mod errors;
mod headers;

pub(super) use headers::{CALL_HEADERS, COUNT_HEADERS, MESSAGE_HEADERS};

/// Where schemas stand in a document.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// The type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// A plane, as its document introduces it.
pub(super) struct Plane<'a> {
    pub(super) title: &'static str,
    pub(super) about: String,
    pub(super) servers: Value,
    /// The ways to show who is there, by name.
    pub(super) security: Value,
    /// The bases, each with what is mounted below it.
    pub(super) mounted: Vec<(&'a str, &'static [Endpoint])>,
    /// Headers by which every endpoint with a credential can be told more.
    pub(super) parameters: &'static [Param],
    /// Whether each endpoint takes only those of these ways that have its right, and what else it
    /// then may refuse a credential with.
    pub(super) rights: Option<&'static [Code]>,
    /// Whether it also serves who shows nothing.
    pub(super) anonymous: bool,
    /// Headers of every refusal where a credential was asked for.
    pub(super) headers: &'static [&'static str],
    /// What each request may be refused with.
    pub(super) errors: &'static [Code],
    pub(super) manners: Manners,
}

/// The document of a plane, written when somebody first asks for it: few gateways are ever asked,
/// and writing it takes megabytes that would stay with the process.
#[derive(Clone)]
pub struct Document(Arc<Written>);

type Written = LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>;

impl Document {
    pub(super) fn new(write: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(write))))
    }

    /// Its text, JSON.
    pub fn text(&self) -> Bytes {
        Bytes::clone(&self.0)
    }
}

/// Writes the document of a plane.
pub(super) fn render(plane: &Plane<'_>) -> Bytes {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = SCHEMAS.trim_start_matches('#').into();
        settings.meta_schema = None;
    });
    let mut writer = Writer { plane, schemas: settings.into_generator() };
    let paths = writer.paths();
    errors::add_schemas(&mut writer.schemas, plane.manners);
    let document = json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": plane.title,
            "description": plane.about,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": plane.servers,
        "paths": paths,
        "components": {
            "schemas": writer.schemas.take_definitions(true),
            "headers": headers::schemas(),
            "securitySchemes": plane.security,
        },
    });
    document.to_string().into()
}

struct Writer<'a> {
    plane: &'a Plane<'a>,
    schemas: SchemaGenerator,
}

impl Writer<'_> {
    fn paths(&mut self) -> Map<String, Value> {
        let mut paths = Map::new();
        let usual = self.plane.mounted.iter().map(|(base, _)| *base).find(|base| !base.is_empty());
        for (base, endpoints) in &self.plane.mounted {
            // Names are unique: those below the root and the first other base, the usual one, are
            // the plain ones.
            let plain = base.is_empty() || Some(*base) == usual;
            let suffix = if plain { String::new() } else { base.replace('/', "_") };
            for endpoint in *endpoints {
                let path = format!("{base}{}", endpoint.path).replace(":.+}", "}");
                let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
                for method in endpoint.method.names() {
                    let head = *method == "head";
                    let mut operation = self.operation(&endpoint.spec, &path);
                    let name = if head { "Head" } else { "" };
                    let id = format!("{}{name}{suffix}", endpoint.spec.id);
                    insert(&mut operation, "operationId", id.into());
                    if head {
                        without_content(&mut operation);
                    }
                    insert(item, method, operation);
                }
            }
        }
        paths
    }

    fn operation(&mut self, spec: &Spec, path: &str) -> Value {
        let mut operation = json!({
            "summary": spec.summary,
            "parameters": self.parameters(spec, path),
            "responses": self.responses(spec),
        });
        if !spec.about.is_empty() {
            insert(&mut operation, "description", spec.about.into());
        }
        insert(&mut operation, "security", self.security(spec));
        if let Some(body) = &spec.body {
            let schema = (body.schema)(&mut self.schemas);
            let content = json!({"schema": schema, "example": (body.example)()});
            let content = json!({"application/json": content});
            let body = json!({"required": body.required, "content": content});
            insert(&mut operation, "requestBody", body);
        }
        operation
    }

    /// One of the plane's ways, unless the endpoint asks for none.
    fn security(&self, spec: &Spec) -> Value {
        let ways = self.plane.security.as_object().filter(|_| spec.credential);
        let has_right = |name: &String| {
            self.plane.rights.is_none() || spec.needs.ways().contains(&name.as_str())
        };
        let ways = ways.into_iter().flatten().map(|(name, _)| name);
        // Of a member's password it is his role that is the scope.
        let roles = || spec.needs.roles().iter().map(|role| role.as_str()).collect::<Vec<_>>();
        let ways = ways.filter(|name| has_right(name)).map(|name| match name.as_str() {
            "member" => json!({name: roles()}),
            _ => json!({name: []}),
        });
        let nothing = (spec.credential && self.plane.anonymous).then(|| json!({}));
        ways.chain(nothing).collect()
    }

    fn parameters(&self, spec: &Spec, path: &str) -> Value {
        let in_path = path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            let schema = match name {
                "id" | "key" => json!({"type": "string", "format": "uuid"}),
                _ => json!({"type": "string"}),
            };
            Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
        });
        let given = |place: &'static str| {
            move |param: &Param| {
                let (name, about) = (param.name, param.about);
                json!({"name": name, "in": place, "description": about, "schema": (param.schema)()})
            }
        };
        let headers = self.plane.parameters.iter().filter(|_| spec.credential);
        in_path
            .chain(spec.query.iter().map(given("query")))
            .chain(headers.map(given("header")))
            .collect()
    }

    fn responses(&mut self, spec: &Spec) -> Value {
        let mut responses = errors::responses(spec, self.plane, &mut self.schemas);
        for answer in spec.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        responses.into()
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let streams = answer.content.iter().flatten().any(|form| form.kind == EVENT_STREAM);
        let streamed = headers::STREAM.iter().filter(|_| streams);
        let names = answer.headers.iter().chain(streamed).copied();
        let mut response = json!({
            "description": answer.about,
            "headers": headers::references(names, self.plane.manners),
        });
        let content: Map<String, Value> = answer
            .content
            .iter()
            .flatten()
            .map(|content| (content.kind.to_owned(), self.content(content)))
            .collect();
        if !content.is_empty() {
            insert(&mut response, "content", content.into());
        }
        response
    }

    fn content(&mut self, content: &Content) -> Value {
        let mut written = json!({"schema": (content.schema)(&mut self.schemas)});
        if let Some(example) = content.example {
            insert(&mut written, "example", example());
        }
        written
    }
}

/// An answer to HEAD has none.
fn without_content(operation: &mut Value) {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (_, response) in responses.into_iter().flatten() {
        if let Some(members) = response.as_object_mut() {
            members.remove("content");
        }
    }
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
