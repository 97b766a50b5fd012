//! Whether the schema of a chat completion's body says what the parser does.

use bytes::Bytes;
use proptest::prelude::*;
use rungate::protocol::chat::TABLE;
use rungate::protocol::format::Format;
use rungate::protocol::request::fields::Action;
use rungate::protocol::request::{Request, schema};
use serde_json::{Value, json};

use super::document::{Document, example};
use crate::protocol::generate;

const PREFIX: &str = "#/components/schemas/";

fn document() -> Document {
    let schemas = schema::schemas(&TABLE, PREFIX);
    Document::of(json!({"components": {"schemas": schemas}, "paths": {}}))
}

fn request() -> Value {
    json!({"$ref": format!("{PREFIX}{}", TABLE.name)})
}

/// The code that the parser refuses a body with, if it does.
fn refusal(body: &Value) -> Option<&'static str> {
    let parsed = Request::parse(Format::Chat, Bytes::from(body.to_string()));
    parsed.err().map(|fault| fault.code().as_str())
}

/// Every object that the schema describes, within an example of a whole body: where it stands, and
/// its schema.
fn objects(document: &Document) -> Vec<(Value, String, Value)> {
    let mut found = Vec::new();
    let body = example(document, &request());
    walk(document, &request(), &body, String::new(), &mut found);
    found
}

fn walk(
    document: &Document,
    schema: &Value,
    body: &Value,
    at: String,
    found: &mut Vec<(Value, String, Value)>,
) {
    let schema = document.resolve(schema);
    for several in ["oneOf", "anyOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            let body = with(body, &at, example(document, one));
            walk(document, one, &body, at.clone(), found);
        }
    }
    if schema["type"] == "array" || schema["type"][0] == "array" {
        let body = with(body, &at, json!([example_of_item(document, schema)]));
        if schema["items"].is_object() && schema["maxItems"] != 0 {
            walk(document, &schema["items"], &body, format!("{at}/0"), found);
        }
    }
    if schema["additionalProperties"] == false {
        found.push((body.clone(), at.clone(), schema.clone()));
        for (name, member) in schema["properties"].as_object().unwrap() {
            let member_at = format!("{at}/{name}");
            let body = match body.pointer(&member_at) {
                Some(_) => body.clone(),
                None => with_member(body, &at, name, example(document, member)),
            };
            walk(document, member, &body, member_at, found);
        }
    }
}

fn example_of_item(document: &Document, schema: &Value) -> Value {
    if schema["items"].is_object() { example(document, &schema["items"]) } else { Value::Null }
}

fn with(body: &Value, at: &str, value: Value) -> Value {
    let mut body = body.clone();
    *body.pointer_mut(at).unwrap_or_else(|| panic!("there is no {at}")) = value;
    body
}

fn with_member(body: &Value, at: &str, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    let object = body.pointer_mut(at).and_then(Value::as_object_mut).unwrap();
    object.insert(name.to_owned(), value);
    body
}

#[test]
fn every_field_that_is_described_is_accepted() {
    let document = document();
    let validator = document.validator(&request());
    let mut fields = 0;
    for (body, at, schema) in objects(&document) {
        for (name, member) in schema["properties"].as_object().unwrap() {
            let whole = with_member(&body, &at, name, example(&document, member));
            assert!(validator.is_valid(&whole), "the example is wrong at {at}/{name}: {whole}");
            assert_eq!(refusal(&whole), None, "{at}/{name}: {whole}");
            fields += 1;
        }
    }
    assert!(fields > 100, "{fields}");
}

#[test]
fn every_field_of_the_table_is_described_unless_it_is_refused() {
    let described = objects(&document());
    for field in TABLE.rows() {
        let place = |at: &str| at.split('/').filter(|part| part.parse::<u8>().is_err()).count();
        let depth = field.at.matches('.').count();
        let is_described = described.iter().any(|(_, at, schema)| {
            let names = at.split('/').filter(|part| !part.is_empty() && *part != "0");
            let fits = names.clone().all(|name| field.at.contains(name));
            fits && place(at) == depth + 1 && schema["properties"].get(field.name).is_some()
        });
        let is_refused = field.action == Action::Refused;
        assert_eq!(is_described, !is_refused, "{}", field.path());
    }
}

#[test]
fn what_is_not_described_is_refused_at_every_level() {
    let document = document();
    let validator = document.validator(&request());
    for (body, at, _) in objects(&document) {
        let whole = with_member(&body, &at, "surprise", json!(1));
        assert!(!validator.is_valid(&whole), "{whole}");
        assert_eq!(refusal(&whole), Some("parameter_not_allowed"), "{whole}");
    }
    for field in TABLE.rows().filter(|field| field.action == Action::Refused) {
        let whole = with_member(&example(&document, &request()), "", field.name, json!({}));
        assert!(!validator.is_valid(&whole), "{}", field.name);
        assert_eq!(refusal(&whole), Some("parameter_not_allowed"), "{}", field.name);
    }
}

/// Values beside every kind of value that is described, at every place.
#[test]
fn the_parser_and_the_schema_agree_about_values() {
    let document = document();
    let validator = document.validator(&request());
    let values = json!([
        null, true, false, 0, 1, 16, 17, -1, 1.5, 2_147_483_647_u64, 2_147_483_648_u64, "", "text",
        "auto", "high", "system", "function", "custom", "image_url",
        "11111111-2222-4333-8444-555555555555", "data:image/png;base64,AAAA",
        "data:image/png;base64,", "https://example.org/a.png", [], ["text"], ["text", 1], [null],
        {}, {"a": 1}, {"a": "b"}, {"name": "a"}, "x".repeat(257),
    ]);
    let mut compared = 0;
    for (body, at, schema) in objects(&document) {
        for name in schema["properties"].as_object().unwrap().keys() {
            for value in values.as_array().unwrap() {
                let whole = with_member(&body, &at, name, value.clone());
                let (fits, refused) = (validator.is_valid(&whole), refusal(&whole));
                // Whether a name is a run's is looked at after the body.
                let is_name = matches!(name.as_str(), "run_id" | "evaluation_run_id");
                let later = is_name && value.is_string() && !fits;
                // The tag's members may be null where another tag is.
                assert!(
                    fits == refused.is_none() || later,
                    "{fits} {refused:?} {at}/{name}: {whole}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 3_000, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_that_are_accepted_fit_the_schema(mut body in generate::body()) {
        // Refused fields may be null, which no schema says.
        body.as_object_mut().unwrap().remove("audio");
        // The names are looked at later.
        for name in ["run_id", "metadata"] {
            body.as_object_mut().unwrap().remove(name);
        }
        prop_assert_eq!(refusal(&body), None);
        let document = document();
        let validator = document.validator(&request());
        let errors: Vec<String> =
            validator.iter_errors(&body).map(|error| error.to_string()).collect();
        prop_assert!(errors.is_empty(), "{:?}\n{}", errors, body);
    }
}
