//! `rungate usage`: what was spent, by model, provider, run or day.

use chrono::{DateTime, NaiveDate};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::control::{Ask, ControlPlane, parsed, with_query};
use super::exit::{Exit, Failure};
use super::figures::{about, dollars, whole};
use super::print;
use super::table::{Table, text};

/// Of which time, and how to add it up.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The first day (2026-01-31) or instant (RFC 3339) [default: 30 days ago]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    from: Option<String>,
    /// Up to this day or instant, without it [default: now]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    to: Option<String>,
    /// What the rows stand for
    #[arg(long, value_enum, default_value_t = GroupBy::Model)]
    group_by: GroupBy,
    /// Print the answer as the control plane gave it, in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupBy {
    Model,
    Provider,
    Run,
    Day,
}

impl GroupBy {
    const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Run => "run",
            Self::Day => "day",
        }
    }

    /// The member of a row that names it, and the head of its column.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Model => ("model", "MODEL"),
            Self::Provider => ("provider", "PROVIDER"),
            Self::Run => ("run_id", "RUN"),
            Self::Day => ("day", "DAY"),
        }
    }
}

/// An instant or a day, as it was typed.
fn when(text: &str) -> Result<String, String> {
    let is_day = NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
    if is_day || DateTime::parse_from_rfc3339(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("is neither a day such as 2026-01-31 nor an instant such as 2026-01-31T12:00:00Z"
        .to_owned())
}

/// Asks the control plane and prints what it says.
///
/// # Errors
/// As for any request to the control plane.
pub(super) async fn run(options: &Options, plane: &ControlPlane) -> anyhow::Result<()> {
    let query = [
        ("from", options.from.as_deref()),
        ("to", options.to.as_deref()),
        ("group_by", Some(options.group_by.word())),
    ];
    let path = with_query("/usage", &query)?;
    let answer = plane.ask(Ask::get(&path)).await?;
    if options.json {
        return print::text(&answer);
    }
    let usage = parsed(&answer)?;
    let Some(rows) = usage.get("data").and_then(Value::as_array) else {
        let what = "the answer tells no usage; does a gateway of this version run there?";
        return Err(Failure::new(Exit::Failed, what).into());
    };
    print::text(&format!("{}:\n\n{}", options.title(&usage), table(options.group_by, rows, &usage)))
}

impl Options {
    fn title(&self, usage: &Value) -> String {
        if self.from.is_none() && self.to.is_none() {
            return "Usage (last 30 days)".to_owned();
        }
        let instant = |name: &str| {
            let text = text(usage.get(name));
            text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
        };
        format!("Usage ({} to {})", instant("from"), instant("to"))
    }
}

fn table(group_by: GroupBy, rows: &[Value], usage: &Value) -> String {
    const COST: usize = 3;
    let (member, head) = group_by.names();
    let mut table = Table::new(&[head, ">REQUESTS", ">TOKENS", ">COST"]);
    for row in rows {
        table.add(cells(text(row.get(member)), row));
    }
    let total = usage.get("total").unwrap_or(&Value::Null);
    table.add_rule(|column| column == COST);
    table.add(cells("Total".to_owned(), total));
    match usage.get("next").and_then(Value::as_str) {
        None => table.render(),
        Some(_) => format!(
            "{}\n\nnot all rows are shown; narrow --from and --to. The total is of all.",
            table.render()
        ),
    }
}

fn cells(name: String, of: &Value) -> [String; 4] {
    let tokens = whole(of, "input_tokens").saturating_add(whole(of, "output_tokens"));
    [name, whole(of, "calls").to_string(), about(tokens), dollars(&text(of.get("cost_usd")))]
}
