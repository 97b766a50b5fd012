//! What SECURITY.md names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rungate::config::{SETTINGS, provider_settings, secret_file, secret_settings};
use rungate::domain::fault::Code;
use rungate::gateway::Mode;
use rungate::http::operator;
use rungate::http::respond::Manners;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("SECURITY.md")).unwrap()
}

/// All that stands between backquotes.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

/// The code of the library in one text.
fn code(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn library() -> String {
    let mut all = String::new();
    code(&root().join("src"), &mut all);
    all
}

fn is_name(text: &str, letter: fn(&u8) -> bool) -> bool {
    text.contains('_') && text.bytes().all(|byte| letter(&byte) || byte == b'_')
}

#[test]
fn every_setting_that_is_named_exists() {
    let settings = SETTINGS.iter().map(|setting| setting.name.to_owned());
    let files = secret_settings().map(|name| secret_file(&name));
    let known: BTreeSet<String> = settings.chain(provider_settings()).chain(files).collect();
    let page = page();
    let mut named = 0;
    for word in quoted(&page) {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        if is_name(name, u8::is_ascii_uppercase) {
            named += 1;
            assert!(known.contains(name), "{name} is no setting");
        }
    }
    assert!(named > 15, "{named} settings are named");
}

#[test]
fn every_metric_code_flag_and_field_that_is_named_exists() {
    let (page, library) = (page(), library());
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    // What belongs to others: Postgres's settings.
    let foreign = ["full_page_writes", "synchronous_commit"];
    let mut named = 0;
    for word in quoted(&page) {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        if is_name(name, u8::is_ascii_lowercase) && !foreign.contains(&name) {
            named += 1;
            let known = codes.contains(name) || library.contains(&format!("\"{name}\""));
            assert!(known, "{name} is nowhere in the code");
        }
    }
    assert!(named > 15, "{named} names");
    // And the other way round: no metric is left out.
    for metric in library.split('"').filter(|text| text.starts_with("rungate_")) {
        let is_tokens = metric.ends_with("_tokens_total");
        assert!(is_tokens || page.contains(metric), "SECURITY.md does not say what {metric} is");
    }
}

#[test]
fn every_endpoint_and_file_that_is_named_exists() {
    let page = page().split_whitespace().collect::<Vec<_>>().join(" ");
    let manners = Manners { budget_status: 402, dev: false };
    let document = operator::document(Mode::Serve, manners);
    let document: serde_json::Value = serde_json::from_slice(&document.text()).unwrap();
    let mut named = 0;
    for word in quoted(&page) {
        if let Some((method, path)) = word.split_once(' ')
            && ["GET", "POST", "PATCH"].contains(&method)
        {
            named += 1;
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            assert!(operation.is_object(), "{word} is no endpoint of the control plane");
        }
        if word.contains('/') && word.contains('.') && !word.contains([' ', '<', '?']) {
            let path = word.split_once("::").map_or(word, |(path, _test)| path);
            assert!(root().join(path).exists(), "{path} does not exist");
        }
    }
    assert!(named >= 4, "{named} endpoints");
    for file in ["docker-compose.yml", "deploy/haproxy.cfg", ".ci/run"] {
        assert!(page.contains(&format!("`{file}`")) && root().join(file).exists(), "{file}");
    }
}
