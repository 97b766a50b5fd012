//! `rungate credits`: what an organization has paid in advance, and what is left of it.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Output, done, show};
use super::control::{Ask, ControlPlane};
use super::figures::{dollars, signed, sum_usd};
use super::lists::{Paging, rows, total_label, with_next};
use super::organization::Of;
use super::table::{self, Table, moment, text};
use super::values::usd;

/// What is below an organization's path.
const CREDITS: &str = "/credits";

/// Whose credits, or what to do with them.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<CreditsCommand>,
    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "\
Where they stand:  rungate credits --org shop
Put some in:       rungate credits add 25 --org shop --note \"invoice 7\"
What became of it: rungate credits history --org shop";

/// What to do with credits.
#[derive(Debug, Subcommand)]
enum CreditsCommand {
    /// Show what is left of what was put in
    Show(Show),
    /// Put an amount in; from the first one on the organization pays in advance
    Add(Add),
    /// List what was put in and what was charged, the newest first
    History(History),
}

/// Whose credits.
#[derive(Args, Debug)]
struct Show {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    output: Output,
}

/// How much to put in.
#[derive(Args, Debug, Serialize)]
struct Add {
    /// How many dollars, such as 25
    #[arg(value_name = "AMOUNT", value_parser = usd)]
    amount_usd: String,
    /// Why [default: top_up]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// Whatever you want to keep with it
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Its id, a UUID: the same one twice is booked once, so that it can be repeated safely
    #[arg(long, value_name = "UUID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[command(flatten)]
    #[serde(skip)]
    of: Of,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// Why credits are put in.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum Kind {
    /// It was given
    Grant,
    /// It was paid
    TopUp,
}

/// Which transactions to list.
#[derive(Args, Debug)]
struct History {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    output: Output,
}

/// Does what was asked of the control plane.
///
/// # Errors
/// One line: there is no such organization, or as for any request.
pub(super) async fn run(options: Options, plane: &ControlPlane) -> anyhow::Result<()> {
    match options.command.unwrap_or(CreditsCommand::Show(options.show)) {
        CreditsCommand::Show(Show { of, output }) => {
            let path = format!("{}?limit=1", of.path(plane, CREDITS).await?);
            show(&plane.ask(Ask::get(&path)).await?, output.json, balance_card)
        }
        CreditsCommand::Add(add) => {
            let path = add.of.path(plane, CREDITS).await?;
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&add)?);
            show(&plane.ask(ask).await?, add.output.json, booked)
        }
        CreditsCommand::History(History { of, paging, output }) => {
            let path = paging.of(&of.path(plane, CREDITS).await?)?;
            show(&plane.ask(Ask::get(&path)).await?, output.json, history)
        }
    }
}

/// Where credits stand.
fn balance_card(credits: &Value) -> String {
    const BALANCE: &[&str] =
        &["prepaid", "balance_usd", "credited_usd", "spent_usd", "reserved_usd"];
    table::card(credits, BALANCE)
}

/// In a few words: what is left of what was put in.
pub(super) fn left(credits: &Value) -> String {
    if credits.get("prepaid").and_then(Value::as_bool) != Some(true) {
        return "none; it does not pay in advance".to_owned();
    }
    let amount = |name: &str| dollars(&text(credits.get(name)));
    format!("{} left of {}", amount("balance_usd"), amount("credited_usd"))
}

fn booked(answer: &Value) -> String {
    let credit = answer.get("credit").unwrap_or(&Value::Null);
    let amount = |value: Option<&Value>| dollars(&text(value));
    let facts = [
        ("Amount", amount(credit.get("amount_usd"))),
        ("Kind", text(credit.get("kind"))),
        ("Balance", amount(answer.get("balance_usd"))),
    ];
    done("Credits added", &facts)
}

/// A page of transactions, and what is left.
fn history(list: &Value) -> String {
    const AMOUNT: usize = 2;
    let mut table = Table::new(&["AT", "KIND", ">AMOUNT", "MODEL", "RUN", "NOTE"]);
    let all = rows(list, "data").unwrap_or_default();
    for one in all {
        let or_empty = |name: &str| match one.get(name) {
            None | Some(Value::Null) => String::new(),
            some => text(some),
        };
        table.add([
            moment(one.get("created_at")),
            text(one.get("kind")),
            signed(&text(one.get("amount_usd"))),
            or_empty("model"),
            or_empty("run_id"),
            or_empty("note"),
        ]);
    }
    if !all.is_empty() {
        table.add_rule(|column| column == AMOUNT);
        let sum = signed(&sum_usd(all, "amount_usd"));
        table.add([total_label(list).to_owned(), String::new(), sum]);
    }
    let unlisted = text(list.get("unlisted_charges_usd"));
    let unlisted = match unlisted.as_str() {
        "-" | "0" => String::new(),
        amount => format!("; charges that are not kept as rows any more: {}", dollars(amount)),
    };
    with_next(format!("{}\n\ncredits: {}{unlisted}", table.render(), left(list)), list)
}
