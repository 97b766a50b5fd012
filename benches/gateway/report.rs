//! The whole report, and its place in the README.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::machine;
use crate::results::Results;
use crate::{table, targets};

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// Everything that is told, as Markdown that can be read as it is.
pub(crate) fn render(results: &Results, postgres: &str, rounds: u32, seconds: u64) -> String {
    format!(
        "Measured {date} on {machine};\n\
         {postgres}.\n\
         Load generator, provider, gateway and Postgres shared these cores. Medians of {rounds} \
         rounds of at most\n\
         {seconds} s, in which the contenders took turns. Ratios are to the bare relay in the same \
         round; CPU is what\n\
         the kernel charged to the process. The relay uses the system's allocator; `dev` wrote its \
         line for\n\
         each call to `/dev/null`.\n\n\
         {table}\n\n\
         Targets, with the lowest and the highest of the rounds:\n\n\
         {targets}\n",
        date = chrono::Utc::now().format("%Y-%m-%d"),
        machine = machine::describe(),
        table = table::render(results),
        targets = targets::render(results),
    )
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
