//! Lines for people, on standard output and standard error. A closed pipe is nobody's failure.

use std::fmt::Arguments;
use std::io::Write as _;

/// A line on standard output.
pub(super) fn out(line: Arguments<'_>) {
    let _closed_pipe = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line on standard error.
pub(super) fn err(line: Arguments<'_>) {
    let _closed_pipe = writeln!(std::io::stderr().lock(), "{line}");
}
