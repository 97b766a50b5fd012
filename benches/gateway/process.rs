//! Processes that end with the benchmark, however it ends.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};

use crate::cpu::pid_of;

/// How long a process may take until it accepts connections: `serve` makes a Postgres first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// A process of ours. It is asked to end when this is dropped, and then made to.
pub(crate) struct Process {
    child: Child,
    name: &'static str,
    files: PathBuf,
}

/// Where standard output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// To a file, to be read from.
    Kept,
    /// To `/dev/null`.
    Dropped,
}

impl Process {
    /// Starts `command` in `folder`, without our environment, in a process group of its own: an
    /// interrupt from the keyboard is ours, and we end it in order.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        output: Output,
    ) -> Result<Self> {
        let files = folder.join(name);
        let file = |extension| File::create(files.with_extension(extension));
        command
            .current_dir(folder)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(match output {
                Output::Kept => Stdio::from(file("out")?),
                Output::Dropped => Stdio::null(),
            })
            .stderr(file("err")?)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { child, name, files })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(self.files.with_extension("out")).unwrap_or_default()
    }

    /// Waits until it accepts connections.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.complaints());
            }
            if Instant::now() > end {
                bail!("{} does not listen on {address}: {}", self.name, self.complaints());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The end of what it wrote to standard error, line by line.
    pub(crate) fn complaints(&self) -> String {
        let text = std::fs::read_to_string(self.files.with_extension("err")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        last.iter().map(|line| format!("{}: {line}\n", self.name)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_before = kill(pid_of(self.child.id()), Signal::SIGTERM);
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        eprintln!("{} did not end in {STOP_LIMIT:?}; it is killed", self.name);
        let _gone_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}

/// An address of this machine where nobody listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?)
}
