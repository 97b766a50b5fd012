//! A document as a test reads it: its operations, and its schemas as validators.

use std::collections::HashMap;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::support::client::Answer;

const METHODS: [&str; 6] = ["get", "head", "post", "patch", "put", "delete"];

/// A plane's document.
pub(super) struct Document {
    pub(super) whole: Value,
    /// The components, where an object of an answer may hold nothing that is not described.
    closed: Value,
}

/// One operation of a document.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) value: &'a Value,
}

impl<'a> Operation<'a> {
    pub(super) fn id(&self) -> &'a str {
        self.value["operationId"].as_str().unwrap()
    }
}

impl Document {
    pub(super) async fn read(plane: &str, token: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{plane}/openapi.json")).bearer_auth(token);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        Self::of(answer.json())
    }

    pub(super) fn of(whole: Value) -> Self {
        let mut closed = whole["components"].clone();
        for (name, schema) in closed["schemas"].as_object_mut().unwrap() {
            let open = schema["properties"].is_object() && schema["additionalProperties"].is_null();
            // What is the provider's may have more than we say of it.
            if open && name != "ChatCompletion" {
                schema["unevaluatedProperties"] = json!(false);
            }
        }
        Self { whole, closed }
    }

    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let mut found = Vec::new();
        for (path, item) in self.whole["paths"].as_object().unwrap() {
            for (method, value) in item.as_object().unwrap() {
                assert!(METHODS.contains(&method.as_str()), "{method} {path}");
                found.push(Operation { method, path, value });
            }
        }
        found
    }

    /// The operation that serves a path.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let fits = |template: &str| {
            let (theirs, ours) = (template.split('/'), path.split('/'));
            theirs.clone().count() == ours.clone().count()
                && theirs.zip(ours).all(|(their, our)| their.starts_with('{') || their == our)
        };
        self.operations()
            .into_iter()
            .find(|operation| operation.method.eq_ignore_ascii_case(method) && fits(operation.path))
    }

    /// What follows a reference, or the value itself.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.whole.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => value,
        }
    }

    /// A validator of a schema in the document.
    pub(super) fn validator(&self, schema: &Value) -> Validator {
        validator(&self.whole["components"], schema)
    }

    /// Fails unless the body of an answer is what its schema says and nothing else.
    #[track_caller]
    pub(super) fn check(&self, schema: &Value, body: &Value) {
        assert_valid(&validator(&self.closed, schema), body);
    }
}

fn validator(components: &Value, schema: &Value) -> Validator {
    let whole = json!({"components": components, "allOf": [schema]});
    let options =
        jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(&whole).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

#[track_caller]
pub(super) fn assert_valid(validator: &Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// An example of what a schema asks for, with everything that it requires.
pub(super) fn example(document: &Document, schema: &Value) -> Value {
    let schema = document.resolve(schema);
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = schema[several].get(0) {
            return example(document, first);
        }
    }
    if let Some(only) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return only.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind.unwrap_or_else(|| panic!("no type: {schema}")) {
        "null" => json!(null),
        "boolean" => json!(false),
        "integer" | "number" => json!(schema["minimum"].as_u64().unwrap_or(0)),
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            (0..least).map(|_| example(document, &schema["items"])).collect()
        }
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten();
            let member = |name: &Value| {
                let name = name.as_str().unwrap();
                (name.to_owned(), example(document, &schema["properties"][name]))
            };
            Value::Object(required.map(member).collect())
        }
        "string" => text(schema),
        other => panic!("{other}"),
    }
}

fn text(schema: &Value) -> Value {
    let known = HashMap::from([
        ("uuid", "11111111-2222-4333-8444-555555555555"),
        ("date-time", "2090-01-31T12:00:00Z"),
    ]);
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let format = schema["format"].as_str().unwrap_or_default();
    let text = match known.get(format) {
        Some(text) => text,
        None if pattern.starts_with("^data:") => "data:image/png;base64,AAAA",
        None if pattern.starts_with("^[0-9]") => "1",
        None => "gpt-4o-mini",
    };
    text.into()
}
