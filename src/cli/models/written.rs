//! Where a catalogue goes that was made: a file that comes to be whole or not at all, or standard
//! output.

use std::path::Path;

use anyhow::Context as _;

use crate::cli::print;
use crate::storage::new_file::{NewFile, SHARED};

/// Writes a catalogue.
///
/// # Errors
/// If it cannot be written; a file that was there is then as it was.
pub(super) fn write(text: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = output else { return print::bytes(text.as_bytes()) };
    NewFile::begin(path)
        .and_then(|file| file.finish(text, SHARED))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Whether a name is what a filter says; a trailing `*` stands for any rest.
pub(super) fn matches(filter: &str, name: &str) -> bool {
    match filter.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == filter,
    }
}
