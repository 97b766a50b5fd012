//! The small process that stops the server when the gateway was killed.
//!
//! It reads a pipe whose other end only the gateway holds. A line means that all is done; the
//! pipe's end means that the gateway is gone without having stopped its server.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use super::account::Runner;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::folder::{Layout, OWN_NAMES};

/// All it knows comes as arguments, so that no path is ever read as shell text:
/// 1 pg_ctl, 2 PGDATA, 3 stop mode, 4 a temporary socket folder or "", 5 the folder to remove
/// or "", then the names to remove in it.
///
/// The first tries may come before a server that is just starting has written its pid file.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r line && exit 0
for try in 1 2 3; do
    "$1" -D "$2" -m "$3" -w -t 60 stop >&2 && break
    [ -e "$2/postmaster.pid" ] && "$1" -D "$2" -m immediate -w -t 15 stop >&2 && break
    sleep 1
done
[ -z "$4" ] || rm -rf -- "$4"
[ -n "$5" ] || exit 0
cd -- "$5" || exit 1
shift 5
for name in "$@"; do rm -rf -- "./$name"; done
rm -rf -- ./pgdata.init-*
rmdir -- "$(pwd -P)"
"#;

/// A running watcher. Dropping it without [`Watcher::end`] makes it stop the server.
#[derive(Debug)]
pub(super) struct Watcher {
    child: Child,
}

impl Watcher {
    /// Starts it. It holds `lock` as its standard output for as long as it lives, so that the
    /// next gateway waits until it has tidied up.
    pub(super) fn start(
        runner: &Runner,
        binaries: &Binaries,
        layout: &Layout,
        durable: bool,
        remove: bool,
        lock: &File,
    ) -> Result<Watcher, ClusterError> {
        let lock = lock.try_clone().map_err(ClusterError::file("lock", &layout.data_dir))?;
        let log = layout.open_log(runner)?;
        let shell = Path::new("/bin/sh");
        let nothing = Path::new("");
        let mut command = runner.command(shell);
        command.args(["-c", SCRIPT, "rungate-postgres-watcher"]);
        command.arg(binaries.pg_ctl()).arg(&layout.pgdata);
        command.arg(if durable { "fast" } else { "immediate" });
        command.arg(layout.temporary_socket().unwrap_or(nothing));
        command.arg(if remove { &layout.data_dir } else { nothing });
        command.args(OWN_NAMES);
        let child = command
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(log)
            .spawn()
            .map_err(ClusterError::run(shell))?;
        Ok(Watcher { child })
    }

    /// Tells it that the server is stopped, and waits for its end.
    pub(super) fn end(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // A watcher that is gone already has nothing left to be told.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}
