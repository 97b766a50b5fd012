//! Who may import whom.

use std::fs;

use super::source::{Source, root};
use super::{assert_none, library};

/// The modules from the top down. A module may import those on the levels below its own.
const LEVELS: [&[&str]; 8] = [
    &["main"],
    &["cli"],
    &["server"],
    &["http", "jobs", "simulator"],
    &["gateway"],
    &["ledger", "storage", "upstream", "catalog", "limits"],
    &["providers", "protocol"],
    &["domain"],
];

/// What modules may import on their own level: the wire format is written in a provider's dialect,
/// and the ledger's Postgres may use what else is kept there.
const BESIDE: [(&str, &str); 2] = [("protocol", "providers"), ("ledger", "storage")];

/// Modules that stand beside the levels, with what they may import. The gateway and whatever is
/// above it may import them.
const APART: [(&str, &[&str]); 2] = [("config", &["domain"]), ("telemetry", &["domain", "config"])];

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

fn apart(module: &str) -> Option<&'static [&'static str]> {
    APART.iter().find(|(name, _)| *name == module).map(|(_, imports)| *imports)
}

fn may_import(from: &str, to: &str) -> bool {
    if from == to || BESIDE.contains(&(from, to)) {
        return true;
    }
    if let Some(allowed) = apart(from) {
        return allowed.contains(&to);
    }
    let gateway = level("gateway");
    match (level(from), level(to)) {
        (Some(from), Some(to)) => from < to,
        (from, None) => apart(to).is_some() && from.is_some() && from <= gateway,
        (None, Some(_)) => false,
    }
}

/// The modules that the paths beginning at `crate::` or, in the binary, `rungate::` name.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let start = if source.module() == "main" { "rungate::" } else { "crate::" };
    let mut found = Vec::new();
    for (position, _) in source.code.match_indices(start) {
        let line = source.line_of(position);
        let rest = &source.code[position + start.len()..];
        found.extend(heads(rest).into_iter().map(|head| (line, head)));
    }
    found
}

/// The first names of a path, or of each branch of a group.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else { return name(path).into_iter().collect() };
    let (mut depth, mut begins, mut found) = (0, true, Vec::new());
    for (position, letter) in group.char_indices() {
        match letter {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !letter.is_whitespace() => {
                begins = false;
                found.extend(name(&group[position..]));
            }
            _ => {}
        }
    }
    found
}

/// A module's name; types and macros of the root are none.
fn name(path: &str) -> Option<String> {
    let word = path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    word.starts_with(|c: char| c.is_lowercase()).then(|| word.to_owned())
}

/// Chains of `super::` that climb to the root, where they would name other modules unseen.
fn climbs(source: &Source) -> Vec<String> {
    let inner = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = inner.trim_end_matches("/mod").split('/').count();
    let chain = "super::".repeat(depth);
    let tests = source.code.find("#[cfg(test)]").unwrap_or(source.code.len());
    source.code[..tests]
        .match_indices(&chain)
        .filter(|_| !matches!(inner, "lib" | "main"))
        .map(|(position, _)| {
            source.at(source.line_of(position), "climbs to the root; write crate:: instead")
        })
        .collect()
}

fn violations(source: &Source) -> Vec<String> {
    let from = source.module();
    let mut found = climbs(source);
    for (line, to) in imports(source) {
        if from != "lib" && !may_import(from, &to) {
            found.push(source.at(line, format!("{from} imports {to}")));
        }
    }
    found
}

#[test]
fn imports_go_down_and_never_back() {
    let found: Vec<_> = library().iter().flat_map(violations).collect();
    assert_none("a module may import those on the levels below it", &found);
}

#[test]
fn every_module_has_its_level() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let unknown: Vec<_> = declared
        .map(|rest| rest.trim_end_matches(';').to_owned())
        .filter(|module| level(module).is_none() && apart(module).is_none())
        .collect();
    assert_none("a module of src/lib.rs is on no level", &unknown);
}

#[test]
fn a_wrong_import_is_seen_however_it_is_written() {
    let check = |path: &str, text: &str, seen: usize| {
        assert_eq!(violations(&Source::new(path, text)).len(), seen, "{path}: {text}");
    };
    check("src/domain/a.rs", "use crate::domain::money::Usd;", 0);
    check("src/domain/a.rs", "use crate::ledger::Ledger;", 1);
    check("src/domain/a.rs", "// use crate::ledger::Ledger;", 0);
    check("src/ledger/a.rs", "use crate::{domain::{id, money}, http, gateway::Gateway};", 2);
    check("src/ledger/a.rs", "fn f() -> crate::gateway::Gateway {}", 1);
    check("src/ledger/a.rs", "use crate::storage::cluster;", 0);
    check("src/storage/a.rs", "use crate::ledger::Ledger;", 1);
    check("src/ledger/a.rs", "use crate::config::Config;", 1);
    check("src/gateway/a.rs", "use crate::config::Config;", 0);
    check("src/telemetry.rs", "use crate::config::LogFormat;", 0);
    check("src/config/a.rs", "use crate::telemetry::start;", 1);
    check("src/ledger/a.rs", "use super::super::gateway::Gateway;", 1);
    check("src/ledger/a/b.rs", "use super::super::Ledger;", 0);
    check("src/ledger/a/mod.rs", "use super::super::gateway::Gateway;", 1);
    check("src/main.rs", "fn main() { rungate::cli::main() }", 0);
}
