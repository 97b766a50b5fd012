//! How a command answers: as people read it, or as the control plane gave it.

use clap::Args;
use serde_json::Value;

use super::control::parsed;
use super::print::plain;
use super::{look, print};

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Output {
    /// Print the answer as the control plane gave it, in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints an answer.
///
/// # Errors
/// If it is no JSON, or standard output is closed.
pub(super) fn show(
    answer: &str,
    json: bool,
    as_text: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    if json { print::text(answer) } else { print::text(&as_text(&parsed(answer)?)) }
}

/// What was done, and what is to be known of it.
pub(super) fn done(what: &str, facts: &[(&str, String)]) -> String {
    let mut lines = vec![format!("{} {what}", look::good("✓")), String::new()];
    lines.extend(facts.iter().map(|(name, value)| format!("  {name}: {value}")));
    lines.join("\n")
}

/// The same of something that is shown this once.
pub(super) fn done_once(what: &str, facts: &[(&str, String)]) -> String {
    let warning = "Store this key securely. It will not be shown again.";
    format!("{}\n\n  {} {warning}", done(what, facts), look::warning("⚠"))
}

/// A key that was made, with its secret.
pub(super) fn minted(what: &str, answer: &Value) -> String {
    let member = |value: Option<&Value>| plain(value.and_then(Value::as_str).unwrap_or("-"));
    let name = answer.get("key").and_then(|key| key.get("name"));
    done_once(what, &[("Key", member(answer.get("secret"))), ("Name", member(name))])
}
