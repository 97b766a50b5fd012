//! Ctrl-C and SIGTERM, and how often.

use std::fmt::Arguments;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::server::Running;
use crate::server::shutdown::ShutdownReport;

use super::exit::Exit;
use super::print;

/// Waits for SIGINT or SIGTERM. A second one cancels the token that is returned: whoever stops is
/// to hurry. A third one ends the process at once.
///
/// # Errors
/// If signals cannot be heard.
pub(super) async fn asked_to_stop() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    either(&mut interrupt, &mut terminate).await;
    let hurry = CancellationToken::new();
    let told = hurry.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        told.cancel();
        either(&mut interrupt, &mut terminate).await;
        // Another gateway charges what is in flight; a private Postgres is stopped by its watcher.
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
    Ok(hurry)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Stops a gateway, tells on standard output and in the log how it goes, and says how it ended.
pub(super) async fn stop(running: Running, grace: Duration, hurry: CancellationToken) -> ExitCode {
    // First, so that whoever reads the line finds it true.
    running.give_notice();
    say_what_is_awaited(&running.gateway, grace);
    let waits = hurry.clone();
    let telling = tokio::spawn(async move {
        waits.cancelled().await;
        print::out(format_args!("stopping at once; the calls in flight are cut"));
    });
    let report = running.shutdown_unless_hurried(grace, &hurry).await;
    telling.abort();
    say_what_was_cut(report, grace);
    if report.hurried { Exit::Interrupted.into() } else { Exit::Done.into() }
}

fn say_what_is_awaited(gateway: &Gateway, grace: Duration) {
    let (calls, seconds) = (gateway.calls_in_flight(), grace.as_secs());
    tracing::info!(calls, grace_seconds = seconds, "shutdown.draining");
    if calls > 0 {
        print::out(format_args!(
            "stopping: {} in flight may take {seconds} s to end; ask again to cut what is left",
            Calls(calls)
        ));
    }
}

fn say_what_was_cut(report: ShutdownReport, grace: Duration) {
    let say = |line: Arguments<'_>| print::out(line);
    if report.cut > 0 {
        tracing::warn!(
            calls = report.cut,
            hurried = report.hurried,
            "shutdown.cut: calls were cut and are booked at what they may have cost"
        );
        let why = match report.hurried {
            true => "because a second signal came".to_owned(),
            false => format!("after {} s", grace.as_secs()),
        };
        say(format_args!("{} cut {why}", Calls(report.cut)));
    }
    if report.unwritten {
        tracing::error!(
            "shutdown.unwritten: the database was away; another gateway will charge the calls \
             that could not be written at their worst case"
        );
        say(format_args!(
            "not everything could be written down; another gateway charges the rest at its worst \
             case"
        ));
    }
    tracing::info!("shutdown.done");
}

/// So many calls, in words.
struct Calls(usize);

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => f.write_str("1 call"),
            many => write!(f, "{many} calls"),
        }
    }
}
