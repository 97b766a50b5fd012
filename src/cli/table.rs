//! Tables for people: no borders, aligned columns, nothing that moves a terminal's cursor.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::Value;

/// A table whose columns are named; those of numbers stand on the right.
pub(super) struct Rows {
    table: Table,
    numbers: Vec<bool>,
}

impl Rows {
    /// A table with these columns. A name that begins with `>` is a column of numbers.
    pub(super) fn new(columns: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        let numbers: Vec<bool> = columns.iter().map(|name| name.starts_with('>')).collect();
        let mut rows = Self { table, numbers };
        let names: Vec<String> =
            columns.iter().map(|name| name.trim_start_matches('>').to_uppercase()).collect();
        let cells = rows.cells(names);
        rows.table.set_header(cells);
        rows
    }

    /// Adds the named members of an object.
    pub(super) fn add(&mut self, object: &Value, members: &[&str]) {
        let texts = members.iter().map(|name| text(object.get(*name))).collect();
        let cells = self.cells(texts);
        self.table.add_row(cells);
    }

    fn cells(&self, texts: Vec<String>) -> Vec<Cell> {
        let aligned = texts.into_iter().zip(&self.numbers).map(|(text, is_number)| {
            let alignment = if *is_number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        });
        aligned.collect()
    }

    /// The table as text.
    pub(super) fn render(&self) -> String {
        unpadded(&self.table)
    }
}

/// The named members of one object, one below the other; those that are missing are left out.
pub(super) fn card(object: &Value, members: &[&str]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for name in members {
        if let Some(value) = object.get(*name).filter(|value| !value.is_null()) {
            table.add_row([name.replace('_', " "), text(Some(value))]);
        }
    }
    unpadded(&table)
}

/// Without the space that every cell begins and ends with.
fn unpadded(table: &Table) -> String {
    let lines = table.lines().map(|line| {
        let line = line.trim_end();
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A member as people read it.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => plain(&other.to_string()),
    }
}

/// Without characters that a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
