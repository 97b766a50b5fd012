//! A private Postgres, started from the installed server programs.
//!
//! `rungate serve` keeps its data in one when no database is configured, and tests start
//! throw-away ones. It listens on a Unix socket alone, belongs to one process, and does not
//! outlive it: a watcher stops it even when that process is killed with SIGKILL.
//!
//! It knows nothing of tables or migrations. All calls block, up to two minutes in the worst
//! case; asynchronous callers use `spawn_blocking`.

mod account;
mod binaries;
mod error;
mod folder;
mod server;
mod setup;
mod watcher;

use std::fs::File;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use account::Runner;
use binaries::Binaries;
use folder::Layout;
use server::{Mode, Server};
use watcher::Watcher;

pub use error::ClusterError;

/// How to run a private Postgres.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The folder for the data (`pgdata`), the log (`postgres.log`), the socket and a lock. Made
    /// where missing; started by root, an empty or new one is given to the user `postgres`.
    pub data_dir: PathBuf,
    /// Whether what is committed must survive a power cut. False is for throw-away clusters: it
    /// turns fsync off, and `Drop` then stops as a crash would.
    pub durable: bool,
    /// Further Postgres settings, which win over ours, except where the socket is concerned.
    pub settings: Vec<(String, String)>,
    /// Whether to remove at the end what was made in `data_dir`, and the folder itself if then
    /// empty; also when this process is killed.
    pub remove_on_stop: bool,
}

/// A Postgres server of our own. Stops when dropped: fast if durable, otherwise at once.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    runner: Runner,
    binaries: Binaries,
    layout: Layout,
    server: Mutex<Option<Server>>,
    /// None once all is stopped.
    watcher: Option<Watcher>,
    /// Held for as long as we and the watcher live.
    _lock: File,
}

impl Cluster {
    /// Starts the server and waits until it takes connections, making the data folder with an
    /// empty database `rungate` first where there is none.
    ///
    /// # Errs
    /// Every [`ClusterError`] says what to do. After an error no process is left.
    pub fn start(options: ClusterOptions) -> Result<Cluster, ClusterError> {
        let runner = Runner::detect()?;
        let (mut layout, lock) = Layout::claim(&options.data_dir, &runner)?;
        let prepared = prepare(&runner, &mut layout, &options, &lock);
        let (binaries, watcher) = match prepared {
            Ok(parts) => parts,
            Err(error) => {
                // Data that was there before is not ours to remove when we could not use it.
                layout.remove(options.remove_on_stop && !layout.pgdata.exists());
                return Err(error);
            }
        };
        let cluster = Cluster {
            options,
            runner,
            binaries,
            layout,
            server: Mutex::new(None),
            watcher: Some(watcher),
            _lock: lock,
        };
        // From here on Drop tidies up.
        cluster.restart()?;
        Ok(cluster)
    }

    /// The address of the database `rungate`, for sqlx and psql alike. No password: the socket's
    /// folder lets in only the server's user and root.
    pub fn url(&self) -> String {
        // Of its characters only the slash needs an escape; others were not accepted.
        let socket = self.layout.socket.display().to_string().replace('/', "%2F");
        format!("postgres://rungate@localhost/rungate?host={socket}&port=5432")
    }

    /// The server's log, for messages to the operator.
    pub fn log_path(&self) -> &Path {
        &self.layout.log
    }

    /// The server's pid while it runs; None after a stop or a crash.
    pub fn postmaster_pid(&self) -> Option<u32> {
        self.server.lock().as_mut().and_then(Server::pid)
    }

    /// Stops the server after ending its sessions and writing everything out; waits for up to
    /// 60 s, then cuts it off.
    ///
    /// # Errs
    /// [`ClusterError::StopForced`] if it had to be cut off; it is stopped then as well.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        self.shut_down(Mode::Fast)
    }

    /// Stops the server as a crash would, for tests of what survives one. [`Cluster::restart`]
    /// starts it again.
    ///
    /// # Errs
    /// [`ClusterError::StopForced`] if even that took longer than 15 s.
    pub fn stop_immediate(&self) -> Result<(), ClusterError> {
        self.stop_server(&mut self.server.lock(), Mode::Immediate)
    }

    /// Starts the server again on the same data and socket, stopping it fast before that if it
    /// runs.
    ///
    /// # Errs
    /// As [`Cluster::start`] and [`Cluster::stop`].
    pub fn restart(&self) -> Result<(), ClusterError> {
        let mut server = self.server.lock();
        self.stop_server(&mut server, Mode::Fast)?;
        let Cluster { options, runner, binaries, layout, .. } = self;
        let arguments = server::arguments(layout, options.durable, &options.settings);
        *server = Some(Server::start(runner, binaries, layout, &arguments)?);
        Ok(())
    }

    fn stop_server(&self, server: &mut Option<Server>, mode: Mode) -> Result<(), ClusterError> {
        let Some(mut running) = server.take() else {
            return Ok(());
        };
        match running.stop(mode).forced_after {
            None => Ok(()),
            Some(limit) => Err(ClusterError::StopForced {
                seconds: limit.as_secs(),
                log: self.layout.log.clone(),
            }),
        }
    }

    /// Stops all of it. A second call does nothing.
    fn shut_down(&mut self, mode: Mode) -> Result<(), ClusterError> {
        let Some(watcher) = self.watcher.take() else {
            return Ok(());
        };
        let stopped = self.stop_server(&mut self.server.lock(), mode);
        watcher.end();
        self.layout.remove(self.options.remove_on_stop);
        stopped
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mode = if self.options.durable { Mode::Fast } else { Mode::Immediate };
        // Nobody is left to tell; a server that was cut off says so in its log.
        let _ = self.shut_down(mode);
    }
}

/// Everything before the first start. The watcher comes as early as there is something to stop.
fn prepare(
    runner: &Runner,
    layout: &mut Layout,
    options: &ClusterOptions,
    lock: &File,
) -> Result<(Binaries, Watcher), ClusterError> {
    let made_by = layout.made_by()?;
    let binaries = Binaries::find(runner, made_by.as_deref(), &layout.pgdata)?;
    layout.make_socket_folder(runner)?;
    let ClusterOptions { durable, remove_on_stop, .. } = *options;
    let watcher = Watcher::start(runner, &binaries, layout, durable, remove_on_stop, lock)?;
    if made_by.is_none()
        && let Err(error) = setup::set_up(runner, &binaries, layout, durable)
    {
        watcher.end();
        return Err(error);
    }
    Ok((binaries, watcher))
}
