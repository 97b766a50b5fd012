//! The table of fields as documentation and as schema.

use std::collections::HashSet;

use rungate::protocol::request::fields::{Action, markdown};
use rungate::protocol::request::schema::schemas;
use rungate::protocol::responses::TABLE;
use serde_json::json;

use super::{fixture, parse, with};

#[test]
fn every_field_has_one_row_and_every_refusal_a_reason() {
    let mut paths = HashSet::new();
    for field in TABLE.rows() {
        assert!(paths.insert(field.path()), "{} stands twice", field.path());
        assert!(!field.note.contains('|'), "{} would break the table", field.path());
        if matches!(field.action, Action::Refused | Action::Forced | Action::Bounded) {
            assert!(!field.note.is_empty(), "{} has no reason", field.path());
        }
    }
    assert_eq!(markdown(&TABLE).lines().count(), paths.len() + 2);
}

#[test]
fn every_refused_field_is_refused_by_name_unless_it_is_null() {
    let refused = TABLE.rows().filter(|field| field.action == Action::Refused);
    for field in refused.filter(|field| field.at.is_empty()) {
        for value in ["1", "\"x\"", "true", "{}", "[]"] {
            let fault = parse(&with(&format!("\"{}\":{value}", field.name))).unwrap_err();
            assert_eq!(fault.code().as_str(), "parameter_not_allowed");
            assert_eq!(fault.param_name(), Some(field.name));
            assert!(fault.message().contains(field.note));
        }
    }
}

#[test]
fn every_optional_field_may_be_null() {
    for field in TABLE.rows().filter(|field| field.at.is_empty()) {
        if !matches!(field.name, "model" | "input") {
            assert!(parse(&with(&format!("\"{}\":null", field.name))).is_ok(), "{}", field.name);
        }
    }
}

#[test]
fn what_fits_the_schema_is_read_and_what_is_refused_does_not_fit() {
    let schema = json!({
        "$ref": "#/$defs/ResponsesRequest",
        "$defs": schemas(&TABLE, "#/$defs/"),
    });
    let schema = jsonschema::validator_for(&schema).unwrap();
    let fits = |body: &str| schema.is_valid(&super::json(body));
    let mut codex = super::json(&fixture("responses/codex.json"));
    assert!(schema.is_valid(&codex));
    codex["input"][0]["call_id"] = json!("c");
    assert!(!schema.is_valid(&codex));
    for refused in [
        with(r#""background":true"#),
        with(r#""truncation":"auto""#),
        with(r#""include":["web_search_call.results"]"#),
        with(r#""tools":[{"type":"web_search"}]"#),
        r#"{"model":"m","input":[]}"#.to_owned(),
        r#"{"model":"m","input":[{"content":"x"}]}"#.to_owned(),
    ] {
        assert!(parse(&refused).is_err() && !fits(&refused), "{refused}");
    }
    for read in [with(r#""background":false"#), with(r#""include":[]"#)] {
        assert!(parse(&read).is_ok() && fits(&read), "{read}");
    }
}
