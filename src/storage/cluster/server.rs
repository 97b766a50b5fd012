//! The postmaster as our child process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::account::Runner;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::folder::Layout;
use super::setup::last_lines;

/// The recovery after a power cut may replay up to max_wal_size (1 GB) before it is ready.
const START_LIMIT: Duration = Duration::from_secs(120);
const FAST_LIMIT: Duration = Duration::from_secs(60);
/// Postgres itself kills what is left 5 s into an immediate stop.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(10);
/// How much of the end of the log is read for a message, in bytes.
const TAIL_BYTES: u64 = 16 * 1024;

const DURABLE: [(&str, &str); 5] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "128MB"),
    ("max_connections", "100"),
];
const THROW_AWAY: [(&str, &str); 5] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "64MB"),
    ("max_connections", "300"),
];
const COMMON: [(&str, &str); 4] = [
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] "),
    // A line every five minutes would only fill the disk.
    ("log_checkpoints", "off"),
];

/// How to stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Ends the sessions, writes everything out.
    Fast,
    /// As a crash would: the next start replays the log.
    Immediate,
}

/// A running postmaster. Dropping it does not stop it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
}

/// The arguments of every start: ours, then the caller's, then those that nobody may change.
pub(super) fn arguments(layout: &Layout, durable: bool, extra: &[(String, String)]) -> Vec<String> {
    let defaults = if durable { DURABLE } else { THROW_AWAY };
    let mut settings: Vec<(String, String)> = Vec::new();
    for (name, value) in defaults.iter().chain(&COMMON) {
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    settings.extend_from_slice(extra);
    // No quoting is needed: the folder's path was chosen for its plain characters.
    let socket = layout.socket.display().to_string();
    for (name, value) in [
        ("listen_addresses", ""),
        ("port", "5432"),
        ("unix_socket_directories", socket.as_str()),
        ("unix_socket_permissions", "0700"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let flags = settings.into_iter().map(|(name, value)| format!("{name}={value}"));
    flags.flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

impl Server {
    /// Starts it and waits until it takes connections.
    pub(super) fn start(
        runner: &Runner,
        binaries: &Binaries,
        layout: &Layout,
        arguments: &[String],
    ) -> Result<Server, ClusterError> {
        layout.refuse_live_server()?;
        layout.rotate_log()?;
        let log = layout.open_log(runner)?;
        let before = log.metadata().map_err(ClusterError::file("read", &layout.log))?.len();
        let copy = log.try_clone().map_err(ClusterError::file("open", &layout.log))?;
        let program = binaries.postgres();
        let mut command = runner.command(&program);
        command.arg("-D").arg(&layout.pgdata).args(arguments).stdout(log).stderr(copy);
        let child = command.spawn().map_err(ClusterError::run(&program))?;
        let mut server = Server { child };
        let problem = match server.wait_ready(layout) {
            Ok(()) => return Ok(server),
            Err(problem) => problem,
        };
        server.stop(Mode::Immediate);
        Err(ClusterError::StartFailed {
            problem,
            log: layout.log.clone(),
            tail: tail_since(layout, before),
        })
    }

    fn wait_ready(&mut self, layout: &Layout) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.exited() {
                return Err(format!("ended while starting ({status})"));
            }
            if layout.says_ready(self.child.id()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("was not ready within {} s", START_LIMIT.as_secs()));
            }
            sleep(PAUSE);
        }
    }

    /// Its pid while it runs.
    pub(super) fn pid(&mut self) -> Option<u32> {
        match self.exited() {
            None => Some(self.child.id()),
            Some(_) => None,
        }
    }

    /// Stops it and reaps it, with ever harsher means: afterwards it is gone in any case.
    pub(super) fn stop(&mut self, mode: Mode) -> StopOutcome {
        let asked =
            [(mode == Mode::Fast, Signal::INT, FAST_LIMIT), (true, Signal::QUIT, IMMEDIATE_LIMIT)];
        let mut forced = None;
        for (_, signal, limit) in asked.into_iter().filter(|(wanted, ..)| *wanted) {
            if self.signal_and_wait(signal, limit) {
                return StopOutcome { forced_after: forced };
            }
            forced = Some(limit);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        StopOutcome { forced_after: forced }
    }

    /// Whether it ended within the limit. Until it is reaped its pid cannot go to another.
    fn signal_and_wait(&mut self, signal: Signal, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        if self.exited().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
        while self.exited().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(PAUSE);
        }
        true
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// How a stop went.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopOutcome {
    /// The time it was given, if that was not enough.
    pub(super) forced_after: Option<Duration>,
}

/// The last lines written since the log had `before` bytes.
fn tail_since(layout: &Layout, before: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(&layout.log).and_then(|mut log| {
        let end = log.metadata()?.len();
        log.seek(SeekFrom::Start(before.max(end.saturating_sub(TAIL_BYTES))))?;
        log.take(TAIL_BYTES).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}
