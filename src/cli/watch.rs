//! `--watch`: what a run spends, looked at every second until its bill is final.
//!
//! On a terminal the same lines are drawn again in place; elsewhere each change is one line.

use std::process::ExitCode;
use std::time::Duration;

use console::{Term, truncate_str};
use serde_json::Value;

use super::control::{self, Ask, ControlPlane};
use super::exit::{Exit, Failure};
use super::figures::dollars;
use super::{print, table};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How many looks in a row may find nobody, after the first one found somebody.
const MISSES: u32 = 30;

/// Shows what is at `path` until it is final.
///
/// # Errors
/// As for any request; an outage is waited out for half a minute.
pub(super) async fn run(
    plane: &ControlPlane,
    path: &str,
    json: bool,
    card: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let in_place = !json && console::user_attended();
    let mut screen = Screen::default();
    let mut last = String::new();
    let mut misses = 0;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let asked = tokio::select! {
            asked = plane.ask(Ask::get(path)) => asked,
            _ = &mut interrupted => return Ok(Exit::Interrupted.into()),
        };
        match asked {
            Ok(answer) => {
                misses = 0;
                let usage = control::parsed(&answer)?;
                let shown = match (in_place, json) {
                    (true, _) => card(&usage),
                    (false, true) => answer,
                    (false, false) => line(&usage),
                };
                if in_place {
                    screen.draw(&shown)?;
                } else if shown != last {
                    print::text(&shown)?;
                }
                last = shown;
                if usage.get("settlement").and_then(Value::as_str) == Some("final") {
                    return Ok(Exit::Done.into());
                }
            }
            Err(error) if !last.is_empty() && misses < MISSES && is_outage(&error) => {
                misses += 1;
                if in_place {
                    screen.draw(&format!("{last}\n\n{error}"))?;
                } else if misses == 1 {
                    print::err(format_args!("rungate: {error}; still trying"));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = &mut interrupted => return Ok(Exit::Interrupted.into()),
        }
    }
}

fn is_outage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Unreachable)
}

/// What a run has used, on one line.
fn line(usage: &Value) -> String {
    let member = |name: &str| table::text(usage.get(name));
    let usd = |name: &str| dollars(&member(name));
    format!(
        "{} ({})  {} of {} spent, {} reserved, {} calls, {} in flight",
        member("status"),
        member("settlement"),
        usd("spent_usd"),
        usd("cost_limit_usd"),
        usd("reserved_usd"),
        member("calls"),
        member("in_flight")
    )
}

/// Lines that are drawn again where they stood.
#[derive(Default)]
struct Screen {
    height: usize,
}

impl Screen {
    /// Draws these lines in the place of the last ones. What a terminal cannot show is cut off, for
    /// lines that wrap or scroll could not be drawn over.
    fn draw(&mut self, text: &str) -> anyhow::Result<()> {
        let (rows, columns) = Term::stdout().size();
        let lines = text.lines().take(usize::from(rows).saturating_sub(1).max(1));
        let lines: Vec<_> =
            lines.map(|line| truncate_str(line, usize::from(columns).max(1), "…")).collect();
        let up = match self.height {
            0 => String::new(),
            // To the beginning of the first line, and everything below it is wiped.
            height => format!("\u{1b}[{height}F\u{1b}[J"),
        };
        self.height = lines.len();
        print::text(&format!("{up}{}", lines.join("\n")))
    }
}
