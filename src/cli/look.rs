//! Colour: on a terminal, unless `NO_COLOR` is set; never anything that only colour says.

use clap::ValueEnum;
use console::{Style, set_colors_enabled};

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Does as the command line says.
pub(super) fn choose(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => set_colors_enabled(true),
        Color::Never => set_colors_enabled(false),
    }
}

/// The head of a table.
pub(super) fn head(text: &str) -> String {
    Style::new().bold().apply_to(text).to_string()
}

/// What matters less than what stands around it.
pub(super) fn dim(text: &str) -> String {
    Style::new().dim().apply_to(text).to_string()
}

/// A sign of what went well.
pub(super) fn good(sign: &str) -> String {
    Style::new().green().apply_to(sign).to_string()
}

/// A sign of what must be heeded.
pub(super) fn warning(sign: &str) -> String {
    Style::new().yellow().apply_to(sign).to_string()
}

/// The state of a run, of its bill, of a key or of a circuit. Any other word stays as it is.
pub(super) fn status(word: &str) -> String {
    let style = match word {
        "running" | "final" | "active" => Style::new().green(),
        "pending" | "initializing" | "scoring" | "provisional" | "suspended" => {
            Style::new().yellow()
        }
        "failed" | "cancelled" | "open" => Style::new().red(),
        _ => Style::new(),
    };
    style.apply_to(word).to_string()
}
