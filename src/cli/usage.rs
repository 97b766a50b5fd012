//! `rungate usage`: what was spent, by model, key, provider, run or day.

use chrono::{DateTime, NaiveDate};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::control::{Ask, ControlPlane, parsed, with_query};
use super::exit::{Exit, Failure};
use super::figures::{about, dollars, whole};
use super::print;
use super::table::{Table, text};

mod organization;

/// Of which time, and how to add it up.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// What this organization used, by its id, its name or `default` [default: of all, together]
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// The first day (2026-01-31) or instant (RFC 3339) [default: 30 days ago; with --org the
    /// beginning of the month]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    from: Option<String>,
    /// Up to this day or instant, without it [default: now]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    to: Option<String>,
    /// What the rows stand for; keys go with --org
    #[arg(long, value_enum, default_value_t = GroupBy::Model)]
    group_by: GroupBy,
    /// Print the answer as the control plane gave it, in JSON; with --org a line for each page of
    /// 1000 rows
    #[arg(long)]
    json: bool,
    /// With --org: print all rows as comma-separated values, for a spreadsheet
    #[arg(long, requires = "org", conflicts_with = "json")]
    csv: bool,
}

const EXAMPLES: &str = "\
Of everybody, by model:  rungate usage
Of a team, by key:       rungate usage --org shop --group-by key
For a spreadsheet:       rungate usage --org shop --group-by day --csv > usage.csv";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    Model,
    Key,
    Provider,
    Run,
    Day,
}

impl GroupBy {
    const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Run => "run",
            Self::Day => "day",
        }
    }

    /// The member of a row that names it, and the head of its column.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Model => ("model", "MODEL"),
            Self::Key => ("key_id", "KEY"),
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
    if let Some(org) = &options.org {
        return organization::run(options, org, plane).await;
    }
    if options.group_by == GroupBy::Key {
        let what = "--group-by key goes with --org; see `rungate usage --help`";
        return Err(Failure::new(Exit::Usage, what).into());
    }
    let path = with_query("/usage", &options.query())?;
    let answer = plane.ask(Ask::get(&path)).await?;
    if options.json {
        return print::text(&answer);
    }
    let usage = parsed(&answer)?;
    let Some(rows) = usage.get("data").and_then(Value::as_array) else {
        return Err(no_usage().into());
    };
    let title = options.title("Usage", "last 30 days", &usage);
    print::text(&format!("{title}:\n\n{}", table(options.group_by, rows, &usage)))
}

fn no_usage() -> Failure {
    let what = "the answer tells no usage; does a gateway of this version run there?";
    Failure::new(Exit::Failed, what)
}

impl Options {
    fn query(&self) -> [(&str, Option<&str>); 3] {
        [
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("group_by", Some(self.group_by.word())),
        ]
    }

    /// Of whom and of which time: what was asked for, or what is meant if nothing was.
    fn title(&self, of: &str, otherwise: &str, usage: &Value) -> String {
        if self.from.is_none() && self.to.is_none() {
            return format!("{of} ({otherwise})");
        }
        let instant = |name: &str| {
            let text = text(usage.get(name));
            text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
        };
        format!("{of} ({} to {})", instant("from"), instant("to"))
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
