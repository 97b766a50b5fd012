//! Tables for people: no borders, aligned columns, nothing of theirs that a terminal obeys.
//! Numbers stand under each other by their points.

use console::measure_text_width;
use serde_json::Value;

use super::look;
use super::print::plain;

/// What stands between two columns.
const GAP: &str = "  ";

/// A table whose columns are named; those of numbers stand on the right.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

struct Column {
    name: String,
    is_number: bool,
}

enum Row {
    Cells(Vec<String>),
    /// A line under the columns for which this holds.
    Rule(Vec<bool>),
}

impl Table {
    /// A table with these columns. A name that begins with `>` is a column of numbers.
    pub(super) fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| Column {
            name: name.trim_start_matches('>').to_owned(),
            is_number: name.starts_with('>'),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row. What is missing at its end stays empty.
    pub(super) fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row::Cells(cells.into_iter().collect()));
    }

    /// Adds the named members of an object.
    pub(super) fn add_members(&mut self, object: &Value, members: &[&str]) {
        self.add(members.iter().map(|name| cell(name, object.get(*name))));
    }

    /// Adds a line under these columns, counted from 0.
    pub(super) fn add_rule(&mut self, under: impl Fn(usize) -> bool) {
        self.rows.push(Row::Rule((0..self.columns.len()).map(under).collect()));
    }

    /// The table as text, without an end of its last line.
    pub(super) fn render(mut self) -> String {
        self.align_points();
        let widths: Vec<usize> = (0..self.columns.len()).map(|index| self.width(index)).collect();
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        let mut lines = vec![look::head(&self.line(&names, &widths))];
        lines.extend(self.rows.iter().map(|row| match row {
            Row::Cells(cells) => self.line(cells, &widths),
            Row::Rule(under) => {
                let rules = under.iter().zip(&widths);
                let rules = rules.map(|(is, width)| "─".repeat(if *is { *width } else { 0 }));
                self.line(&rules.collect::<Vec<_>>(), &widths)
            }
        }));
        lines.join("\n")
    }

    /// Fills up numbers behind their digits, so that their points meet when they stand right.
    fn align_points(&mut self) {
        for (index, _) in self.columns.iter().enumerate().filter(|(_, of)| of.is_number) {
            let cells = self.rows.iter().filter_map(|row| row.cell(index));
            let longest = cells.map(fraction).max().unwrap_or(0);
            for row in &mut self.rows {
                if let Row::Cells(cells) = row
                    && let Some(cell) = cells.get_mut(index)
                    && longest > 0
                {
                    cell.push_str(&" ".repeat(longest - fraction(cell)));
                }
            }
        }
    }

    fn width(&self, index: usize) -> usize {
        let name = self.columns.get(index).map(|column| measure_text_width(&column.name));
        let cells = self.rows.iter().filter_map(|row| row.cell(index)).map(measure_text_width);
        name.into_iter().chain(cells).max().unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (cell, (column, width)) in cells.iter().zip(self.columns.iter().zip(widths)) {
            let room = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            let (before, after) =
                if column.is_number { (room.as_str(), "") } else { ("", room.as_str()) };
            line.extend([before, cell, after, GAP]);
        }
        line.trim_end().to_owned()
    }
}

impl Row {
    fn cell(&self, index: usize) -> Option<&str> {
        match self {
            Self::Cells(cells) => cells.get(index).map(String::as_str),
            Self::Rule(_) => None,
        }
    }
}

/// How long the point of a number is with the digits behind it.
fn fraction(cell: &str) -> usize {
    let digits = cell.split_once('.').map(|(_, digits)| digits);
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.map_or(0, |digits| digits.len() + 1)
}

/// The named members of one object, one below the other; those that are missing are left out.
pub(super) fn card(object: &Value, members: &[&str]) -> String {
    let present: Vec<(String, String)> = members
        .iter()
        .filter_map(|name| {
            object.get(*name).filter(|value| !value.is_null()).map(|value| (name, value))
        })
        .map(|(name, value)| (name.replace('_', " "), cell(name, Some(value))))
        .collect();
    let width = present.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = present.iter().map(|(name, value)| format!("{name:<width$}{GAP}{value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A member as people read it.
fn cell(name: &str, value: Option<&Value>) -> String {
    let text = text(value);
    if matches!(name, "status" | "settlement" | "circuit") { look::status(&text) } else { text }
}

/// An instant to the second.
pub(super) fn moment(value: Option<&Value>) -> String {
    let text = text(value);
    match chrono::DateTime::parse_from_rfc3339(&text) {
        Ok(at) => at.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        Err(_) => text,
    }
}

/// A value as people read it.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => plain(&other.to_string()),
    }
}
