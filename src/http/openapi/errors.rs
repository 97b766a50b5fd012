//! Refusals: the codes of each status, and which of them an endpoint answers.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::domain::fault::Code;
use crate::http::respond::{Manners, status_of_code};
use crate::http::route::Spec;
use crate::protocol::style::Style;
use crate::protocol::{error, ridges};

use super::headers::{self, CALL_HEADERS, REFUSAL};
use super::{Plane, SCHEMAS};

/// What a provider finds wrong with a request keeps these statuses.
const VERDICTS: [u16; 4] = [400, 404, 413, 422];
const VERDICT: &str = "ProviderVerdict";

/// The codes of each status on this gateway.
fn by_status(
    codes: impl Iterator<Item = Code>,
    manners: Manners,
    style: Style,
) -> BTreeMap<u16, Vec<Code>> {
    let mut found: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let codes = found.entry(status_of_code(code, manners, style)).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    found
}

fn name(status: u16) -> String {
    format!("Error{status}")
}

/// Adds the schemas of errors: one for each status, with every code that it can stand for.
pub(super) fn add_schemas(schemas: &mut SchemaGenerator, manners: Manners) {
    let any = error::schema(schemas).to_value();
    for (status, codes) in by_status(Code::ALL.into_iter(), manners, Style::default()) {
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        let mut kinds: Vec<&str> = codes.iter().map(|code| code.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let fixed = json!({"properties": {"error": {"properties": {
            "code": {"enum": names},
            "type": {"enum": kinds},
        }}}});
        schemas.definitions_mut().insert(name(status), json!({"allOf": [any, fixed]}));
    }
    let about = "What the provider finds wrong with the request: its own code, type and message, \
                 under `x-error-origin: upstream`.";
    schemas
        .definitions_mut()
        .insert(VERDICT.to_owned(), json!({"description": about, "allOf": [any]}));
}

/// The refusals of an endpoint, by their statuses.
pub(super) fn responses(
    spec: &Spec,
    plane: &Plane<'_>,
    schemas: &mut SchemaGenerator,
) -> Map<String, Value> {
    let mut codes: Vec<Code> = plane.errors.iter().chain(spec.errors).copied().collect();
    if spec.credential {
        codes.push(Code::InvalidKey);
        codes.extend(plane.rights.into_iter().flatten());
    }
    if spec.body.is_some() {
        codes.extend([Code::InvalidRequest, Code::RequestTooLarge, Code::UnsupportedMediaType]);
    }
    if !spec.query.is_empty() {
        codes.push(Code::InvalidRequest);
    }
    let mut found = by_status(codes.into_iter(), plane.manners, spec.style);
    if spec.model_call {
        for status in VERDICTS {
            found.entry(status).or_default();
        }
    }
    // One shape for all, whatever the status.
    let shape = match spec.style {
        Style::Of(_) => None,
        Style::Ridges => Some(ridges::error_schema(schemas).to_value()),
    };
    let write = |(status, codes): (u16, Vec<Code>)| {
        (status.to_string(), response(status, &codes, spec, plane, shape.as_ref()))
    };
    found.into_iter().map(write).collect()
}

fn response(
    status: u16,
    codes: &[Code],
    spec: &Spec,
    plane: &Plane<'_>,
    shape: Option<&Value>,
) -> Value {
    let names: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let mut about = names.join(", ");
    let mut schemas = Vec::new();
    let reference = |name: &str| json!({"$ref": format!("{SCHEMAS}{name}")});
    if !codes.is_empty() {
        schemas.push(reference(&name(status)));
    }
    if spec.model_call && VERDICTS.contains(&status) {
        schemas.push(reference(VERDICT));
        about.push_str(if about.is_empty() { "" } else { "; or " });
        about.push_str("what the provider finds wrong with the request");
    }
    let schema = match (shape, schemas.as_slice()) {
        (Some(one), _) => one.clone(),
        (None, [one]) => one.clone(),
        (None, several) => json!({"anyOf": several}),
    };
    let told = plane.headers.iter().filter(|_| spec.credential);
    let more = match status {
        401 => Some("www-authenticate"),
        409 | 429 | 502 | 503 => Some("retry-after"),
        400 if codes.contains(&Code::RunNotActive) => Some("retry-after"),
        _ => None,
    };
    let metered = CALL_HEADERS.iter().filter(|_| spec.model_call);
    let names = told.chain(metered).chain(REFUSAL).copied().chain(more);
    json!({
        "description": about,
        "headers": headers::references(names, plane.manners),
        "content": {"application/json": {"schema": schema}},
    })
}
