//! Lists: their pages, and how they stand in tables with their sums.

use clap::Args;
use serde_json::Value;

use super::control::{Ask, ControlPlane, parsed, with_query};
use super::exit::{Exit, Failure};
use super::figures;
use super::print::plain;
use super::table::Table;

/// Most rows of a page.
const MOST: &str = "1000";

/// Which page of a list.
#[derive(Args, Clone, Debug)]
pub(super) struct Paging {
    /// Most rows to list, up to 1000
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where the list before ended, as it says
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl Paging {
    /// The path of the page.
    ///
    /// # Errors
    /// As for [`with_query`].
    pub(super) fn of(&self, path: &str) -> anyhow::Result<String> {
        let limit = self.limit.to_string();
        with_query(path, &[("limit", Some(&limit)), ("after", self.after.as_deref())])
    }
}

/// Asks for every page, and hands on each as it came and as a value.
///
/// # Errors
/// As for any request; if a page leads to itself; whatever `each` says.
pub(super) async fn every_page(
    plane: &ControlPlane,
    path: &str,
    query: &[(&str, Option<&str>)],
    mut each: impl FnMut(&str, &Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    loop {
        let place = [("limit", Some(MOST)), ("after", after.as_deref())];
        let path = with_query(path, &[query, &place].concat())?;
        let answer = plane.ask(Ask::get(&path)).await?;
        let page = parsed(&answer)?;
        each(&answer, &page)?;
        let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() {
            return Ok(());
        }
        if next == after {
            let what =
                "the pages of the answer do not end; does a gateway of this version run there?";
            return Err(Failure::new(Exit::Failed, what).into());
        }
        after = next;
    }
}

/// A page as a table: a row for each object, and the sums of what can be summed.
pub(super) fn list_table(list: &Value, columns: &[&str], members: &[&str]) -> String {
    let mut table = Table::new(columns);
    if let Some(objects) = rows(list, "data").filter(|objects| !objects.is_empty()) {
        add_all(&mut table, objects, members, total_label(list));
    }
    with_next(table.render(), list)
}

/// What the sums of a page are called.
pub(super) fn total_label(list: &Value) -> &'static str {
    if next(list).is_some() { "Total of these" } else { "Total" }
}

/// A page, and how to see the next one.
pub(super) fn with_next(shown: String, list: &Value) -> String {
    match next(list) {
        Some(next) => format!("{shown}\n\nmore: --after {}", plain(next)),
        None => shown,
    }
}

fn next(list: &Value) -> Option<&str> {
    list.get("next").and_then(Value::as_str)
}

/// Adds objects and, below a rule, the sums of what can be summed.
pub(super) fn add_all(table: &mut Table, objects: &[Value], members: &[&str], label: &str) {
    for object in objects {
        table.add_members(object, members);
    }
    let sums: Vec<Option<String>> = members.iter().map(|member| sum(objects, member)).collect();
    if sums.iter().all(Option::is_none) {
        return;
    }
    table.add_rule(|column| sums.get(column).is_some_and(Option::is_some));
    let label = std::iter::once(label.to_owned());
    table.add(label.chain(sums.into_iter().skip(1).map(Option::unwrap_or_default)));
}

/// What a column comes to. Caps do not add up to anything, nor do states and times.
fn sum(objects: &[Value], member: &str) -> Option<String> {
    match member {
        "spent_usd" | "reserved_usd" | "cost_usd" => Some(figures::sum_usd(objects, member)),
        "calls"
        | "in_flight"
        | "input_tokens"
        | "cached_input_tokens"
        | "output_tokens"
        | "tokens_used_cycle" => Some(figures::sum(objects, member).to_string()),
        _ => None,
    }
}

/// The rows of a list, or of another member.
pub(super) fn rows<'a>(object: &'a Value, member: &str) -> Option<&'a [Value]> {
    object.get(member).and_then(Value::as_array).map(Vec::as_slice)
}
