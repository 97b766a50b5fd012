//! What is written, on standard output and standard error. A closed pipe is nobody's failure.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// Whoever read the output has read enough.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct ClosedPipe;

/// A line on standard output.
pub(super) fn out(line: Arguments<'_>) {
    let _closed_pipe = writeln!(io::stdout().lock(), "{line}");
}

/// A line on standard error.
pub(super) fn err(line: Arguments<'_>) {
    let _closed_pipe = writeln!(io::stderr().lock(), "{line}");
}

/// An answer, or a part of one, on standard output.
///
/// # Errors
/// [`ClosedPipe`], so that whoever makes more of it can stop; anything else that went wrong.
pub(super) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// A text and the end of its last line, on standard output.
///
/// # Errors
/// As for [`bytes`].
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Without characters that a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
