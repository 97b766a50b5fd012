//! Money is exact: no float comes near it, and every column says its unit.

use super::source::{Source, files};
use super::{assert_none, library};

/// Where money is reckoned and kept.
const EXACT: [&str; 2] = ["src/domain/", "src/ledger/"];

/// Floats; only seconds may be one.
fn floats(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines() {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let has_float = words.any(|word| {
            matches!(word, "f32" | "f64") || word.ends_with("_f32") || word.ends_with("_f64")
        });
        if has_float && !line.contains("sec") {
            found.push(source.at(number, "a float, and not of seconds"));
        }
    }
    found
}

/// Columns of exact numbers that no comment says the unit of.
fn uncommented(path: &str, sql: &str) -> Vec<String> {
    let mut table = "";
    let mut found = Vec::new();
    for (index, line) in sql.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        table = match words.as_slice() {
            ["CREATE" | "ALTER", "TABLE", name, ..] => name,
            ["CREATE", ..] => "",
            _ => table,
        };
        let column = match words.as_slice() {
            ["ADD", "COLUMN", name, kind, ..] | [name, kind, ..] if is_exact(kind) => name,
            _ => continue,
        };
        let comment = format!("COMMENT ON COLUMN {table}.{column} IS '");
        if !table.is_empty() && !sql.contains(&comment) {
            found.push(format!("{path}:{}: {table}.{column} has no comment", index + 1));
        }
    }
    found
}

fn is_exact(kind: &str) -> bool {
    kind.trim_end_matches([',', ';']).split('(').next() == Some("numeric")
}

#[test]
fn no_float_comes_near_money() {
    let exact = |source: &Source| EXACT.iter().any(|folder| source.path.starts_with(folder));
    let found: Vec<_> = library().iter().filter(|source| exact(source)).flat_map(floats).collect();
    assert_none("money is exact", &found);
}

#[test]
fn every_exact_column_says_its_unit() {
    let migrations = files(&["migrations"], "sql");
    assert!(!migrations.is_empty());
    let found: Vec<_> = migrations.iter().flat_map(|(path, sql)| uncommented(path, sql)).collect();
    assert_none("a numeric column has a comment that says its unit", &found);
}

#[test]
fn floats_and_silent_columns_are_seen() {
    let found = |text: &str| floats(&Source::new("src/domain/a.rs", text)).len();
    assert_eq!(found("let cost: f64 = amount;"), 1);
    assert_eq!(found("cost.to_f64()"), 1);
    assert_eq!(found("seconds: f64,"), 0);
    assert_eq!(found("// f64"), 0);

    let table = "CREATE TABLE a (\n    b numeric NOT NULL,\n    c numeric(20,2)\n);\n";
    assert_eq!(uncommented("1.sql", table).len(), 2);
    let said = format!("{table}COMMENT ON COLUMN a.b IS 'USD';\n");
    assert_eq!(uncommented("1.sql", &said), ["1.sql:3: a.c has no comment"]);
    let added = "ALTER TABLE a\n    ADD COLUMN d numeric;\n";
    assert_eq!(uncommented("1.sql", added).len(), 1);
    let function = "CREATE FUNCTION f(\n    p_usd numeric,\n";
    assert_eq!(uncommented("1.sql", &format!("{said}{function}")).len(), 1);
}
