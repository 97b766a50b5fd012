//! The whole report, and its place in the README.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::machine;
use crate::results::Results;
use crate::{table, targets};

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// What stands before the table of first tokens.
const TOKENS: &str = "\n\
    First tokens of streams of 8 events, on 1 connection to each contender, which took turns\n\
    every 16 streams. Translated, a client of chat is answered by the provider of messages, and\n\
    one of messages by that of chat; what is added is beside the time of the same provider\n\
    alone.\n\n";
/// What stands before the table of organizations.
const PAID: &str = "\n\
    Budgets of organizations. *One budget*: 1,000 runs of the organization that nobody has\n\
    configured, by their tokens. *Three budgets*: keys of 100 organizations, each naming one of\n\
    1,000 runs; budgets of the run, the key and the organization. *One organization*: the same,\n\
    with 1,000 runs and 100 keys of one. *Full*: with 1,000 organizations, 100,000 keys and\n\
    1,000,000 runs in the tables, and their budgets, where the runs that are called were the\n\
    last to be registered. *Scattered*: the same tables, where they were registered at any time,\n\
    so that each lies on pages of its own. Ratios are to one budget and, of full tables, to the\n\
    same calls without. Commits are all that the database made. At 64 connections a round is the\n\
    median of eight turns of a second, as the machine's speed changes by more than is looked\n\
    for.\n\n";

/// Everything that is told, as Markdown that can be read as it is.
pub(crate) fn render(results: &Results, postgres: &str, rounds: u32, seconds: u64) -> String {
    let mut report = format!(
        "Measured {date} on {machine};\n\
         {postgres}.\n\
         Load generator, provider, gateway and Postgres shared these cores. Medians of {rounds} \
         rounds of at most\n\
         {seconds} s, in which the contenders took turns. Ratios are to the bare relay in the same \
         round; CPU is what\n\
         the kernel charged to the process. The relay uses the system's allocator; `dev` wrote its \
         line for\n\
         each call to `/dev/null`. Targets have the lowest and the highest of the rounds.\n",
        date = chrono::Utc::now().format("%Y-%m-%d"),
        machine = machine::describe(),
    );
    let parts = [
        ("\n", table::render(results), targets::render(results)),
        (TOKENS, table::render_tokens(results), targets::render_tokens(results)),
        (PAID, table::render_paid(results), targets::render_paid(results)),
    ];
    for (about, table, targets) in parts {
        // What has only its heads was not measured.
        if table.lines().count() > 2 {
            report += &format!("{about}{table}\n\n{targets}\n");
        }
    }
    report
}

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// # Errors
/// If the README has no place for the report.
pub(crate) fn check_readme() -> Result<()> {
    split(&std::fs::read_to_string(readme())?).map(|_| ())
}

/// Puts the report where the README shows it.
pub(crate) fn write_readme(report: &str) -> Result<()> {
    let text = std::fs::read_to_string(readme())?;
    let (before, after) = split(&text)?;
    std::fs::write(readme(), format!("{before}{BEGIN}{report}{END}{after}"))?;
    Ok(())
}

fn split(text: &str) -> Result<(&str, &str)> {
    let (before, rest) =
        text.split_once(BEGIN).with_context(|| format!("README.md lacks {}", BEGIN.trim_end()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("README.md lacks {END}"))?;
    Ok((before, after))
}
