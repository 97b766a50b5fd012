//! Exit codes, and the failures that know theirs.

use std::process::ExitCode;

/// How a command ended, as a script can tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It did what was asked.
    Done,
    /// It was refused, or something broke.
    Failed,
    /// The command line makes no sense; clap's code.
    Usage,
    /// The run, or whatever was named, is not there.
    NotFound,
    /// The control plane wants a token, or another one.
    Token,
    /// A setting cannot be used; `EX_USAGE` of `sysexits.h`.
    Settings,
    /// Nobody answers, or not now; `EX_UNAVAILABLE` of `sysexits.h`.
    Unreachable,
    /// Ctrl-C, as shells tell it: 128 and the signal's number.
    Interrupted,
}

impl Exit {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::Token,
        Self::Settings,
        Self::Unreachable,
        Self::Interrupted,
    ];

    /// The number.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Token => 4,
            Self::Settings => 64,
            Self::Unreachable => 69,
            Self::Interrupted => 130,
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed or refused; for `ledger check`: an invariant is violated",
            Self::Usage => "wrong usage: an unknown command or option, a malformed value",
            Self::NotFound => "there is no such run, organization, key, or whatever was named",
            Self::Token => "the control plane wants a token, or another one",
            Self::Settings => "a setting cannot be used",
            Self::Unreachable => "the control plane cannot be reached, or not now",
            Self::Interrupted => {
                "ended by Ctrl-C before it was done; `serve` and `dev`: by a second signal"
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure that a script can tell from others by the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    /// How the command ends.
    pub(super) exit: Exit,
    message: String,
}

impl Failure {
    /// A failure with one line that says what to do.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// The table for `--help`.
pub(super) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:<4} {}\n", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.concat())
}
