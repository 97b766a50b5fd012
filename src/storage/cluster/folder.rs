//! The data folder: who may use it, what is in it, where the socket is.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::Runner;
use super::error::ClusterError;

/// Everything we keep in the data folder. Nothing else in it is ever removed.
pub(super) const OWN_NAMES: [&str; 5] = ["pgdata", "socket", LOG, OLD_LOG, LOCK];
const LOG: &str = "postgres.log";
const OLD_LOG: &str = "postgres.log.old";
const LOCK: &str = "rungate.lock";
const PID_FILE: &str = "postmaster.pid";

/// The log is set aside at a start when it is larger, in bytes.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;
/// The longest socket folder, in bytes: a socket's path has 104 on macOS and 108 on Linux, with
/// the final NUL and "/.s.PGSQL.5432" in it.
const SOCKET_FOLDER_LIMIT: usize = 89;
/// How long a watcher may take to stop the server of a gateway that was killed: 60 s for the
/// fast stop, 15 s for the immediate one, some more.
const WATCHER_LIMIT: Duration = Duration::from_secs(80);
/// How long a gateway that was sent SIGKILL may seem alive.
const HOLDER_LIMIT: Duration = Duration::from_millis(500);
/// How long the processes of a killed server may take to notice.
const ORPHAN_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The places of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) data_dir: PathBuf,
    pub(super) pgdata: PathBuf,
    pub(super) log: PathBuf,
    pub(super) socket: PathBuf,
}

impl Layout {
    /// Makes the data folder where it is missing and takes its lock.
    pub(super) fn claim(wanted: &Path, runner: &Runner) -> Result<(Layout, File), ClusterError> {
        loop {
            let data_dir = make_data_dir(wanted, runner)?;
            let lock = take_lock(&data_dir, runner)?;
            let path = data_dir.join(LOCK);
            // A throw-away folder may have been removed, with its lock, while we waited for it.
            let held = lock.metadata().map_err(ClusterError::file("read", &path))?;
            if fs::metadata(&path).is_ok_and(|found| found.ino() == held.ino()) {
                let layout = Layout {
                    pgdata: data_dir.join("pgdata"),
                    log: data_dir.join(LOG),
                    socket: data_dir.join("socket"),
                    data_dir,
                };
                return Ok((layout, lock));
            }
        }
    }

    /// Makes the socket's folder: below the data folder, or, where that path is too long or has
    /// characters with a meaning in a list of hosts, a new one in the temporary folder.
    pub(super) fn make_socket_folder(&mut self, runner: &Runner) -> Result<(), ClusterError> {
        if fits_a_socket(&self.socket) {
            return make_private(&self.socket, runner);
        }
        let name = format!("rungate-{}", uuid::Uuid::new_v4().simple());
        for parent in [std::env::temp_dir(), PathBuf::from("/tmp")] {
            let folder = parent.join(&name);
            if fits_a_socket(&folder) && runner.check_reach(&parent).is_ok() {
                self.socket = folder;
                return make_private(&self.socket, runner);
            }
        }
        Err(ClusterError::NoSocketFolder {
            limit: SOCKET_FOLDER_LIMIT,
            user: runner.name().to_owned(),
        })
    }

    /// The socket's folder if it is not below the data folder.
    pub(super) fn temporary_socket(&self) -> Option<&Path> {
        (!self.socket.starts_with(&self.data_dir)).then_some(self.socket.as_path())
    }

    /// The major version that made the data; None if there is no data yet.
    pub(super) fn made_by(&self) -> Result<Option<String>, ClusterError> {
        let file = self.pgdata.join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(version) => Ok(Some(version.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::read_dir(&self.pgdata).is_ok_and(|mut files| files.next().is_some()) {
                    return Err(ClusterError::NotData { pgdata: self.pgdata.clone() });
                }
                Ok(None)
            }
            Err(error) => Err(ClusterError::file("read", &file)(error)),
        }
    }

    /// Opens the log to append to. Never through a link: root would write where it points.
    pub(super) fn open_log(&self, runner: &Runner) -> Result<File, ClusterError> {
        open_own(&self.log, OpenOptions::new().append(true).create(true), runner)
    }

    /// Sets a log aside that has grown too large.
    pub(super) fn rotate_log(&self) -> Result<(), ClusterError> {
        if fs::symlink_metadata(&self.log).is_ok_and(|file| file.len() > LOG_LIMIT) {
            fs::rename(&self.log, self.data_dir.join(OLD_LOG))
                .map_err(ClusterError::file("rename", &self.log))?;
        }
        Ok(())
    }

    /// The postmaster by its pid file, which a killed one leaves behind.
    fn recorded_pid(&self) -> Option<u32> {
        first_pid(&self.pgdata.join(PID_FILE))
    }

    /// Whether the postmaster `pid` wrote that it takes connections: the eighth line.
    pub(super) fn says_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.pgdata.join(PID_FILE)).unwrap_or_default();
        let mut lines = text.lines();
        lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid)
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// To be called with the lock held: a server that still runs has no gateway.
    ///
    /// Postgres takes a lock file for stale when no process has the pid in it, but not when that
    /// pid is a zombie nobody reaps, or went to another process of the same user, as happens
    /// after the restart of a container. Every process of a server works in PGDATA, which tells
    /// them apart.
    pub(super) fn refuse_live_server(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + ORPHAN_LIMIT;
        loop {
            // Without /proc Postgres decides alone.
            let Some(inside) = processes_inside(&self.pgdata) else {
                return Ok(());
            };
            if inside.is_empty() {
                break;
            }
            if let Some(pid) = self.recorded_pid().filter(|pid| inside.contains(pid)) {
                return Err(ClusterError::ServerLeft { pgdata: self.pgdata.clone(), pid });
            }
            // The children of a postmaster that was killed are about to notice.
            if Instant::now() > deadline {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        let files = [self.pgdata.join(PID_FILE), self.socket.join(".s.PGSQL.5432.lock")];
        for file in files {
            if first_pid(&file).is_some_and(exists) {
                fs::remove_file(&file).map_err(ClusterError::file("remove", &file))?;
            }
        }
        Ok(())
    }

    /// Removes the temporary socket folder, and with `all` everything we made. What others put
    /// there stays, and so does then the folder itself.
    pub(super) fn remove(&self, all: bool) {
        if let Some(folder) = self.temporary_socket() {
            let _ = fs::remove_dir_all(folder);
        }
        if !all {
            return;
        }
        for name in OWN_NAMES {
            let path = self.data_dir.join(name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let _ = fs::remove_dir(&self.data_dir);
    }
}

/// Makes a folder that only the server's user may enter. An existing one is kept.
pub(super) fn make_private(folder: &Path, runner: &Runner) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(ClusterError::file("create", folder))?,
    }
    runner.give(folder)
}

fn make_data_dir(wanted: &Path, runner: &Runner) -> Result<PathBuf, ClusterError> {
    let path = std::path::absolute(wanted).map_err(ClusterError::file("find", wanted))?;
    let exists = path.exists();
    // The folder itself is left out here: it becomes the server's own below.
    let above = path.parent().unwrap_or(&path);
    runner.check_reach(above)?;
    check_owner(&path.join("pgdata"), runner)?;
    if !exists {
        fs::create_dir_all(above).map_err(ClusterError::file("create", above))?;
    }
    let ours = !exists || path.join(LOCK).exists() || is_empty(&path);
    if ours {
        make_private(&path, runner)?;
    }
    runner.check_reach(&path)?;
    path.canonicalize().map_err(ClusterError::file("find", &path))
}

/// Before anything is changed: a start as the wrong user must not lock the right one out.
fn check_owner(pgdata: &Path, runner: &Runner) -> Result<(), ClusterError> {
    let Ok(metadata) = fs::metadata(pgdata) else {
        return Ok(());
    };
    let (owner, expected) = (metadata.uid(), runner.uid());
    if owner == expected {
        return Ok(());
    }
    Err(ClusterError::NotOwned { pgdata: pgdata.to_path_buf(), owner, expected })
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Takes the folder's lock. A gateway that lives keeps it; after a killed one its watcher keeps
/// it until the server is stopped, which is waited for.
fn take_lock(data_dir: &Path, runner: &Runner) -> Result<File, ClusterError> {
    let path = data_dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = open_own(&path, &options, runner)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => {
                return Err(ClusterError::file("lock", &path)(error));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let mut written = String::new();
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut written));
        let holder: Option<u32> = written.trim().parse().ok();
        let lives = holder.is_some_and(is_alive);
        let limit = if lives { HOLDER_LIMIT } else { WATCHER_LIMIT };
        if begun.elapsed() > limit {
            let holder = match holder {
                Some(pid) if lives => format!("pid {pid}"),
                _ => "whose server is still stopping".to_owned(),
            };
            return Err(ClusterError::InUse { data_dir: data_dir.to_path_buf(), holder });
        }
        std::thread::sleep(PAUSE);
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(ClusterError::file("write", &path))?;
    Ok(file)
}

fn open_own(path: &Path, how: &OpenOptions, runner: &Runner) -> Result<File, ClusterError> {
    let mut options = how.clone();
    options.mode(0o600).custom_flags(NO_FOLLOW);
    let file = options.open(path).map_err(ClusterError::file("open", path))?;
    if let Some(account) = &runner.drop_to {
        fchown(&file, Some(account.uid), Some(account.gid))
            .map_err(ClusterError::file("change the owner of", path))?;
    }
    Ok(file)
}

const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn fits_a_socket(folder: &Path) -> bool {
    let bytes = folder.as_os_str().as_bytes();
    bytes.len() <= SOCKET_FOLDER_LIMIT
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte))
}

/// The pid in the first line of a lock file.
fn first_pid(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether a process has this pid, a zombie too.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok();
    // Any other refusal than "no such process" means that it is there and not ours.
    pid.and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Whether it runs still; a zombie does not.
fn is_alive(pid: u32) -> bool {
    // "pid (name) state ...", where the name may hold anything.
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let state = stat.rsplit_once(") ").map(|(_, fields)| fields);
    exists(pid) && !state.is_some_and(|fields| fields.starts_with(['Z', 'X']))
}

/// The processes whose working folder is `folder`; None where the system does not tell.
fn processes_inside(folder: &Path) -> Option<Vec<u32>> {
    let folder = folder.canonicalize().ok()?;
    let entries = fs::read_dir("/proc/self/..").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let inside = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|working| working == folder)
    };
    Some(pids.filter(inside).collect())
}
