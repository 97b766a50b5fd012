//! A catalogue made from a price map, with the constants of an older one.
//!
//! A map knows prices and limits. How tokens are counted, what stands around the text and what an
//! image may become is the older catalogue's: of the same model at the same provider, else of the
//! one that it is a dated release of, else the most cautious that the provider's rows allow.

use std::collections::BTreeSet;

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::price_map::{LeftOut, Listed, Listing};
use super::refresh::RefreshError;
use super::{Catalog, CatalogError, Kind};

/// What stands on top of an imported catalogue.
const HEAD: &str = "\
# Made by `rungate models import` from LiteLLM's price map. Prices are USD per million tokens,
# quoted so that they are exact. What the map does not know is as in the catalogue before it.
";
/// How the members of a row follow each other; others stand between these.
const FIRST: [&str; 6] =
    ["name", "provider", "upstream_model", "kind", "context_window", "max_output_tokens"];
const LAST: [&str; 8] = [
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "long_context",
    "tiers",
    BOUND,
];

/// Constants of a provider that no row is known of: several times what role and wrapping take.
const UNKNOWN: [(&str, i64); 3] = [("per_request", 1024), ("per_message", 16), ("per_tool", 64)];
const BOUND: &str = "bound";

/// What became of a price map.
#[derive(Debug)]
pub struct Imported {
    /// The catalogue as a file.
    pub text: String,
    /// The rows that were left out, and why.
    pub left_out: Vec<(String, LeftOut)>,
    /// How many rows of the map were taken.
    pub taken: usize,
    /// How many were not asked for.
    pub passed_over: usize,
}

/// Makes a catalogue of the rows that `wanted` says yes to, by provider and name. Rows that cannot
/// be used are left out, also those that are wrong only beside others.
///
/// # Errors
/// If the older catalogue's own text cannot be read again, or the new one is wrong as a whole.
pub fn import(
    listings: Vec<Listing>,
    older: &Catalog,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Imported, RefreshError> {
    let known: DocumentMut = older.text().parse()?;
    let known = Known::of(&known, &listings);
    let exact: BTreeSet<(&str, String)> = listings.iter().filter_map(prefixed).collect();
    let mut imported =
        Imported { text: HEAD.to_owned(), left_out: vec![], taken: 0, passed_over: 0 };
    let mut rows: Vec<(String, Table)> = Vec::new();
    for Listing { key, listed } in listings {
        let made = listed.and_then(|listed| {
            let is_exact = key != listed.id;
            if !is_exact && exact.contains(&(listed.provider.name, listed.id.clone())) {
                return Err(LeftOut::Bare);
            }
            let made = known.rows(&listed)?;
            let provider = listed.provider.name;
            let is_wanted =
                |row: &Table| wanted(provider, &listed.id) || wanted(provider, text(row, "name"));
            Ok(made.into_iter().filter(is_wanted).collect::<Vec<_>>())
        });
        match made {
            Err(why) if wanted("", &key) => imported.left_out.push((key, why)),
            Ok(made) if !made.is_empty() => {
                rows.extend(made.into_iter().map(|row| (key.clone(), row)));
            }
            Err(_) | Ok(_) => imported.passed_over += 1,
        }
    }
    settle(rows, &mut imported)?;
    Ok(imported)
}

/// The model of a key that begins with its provider's name. It is preferred to the bare one.
fn prefixed(listing: &Listing) -> Option<(&'static str, String)> {
    let listed = listing.listed.as_ref().ok()?;
    (listing.key != listed.id).then(|| (listed.provider.name, listed.id.clone()))
}

/// Leaves out what catalogues refuse, until the rest is one.
fn settle(mut rows: Vec<(String, Table)>, imported: &mut Imported) -> Result<(), CatalogError> {
    while !rows.is_empty() {
        let body = written(&rows);
        let Err(error) = Catalog::parse("the import", &body) else {
            imported.text.push_str(&body);
            break;
        };
        let Some(at) = faulty(&error, &rows) else { return Err(error) };
        let (key, _) = rows.remove(at);
        imported.left_out.push((key, LeftOut::Refused(error.problem.to_string())));
    }
    let keys: BTreeSet<&String> = rows.iter().map(|(key, _)| key).collect();
    imported.taken = keys.len();
    Ok(())
}

/// The row that an error is about: the one that its line is in.
fn faulty(error: &CatalogError, rows: &[(String, Table)]) -> Option<usize> {
    let mut end = 0;
    let at = rows.iter().position(|row| {
        end += written(std::slice::from_ref(row)).lines().count();
        error.line <= end
    })?;
    let name = rows.get(at).map(|(_, row)| text(row, "name"));
    // A name that is no name is not repeated by the error.
    (error.model.is_none() || name == error.model.as_deref()).then_some(at)
}

fn written(rows: &[(String, Table)]) -> String {
    let mut tables = ArrayOfTables::new();
    for (_, row) in rows {
        let mut row = row.clone();
        row.decor_mut().set_prefix("\n");
        tables.push(row);
    }
    let mut document = DocumentMut::new();
    document.insert("models", Item::ArrayOfTables(tables));
    document.to_string()
}

/// The rows of an older catalogue, and the names that prefixes make.
struct Known<'a> {
    rows: Vec<&'a Table>,
    prefixed: BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(document: &'a DocumentMut, listings: &[Listing]) -> Self {
        let rows = document.get("models").and_then(Item::as_array_of_tables);
        let listed = listings.iter().filter_map(|listing| listing.listed.as_ref().ok());
        let prefixed = listed.map(|listed| format!("{}/{}", listed.provider.name, listed.id));
        Self {
            rows: rows.map(|rows| rows.iter().collect()).unwrap_or_default(),
            prefixed: prefixed.collect(),
        }
    }

    fn at<'b>(&'b self, provider: &'b str) -> impl Iterator<Item = &'a Table> + 'b {
        self.rows.iter().copied().filter(move |row| text(row, "provider") == provider)
    }

    /// The rows for a model of a map: one for each that the older catalogue has, or a new one.
    fn rows(&self, listed: &Listed) -> Result<Vec<Table>, LeftOut> {
        let provider = listed.provider.name;
        let same: Vec<_> = self.at(provider).filter(|row| id(row) == listed.id).collect();
        if same.iter().any(|row| is_embedding(row) != (listed.kind == Kind::Embedding)) {
            return Err(LeftOut::OtherKind);
        }
        let mut rows: Vec<Table> = same.into_iter().map(values).collect();
        if rows.is_empty() {
            rows.push(self.new_row(listed));
        }
        for row in &mut rows {
            listed.quote.write(row, listed.kind);
            row.sort_values_by(|a, _, b, _| rank(a).cmp(&rank(b)));
        }
        Ok(rows)
    }

    fn new_row(&self, listed: &Listed) -> Table {
        let provider = listed.provider.name;
        // A name that is also somebody's prefixed name would be ambiguous.
        let prefixed = format!("{provider}/{}", listed.id);
        let name = if self.prefixed.contains(&listed.id) { &prefixed } else { &listed.id };
        let mut row = Table::new();
        row.insert("name", value(name));
        row.insert("provider", value(provider));
        if name != &listed.id {
            row.insert("upstream_model", value(&listed.id));
        }
        let is_of_kind = |row: &&Table| is_embedding(row) == (listed.kind == Kind::Embedding);
        let released = self.at(provider).filter(is_of_kind);
        let older = released.filter(|row| is_release(&listed.id, id(row))).last();
        if let Some(older) = older {
            for (key, item) in values(older).iter() {
                if !matches!(key, "name" | "provider" | "upstream_model") {
                    row.insert(key, item.clone());
                }
            }
            return row;
        }
        if listed.kind == Kind::Embedding {
            row.insert("kind", value("embedding"));
        }
        // Anthropic counts for whatever it serves.
        let tokenizer = if provider == "anthropic" { "anthropic" } else { "bytes" };
        row.insert("tokenizer", value(tokenizer));
        if listed.reasons {
            row.insert("hidden_reasoning", value(true));
        }
        row.insert(BOUND, value(self.most_cautious(provider)));
        row
    }

    /// The largest constants of a provider's rows. Images have none, so they are refused.
    fn most_cautious(&self, provider: &str) -> InlineTable {
        let mut bound = InlineTable::new();
        for (key, unknown) in UNKNOWN {
            let constants = self
                .at(provider)
                .filter_map(|row| row.get(BOUND)?.as_table_like()?.get(key)?.as_integer());
            bound.insert(key, Value::from(constants.max().unwrap_or(unknown)));
        }
        bound
    }
}

/// A row's keys and values, without the comments and the place that it had.
fn values(row: &Table) -> Table {
    let mut values = Table::new();
    for (key, item) in row {
        if let Ok(value) = item.clone().into_value() {
            let mut value = value;
            value.decor_mut().clear();
            values.insert(key, Item::Value(value));
        }
    }
    values
}

fn rank(key: &toml_edit::Key) -> usize {
    let key = key.get();
    let first = FIRST.iter().position(|known| *known == key);
    let last = LAST.iter().position(|known| *known == key).map(|at| FIRST.len() + 1 + at);
    first.or(last).unwrap_or(FIRST.len())
}

fn text<'a>(row: &'a Table, key: &str) -> &'a str {
    row.get(key).and_then(Item::as_str).unwrap_or_default()
}

/// The model's id at its provider.
pub(super) fn id(row: &Table) -> &str {
    match text(row, "upstream_model") {
        "" => text(row, "name"),
        id => id,
    }
}

pub(super) fn provider(row: &Table) -> &str {
    text(row, "provider")
}

fn is_embedding(row: &Table) -> bool {
    text(row, "kind") == Kind::Embedding.name()
}

/// Whether `id` is `older` and a date.
fn is_release(id: &str, older: &str) -> bool {
    let date = id.strip_prefix(older).and_then(|rest| rest.strip_prefix(['-', '@']));
    date.is_some_and(|date| {
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        let is_date = date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_date && matches!(digits, 4 | 6 | 8)
    })
}
