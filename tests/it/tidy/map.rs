//! What `src/ARCHITECTURE.md` says about the tree.

use std::fs;

use super::assert_none;
use super::source::root;

const MAP: &str = "src/ARCHITECTURE.md";
const FOLDERS: [&str; 6] = ["src/", "tests/", "migrations/", "fixtures/", "benches/", ".ci/"];

/// What stands between backticks, with its line; blocks of code are left out.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span)));
        }
    }
    found
}

/// What is wrong with a span that names a path, or a test as `path::name`.
fn wrong(span: &str) -> Option<String> {
    if !FOLDERS.iter().any(|folder| span.starts_with(folder)) {
        return None;
    }
    let (path, item) = span.split_once("::").map_or((span, None), |(p, item)| (p, Some(item)));
    let full = root().join(path);
    let (path_exists, wants_folder) = (full.exists(), path.ends_with('/'));
    if !path_exists || wants_folder != full.is_dir() {
        return Some(format!("`{path}` does not exist"));
    }
    let item = item?;
    let text = fs::read_to_string(&full).unwrap_or_default();
    let is_there = text.contains(&format!("fn {item}("));
    (!is_there).then(|| format!("{path} has no function {item}"))
}

#[test]
fn every_path_and_test_that_the_map_names_exists() {
    let text = fs::read_to_string(root().join(MAP)).unwrap();
    let spans = code_spans(&text);
    let found: Vec<_> = spans
        .iter()
        .filter_map(|(line, span)| wrong(span).map(|wrong| format!("{MAP}:{line}: {wrong}")))
        .collect();
    assert_none("the map names what exists; folders end in a slash", &found);
}

#[test]
fn the_map_names_every_module() {
    let text = fs::read_to_string(root().join(MAP)).unwrap();
    let spans = code_spans(&text);
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let missing: Vec<_> = modules
        .map(|rest| rest.trim_end_matches(';'))
        .filter(|module| {
            let names = [format!("src/{module}/"), format!("src/{module}.rs")];
            !spans.iter().any(|(_, span)| names.iter().any(|name| name == span))
        })
        .map(str::to_owned)
        .collect();
    assert_none("the map does not name a module of src/lib.rs", &missing);
}

#[test]
fn a_wrong_path_is_seen() {
    assert_eq!(wrong("src/main.rs"), None);
    assert_eq!(wrong("src/domain/"), None);
    assert_eq!(wrong("cargo test"), None);
    assert!(wrong("src/domain").is_some());
    assert!(wrong("src/nowhere.rs").is_some());
    assert_eq!(wrong("tests/it/tidy/map.rs::a_wrong_path_is_seen"), None);
    assert!(wrong(&format!("tests/it/tidy/map.rs::{}", ["no", "where"].concat())).is_some());
    assert_eq!(code_spans("a `b` c\n```\n`d`\n```\n`e`"), [(1, "b"), (5, "e")]);
}
