//! Whether a document is one of OpenAPI 3.1. No crate that is kept up checks that, so these are the
//! rules of the specification that can be broken here; schemas are checked by their own metaschema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::{Document, assert_valid};
use crate::support::gateway::{ADMIN_TOKEN, TestGateway};

/// The members that objects of a document may have (OpenAPI 3.1.0, section 4.8).
const ROOT: [&str; 6] = ["openapi", "jsonSchemaDialect", "info", "servers", "paths", "components"];
const OPERATION: [&str; 7] =
    ["operationId", "summary", "description", "parameters", "requestBody", "responses", "security"];
const PARAMETER: [&str; 5] = ["name", "in", "required", "description", "schema"];
const RESPONSE: [&str; 3] = ["description", "headers", "content"];
const MEDIA_TYPE: [&str; 2] = ["schema", "example"];
const COMPONENTS: [&str; 3] = ["schemas", "headers", "securitySchemes"];

#[track_caller]
fn only(value: &Value, known: &[&str]) {
    for name in value.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name} is no member of {value}");
    }
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            if members.get("$ref").is_some_and(Value::is_string) {
                found.push(value);
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn check_operations(document: &Document) {
    let mut ids = BTreeSet::new();
    for operation in document.operations() {
        let (value, path) = (operation.value, operation.path);
        only(value, &OPERATION);
        assert!(ids.insert(operation.id()), "{} stands twice", operation.id());
        assert!(!value["summary"].as_str().unwrap().is_empty(), "{path} has no summary");
        check_parameters(value, path);
        check_security(document, value);
        let responses = value["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{path} never succeeds");
        for (status, response) in responses {
            only(response, &RESPONSE);
            let about = response["description"].as_str().unwrap();
            assert!(!about.is_empty(), "{path} {status} is not described");
            let carries = operation.method != "head";
            assert_eq!(response["content"].is_object(), carries, "{path} {status}");
            check_content(document, &response["content"]);
        }
        check_content(document, &value["requestBody"]["content"]);
    }
}

fn check_parameters(operation: &Value, path: &str) {
    let in_path: BTreeSet<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let mut seen = BTreeSet::new();
    let mut declared = BTreeSet::new();
    for parameter in operation["parameters"].as_array().unwrap() {
        only(parameter, &PARAMETER);
        let (name, place) = (&parameter["name"], &parameter["in"]);
        let (name, place) = (name.as_str().unwrap(), place.as_str().unwrap());
        assert!(["path", "query", "header"].contains(&place));
        assert!(seen.insert((name, place)), "{name} stands twice at {path}");
        if place == "path" {
            assert_eq!(parameter["required"], true);
            declared.insert(name);
        }
    }
    assert_eq!(in_path, declared, "{path}");
}

fn check_security(document: &Document, operation: &Value) {
    let schemes = document.whole["components"]["securitySchemes"].as_object().unwrap();
    for way in operation["security"].as_array().unwrap() {
        for name in way.as_object().unwrap().keys() {
            assert!(schemes.contains_key(name), "{name} is no security scheme");
        }
    }
}

/// Every form of a body has a schema, and every example fits it.
fn check_content(document: &Document, content: &Value) {
    for (_, form) in content.as_object().into_iter().flatten() {
        only(form, &MEDIA_TYPE);
        let validator = document.validator(&form["schema"]);
        if let Some(example) = form.get("example") {
            assert_valid(&validator, example);
        }
    }
}

fn check(document: &Document) {
    let whole = &document.whole;
    only(whole, &ROOT);
    assert_eq!(whole["openapi"], "3.1.0");
    assert_eq!(whole["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(!whole["info"]["title"].as_str().unwrap().is_empty());
    only(&whole["components"], &COMPONENTS);
    for (path, _) in whole["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'), "{path}");
    }
    let mut found = Vec::new();
    references(whole, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        document.resolve(reference);
    }
    for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
        if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
            panic!("{name}: {error}");
        }
    }
    for (name, header) in whole["components"]["headers"].as_object().unwrap() {
        only(header, &["description", "schema"]);
        assert_eq!(*name, name.to_ascii_lowercase());
    }
    for server in whole["servers"].as_array().unwrap() {
        let names = server["variables"].as_object().into_iter().flatten();
        for (name, variable) in names {
            assert!(server["url"].as_str().unwrap().contains(&format!("{{{name}}}")));
            assert!(variable["default"].is_string());
        }
    }
    check_operations(document);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_documents_follow_the_specification() {
    let settings = [("BASE_PATHS", "/v1,/inference/v1,/some/where"), ("BUDGET_STATUS", "429")];
    for settings in [&settings[..], &[]] {
        let gateway = TestGateway::dev(settings).await;
        check(&Document::read(&gateway.client.data, "").await);
        check(&Document::read(&gateway.client.admin, ADMIN_TOKEN).await);
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_that_of_its_own_gateway() {
    let settings = [("BASE_PATHS", "/some/where"), ("BUDGET_STATUS", "429")];
    let gateway = TestGateway::dev(&settings).await;
    let document = Document::read(&gateway.client.data, "").await;
    assert!(document.find("post", "/some/where/chat/completions").is_some());
    assert!(document.find("post", "/v1/chat/completions").is_none());
    let codes = |status: &str| {
        let error = &document.whole["components"]["schemas"][format!("Error{status}")];
        let codes = &error["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"];
        codes.to_string()
    };
    assert!(codes("429").contains("cost_limit_exceeded"));
    assert!(!codes("402").contains("cost_limit_exceeded"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_stands_under_its_status() {
    let gateway = TestGateway::dev(&[]).await;
    let document = Document::read(&gateway.client.data, "").await;
    for code in rungate::domain::fault::Code::ALL {
        let name = format!("Error{}", code.status());
        let error = &document.whole["components"]["schemas"][&name];
        let codes = &error["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"];
        let codes = codes.as_array().unwrap_or_else(|| panic!("there is no {name}"));
        assert!(codes.iter().any(|known| known == code.as_str()), "{name}: {}", code.as_str());
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_document_is_seen() {
    let gateway = TestGateway::dev(&[]).await;
    let right = Document::read(&gateway.client.data, "").await.whole;
    gateway.stop().await;
    let operation = "/paths/~1v1~1models/get";
    for (at, wrong) in [
        ("/openapi".to_owned(), "3.0.0".into()),
        (format!("{operation}/operationId"), "healthz".into()),
        (format!("{operation}/responses"), serde_json::json!({})),
        (format!("{operation}/security"), serde_json::json!([{"nobody": []}])),
        (format!("{operation}/parameters/0/in"), "cookie".into()),
        ("/components/schemas/Model/type".to_owned(), "word".into()),
        ("/components/schemas/ModelList".to_owned(), serde_json::json!({"$ref": "#/nowhere"})),
    ] {
        let mut document = right.clone();
        *document.pointer_mut(&at).unwrap_or_else(|| panic!("there is no {at}")) = wrong;
        let checked = std::panic::catch_unwind(|| check(&Document::of(document)));
        assert!(checked.is_err(), "nobody sees what is wrong at {at}");
    }
}
