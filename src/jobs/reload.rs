//! Files that are read again when they change, or when SIGHUP comes.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a file looked like: its device and number, its size, and when it changed.
type Look = Option<(u64, u64, u64, i64, i64)>;

/// Files that belong together, and what they looked like when they were read.
pub struct Watched {
    what: &'static str,
    files: Vec<PathBuf>,
    looks: Vec<Look>,
    read: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
}

impl Watched {
    /// Watches `files` from now on, so make this before they are read the first time. What `read`
    /// cannot use it leaves as it was.
    pub fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let looks = looks(&files);
        Self { what, files, looks, read: Arc::new(read) }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn read(&self) -> io::Result<()> {
        (self.read)()
    }

    /// Reads the files again if they have changed, or if `anyway`.
    fn look(&mut self, anyway: bool) {
        let now = looks(&self.files);
        if now == self.looks && !anyway {
            return;
        }
        // Taken before the files are read: what changes meanwhile is read the next time.
        self.looks = now;
        let what = self.what;
        let outcome = match self.read() {
            Ok(()) => {
                tracing::info!(what, "reload.done");
                "done"
            }
            Err(error) => {
                tracing::error!(
                    what,
                    error = &error as &dyn std::error::Error,
                    "reload.failed: what was read before holds on"
                );
                "failed"
            }
        };
        metrics::counter!("rungate_reloads_total", "what" => what, "outcome" => outcome)
            .increment(1);
    }
}

fn looks(files: &[PathBuf]) -> Vec<Look> {
    let look =
        |seen: Metadata| (seen.dev(), seen.ino(), seen.len(), seen.ctime(), seen.ctime_nsec());
    files.iter().map(|file| std::fs::metadata(file).ok().map(look)).collect()
}

/// Looks after files. Without any, SIGHUP stays what it is for every process.
pub fn start(watched: Vec<Watched>, tasks: &TaskTracker, stop: &CancellationToken) {
    if watched.is_empty() {
        return;
    }
    let until = stop.clone();
    tasks.spawn(async move {
        let mut hang_up = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "reload.no_signal"))
            .ok();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watched = watched;
        loop {
            let asked = async {
                let Some(hang_up) = &mut hang_up else { return std::future::pending().await };
                if hang_up.recv().await.is_none() {
                    std::future::pending().await
                }
            };
            let anyway = tokio::select! {
                () = until.cancelled() => return,
                () = asked => true,
                _ = ticks.tick() => false,
            };
            let looking = tokio::task::spawn_blocking(move || {
                watched.iter_mut().for_each(|files| files.look(anyway));
                watched
            });
            match looking.await {
                Ok(looked) => watched = looked,
                Err(error) => {
                    tracing::error!(%error, "reload.ended: files are not read again any more");
                    return;
                }
            }
        }
    });
}
