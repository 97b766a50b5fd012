//! `rungate usage --org`: what an organization used.

use serde_json::Value;

use super::super::control::{ControlPlane, with_query};
use super::super::figures::{about, dollars, sum, sum_usd, whole};
use super::super::lists::{every_page, rows};
use super::super::organization;
use super::super::print;
use super::super::print::plain;
use super::super::table::{Table, text};
use super::{GroupBy, Options, no_usage};

/// What is below an organization's path.
const USAGE: &str = "/inference/usage";

/// Asks for every page, and prints the rows with their exact sums, or what came.
///
/// # Errors
/// As for any request to the control plane.
pub(super) async fn run(options: &Options, org: &str, plane: &ControlPlane) -> anyhow::Result<()> {
    let path = format!("{}{USAGE}", organization::path(plane, org).await?);
    if options.csv {
        return plane.parts(&with_query(&path, &options.query())?, "text/csv", print::bytes).await;
    }
    let mut all = Vec::new();
    let mut title = String::new();
    every_page(plane, &path, &options.query(), |answer, page| {
        if options.json {
            return print::text(answer);
        }
        let Some(found) = rows(page, "rows") else { return Err(no_usage().into()) };
        all.extend_from_slice(found);
        title = options.title(&format!("Usage of {}", plain(org)), "this month", page);
        Ok(())
    })
    .await?;
    if options.json {
        return Ok(());
    }
    print::text(&format!("{title}:\n\n{}", table(options.group_by, &all)))
}

fn table(group_by: GroupBy, rows: &[Value]) -> String {
    // A key, a run and a day have a row for each provider that was asked.
    let (columns, members): (&[&str], &[&str]) = match group_by {
        GroupBy::Model => (&["MODEL"], &["group_key"]),
        GroupBy::Provider => (&["PROVIDER"], &["group_key"]),
        GroupBy::Key => (&["KEY", "NAME", "PROVIDER"], &["group_key", "name", "provider"]),
        GroupBy::Run => (&["RUN", "PROVIDER"], &["group_key", "provider"]),
        GroupBy::Day => (&["DAY", "PROVIDER"], &["group_key", "provider"]),
    };
    let mut table = Table::new(&[columns, &[">REQUESTS", ">TOKENS", ">COST"]].concat());
    for row in rows {
        let names = members.iter().map(|member| text(row.get(*member)));
        let numbers = [
            whole(row, "calls").to_string(),
            about(whole(row, "total_tokens")),
            dollars(&text(row.get("cost_usd"))),
        ];
        table.add(names.chain(numbers));
    }
    let cost = columns.len() + 2;
    table.add_rule(|column| column == cost);
    let names = std::iter::once("Total").chain(std::iter::repeat("")).take(columns.len());
    let sums = [
        sum(rows, "calls").to_string(),
        about(sum(rows, "total_tokens")),
        dollars(&sum_usd(rows, "cost_usd")),
    ];
    table.add(names.map(str::to_owned).chain(sums));
    table.render()
}
