//! The watch over everything that the program writes while it is tested: no secret is in it.
//!
//! Gateways within this process log to it at `trace`, processes hand it what they wrote. It looks
//! at each line as it comes and ends the whole suite at the first one that holds a secret, because
//! a panic on some thread of a server would be nobody's failure.

use std::io::Write;
use std::process::Output;
use std::sync::Once;

use rungate::config::LogFormat;
use rungate::telemetry;

/// How tokens of ours and keys of providers begin. Alone, or as the end of a word, that is none.
const BEGINNINGS: [&str; 6] = ["rg-run-", "rg-adm-", "rg-key-", "rg-orc-", "sk-", "eyJ"];
/// What stands in the passwords and prompts of the tests; the last stands in most prompts.
const WORDS: [&str; 3] = ["hunter2", "sentinel", "[[sim"];

static WATCHING: Once = Once::new();

/// Takes in all log lines of this process from now on. Calling it again changes nothing.
pub fn install() {
    WATCHING.call_once(|| {
        // Statements of the database are constants; writing them all down takes long.
        let filter = "debug,rungate=trace,sqlx=warn,actix_server=warn";
        let watch = telemetry::subscriber(LogFormat::Json, filter, false, || Watch).unwrap();
        tracing::subscriber::set_global_default(watch).unwrap();
    });
}

/// What a process wrote to standard error, and to standard output unless that is what it is for.
pub fn output(output: &Output) {
    look("standard error", &output.stderr);
}

/// What a process wrote.
pub fn look(origin: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        if let Some(secret) = secret_in(line) {
            // Not captured by the test that happens to run.
            let told = format!("\n{origin} holds a secret ({secret}…):\n{line}\n");
            let _nobody_reads = std::io::stderr().write_all(told.as_bytes());
            std::process::abort();
        }
    }
}

/// The secret that a text holds.
pub fn secret_in(text: &str) -> Option<&'static str> {
    let in_word = |letter: char| letter.is_ascii_alphanumeric();
    let begins = |beginning: &&str| {
        text.match_indices(*beginning).any(|(at, found)| {
            let after = &text[at + found.len()..];
            !text[..at].ends_with(in_word) && after.starts_with(|c| in_word(c) || c == '_')
        })
    };
    BEGINNINGS.into_iter().find(begins).or_else(|| WORDS.into_iter().find(|w| text.contains(w)))
}

/// Where the log lines of this process go.
struct Watch;

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        look("the log", line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_watch_knows_a_secret_when_it_sees_one() {
    for text in ["Bearer rg-run-8fF", "key=sk-proj-1", "sk-1", "prompt [[sim tokens=3]]"] {
        assert!(secret_in(text).is_some(), "{text}");
    }
    for text in ["a task-list", "one begins with rg-run-", "risk-free", "sk-", "similar"] {
        assert_eq!(secret_in(text), None, "{text}");
    }
}
