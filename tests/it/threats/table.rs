//! The table of threats in `SECURITY.md`: every row is there, and every test that it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "SECURITY.md";
/// What is promised so far. 17, 29 and 32 to 34 wait for the endpoints that they are about.
const PROMISED: [u32; 29] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 30, 31,
];
/// Stands in a cell whose test is still on its way.
const AWAITED: &str = concat!("TODO", "-MERGE");

/// The rows of the table, by number: attack, defence, tests.
fn rows(text: &str) -> BTreeMap<u32, [String; 3]> {
    let section = text.split("\n# Threats\n").nth(1).expect("a section `# Threats`");
    let section = section.split("\n# ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, attack, defence, tests] = cells.as_slice() else { continue };
        let Ok(number) = number.parse() else { continue };
        let row = [attack, defence, tests].map(|cell| (*cell).to_owned());
        assert!(rows.insert(number, row).is_none(), "threat {number} has two rows");
    }
    rows
}

/// What is wrong with a cell of tests.
fn wrong(tests: &str) -> Vec<String> {
    let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
    if named.is_empty() {
        return vec!["it names no test".to_owned()];
    }
    named.into_iter().filter_map(missing).collect()
}

/// Why a test of this name cannot be run, if it cannot.
fn missing(named: &str) -> Option<String> {
    let Some((path, name)) = named.split_once("::") else {
        return Some(format!("`{named}` is no path with a test"));
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(code) = fs::read_to_string(root.join(path)) else {
        return Some(format!("there is no {path}"));
    };
    let Some((before, _)) = code.split_once(&format!("fn {name}(")) else {
        return Some(format!("{path} has no {name}"));
    };
    // Contracts and tables are checked by functions that a test calls with each of its subjects.
    let is_test = before.trim_end().trim_end_matches("async").trim_end().ends_with(']')
        || name.starts_with("check_")
        || before.contains("proptest! {");
    (!is_test).then(|| format!("{path}::{name} is no test"))
}

#[test]
fn every_threat_has_a_row_and_every_test_that_it_names_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let rows = rows(&fs::read_to_string(path).unwrap());
    let mut found = Vec::new();
    for number in PROMISED {
        match rows.get(&number) {
            None => found.push(format!("threat {number} has no row")),
            Some([attack, defence, tests]) => {
                assert!(!attack.is_empty() && !defence.is_empty(), "threat {number}");
                found.extend(
                    wrong(tests).into_iter().map(|what| format!("threat {number}: {what}")),
                );
            }
        }
    }
    found.extend(rows.keys().filter(|row| !PROMISED.contains(row)).map(|row| format!("{row}?")));
    assert!(found.is_empty(), "{DOCUMENT}:\n{}", found.join("\n"));
}

#[test]
fn no_threat_awaits_a_test() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT)).unwrap();
    let rows = rows(&text);
    let awaited = rows.iter().filter_map(|(number, [.., tests])| {
        tests.split_once(AWAITED).map(|(_, whose)| format!("threat {number} awaits{whose}"))
    });
    let awaited: Vec<String> = awaited.collect();
    assert!(awaited.is_empty(), "{DOCUMENT}:\n{}", awaited.join("\n"));
}

#[test]
fn every_test_that_claims_a_threat_stands_in_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows(&fs::read_to_string(root.join(DOCUMENT)).unwrap());
    for entry in fs::read_dir(root.join("tests/it/threats")).unwrap() {
        let path = entry.unwrap().path();
        let file = format!("tests/it/threats/{}", path.file_name().unwrap().to_str().unwrap());
        let code = fs::read_to_string(&path).unwrap();
        let claims = code.split("/// Threat").skip(1);
        for claim in claims.filter(|claim| claim.contains("fn ") && !file.ends_with("table.rs")) {
            let (numbers, rest) = claim.split_once(".\n").or(claim.split_once(',')).unwrap();
            let name = rest.split_once("fn ").unwrap().1.split_once('(').unwrap().0;
            let first: String = numbers
                .chars()
                .skip_while(|c| !c.is_ascii_digit())
                .take_while(char::is_ascii_digit)
                .collect();
            let row = rows.get(&first.parse().unwrap()).unwrap();
            assert!(row[2].contains(&format!("{file}::{name}")), "threat {first}: {file}::{name}");
        }
    }
}

#[test]
fn a_test_that_is_not_there_is_seen() {
    assert_eq!(missing("tests/it/threats/table.rs::a_test_that_is_not_there_is_seen"), None);
    assert!(missing("tests/it/threats/table.rs::rows").is_some());
    assert!(missing(&format!("tests/it/threats/table.rs::{}", ["no", "where"].concat())).is_some());
    assert!(missing("tests/it/nowhere.rs::a").is_some() && missing("tests/it/threats").is_some());
    assert_eq!(wrong("later").len(), 1);
}
