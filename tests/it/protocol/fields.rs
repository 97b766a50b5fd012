//! The table of fields as documentation.

use std::collections::HashSet;

use rungate::protocol::chat::TABLE;
use rungate::protocol::request::fields::{Action, markdown};

use super::{parse, with};

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
    assert!(markdown(&TABLE).contains("| `max_tokens` | bounded | 1 to 2147483647;"));
}

#[test]
fn every_refused_field_is_refused_by_name_unless_it_is_null() {
    for field in TABLE.rows().filter(|field| field.action == Action::Refused) {
        for value in ["1", "\"x\"", "true", "{}", "[]", r#"{"a":[{}]}"#] {
            let fault = parse(&with(&format!("\"{}\":{value}", field.name))).unwrap_err();
            assert_eq!(fault.code().as_str(), "parameter_not_allowed");
            assert_eq!(fault.param_name(), Some(field.name));
            assert!(fault.message().contains(field.note));
        }
        assert!(parse(&with(&format!("\"{}\":null", field.name))).is_ok());
    }
}

#[test]
fn every_optional_field_may_be_null() {
    for field in TABLE.rows().filter(|field| field.at.is_empty()) {
        if !matches!(field.name, "model" | "messages") {
            assert!(parse(&with(&format!("\"{}\":null", field.name))).is_ok(), "{}", field.name);
        }
    }
}
