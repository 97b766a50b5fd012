//! A command line that makes no sense becomes one line that says what to type.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::exit::Exit;
use super::{Cli, print};

/// How credentials of ours begin.
const OURS: &str = "rg-";
/// What stands for a word that is not repeated.
const REDACTED: &str = "(redacted)";
/// Commands that are given secrets, so that a word too many may be one.
const GIVEN_SECRETS: [&str; 2] = ["rungate orgs members add", "rungate providers put"];

/// Prints the help that was asked for, or what is wrong.
pub(super) fn tell(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _closed_pipe = error.print();
            Exit::Done.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _closed_pipe = error.print();
            Exit::Usage.into()
        }
        _ => {
            let command = command(Cli::command());
            let said = said(error, GIVEN_SECRETS.contains(&command.as_str()));
            print::err(format_args!("rungate: {said}; see `{command} --help`"));
            Exit::Usage.into()
        }
    }
}

/// What clap says before it shows the usage: the fault, and what may have been meant.
fn said(error: &clap::Error, given_secrets: bool) -> String {
    let mut text = error.render().to_string();
    if given_secrets
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && !word.starts_with("--")
    {
        text = text.replace(&format!("'{word}'"), REDACTED);
    }
    let about = text.split("\n\n").filter(|part| !part.starts_with("Usage:"));
    let about = about.filter(|part| !part.starts_with("For more information"));
    let parts: Vec<String> = about
        .map(|part| {
            let lines: Vec<&str> = part.lines().map(str::trim).collect();
            let line = lines.join(" ");
            let line = line.strip_prefix("error: ").or(line.strip_prefix("tip: ")).unwrap_or(&line);
            print::plain(&redacted(line))
        })
        .collect();
    parts.join("; ")
}

/// A credential that was typed in the wrong place is not repeated.
fn redacted(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.contains(OURS) { REDACTED } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The command that the words of the command line lead to.
fn command(mut reached: clap::Command) -> String {
    let mut names = "rungate".to_owned();
    for word in std::env::args_os().skip(1) {
        let Some(next) = reached.find_subcommand(&word).cloned() else { continue };
        names.push(' ');
        names.push_str(next.get_name());
        reached = next;
    }
    names
}
