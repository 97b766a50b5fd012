//! What can go wrong with the private Postgres, each with what the operator should do.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private Postgres did not start, or did not stop as asked.
///
/// Display prints one layer; the cause, where there is one, is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No folder holds all three server binaries.
    #[error(
        "no PostgreSQL server found: initdb, postgres and pg_ctl were not together in any folder \
         of PATH, nor in /usr/lib/postgresql/*/bin. Install it (Debian, Ubuntu: apt-get install \
         postgresql), or set DATABASE_URL to a database of your own"
    )]
    NotInstalled,

    /// The data was written by a major version that is not installed.
    #[error(
        "{} was made by PostgreSQL {made_by}, but only {found} is installed. Install that version \
         (Debian, Ubuntu: apt-get install postgresql-{made_by}), or set DATA_DIR to another \
         folder, or set DATABASE_URL",
        .pgdata.display()
    )]
    WrongVersion {
        /// The data folder.
        pgdata: PathBuf,
        /// The major version written in PG_VERSION.
        made_by: String,
        /// The major versions found, separated by commas.
        found: String,
    },

    /// Root must drop to an ordinary user, and there is none by that name.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has no user \"postgres\" to run it \
         as. Create one (useradd --system postgres), or run rungate as an ordinary user, or set \
         DATABASE_URL"
    )]
    NoAccount,

    /// The server's user may not pass through a folder on the way to the data.
    #[error(
        "the user \"{user}\", as which PostgreSQL runs, may not pass through {}. Either chmod o+x \
         that folder, or set DATA_DIR to a folder elsewhere (such as /var/lib/rungate), or set \
         DATABASE_URL",
        .folder.display()
    )]
    Blocked {
        /// The first folder on the way that stops the user.
        folder: PathBuf,
        /// The server's user.
        user: String,
    },

    /// The data belongs to another user than the one the server would run as.
    #[error(
        "{} belongs to uid {owner}, but PostgreSQL would run as uid {expected}. Run rungate as \
         the same user as before, or chown -R {expected} that folder, or set DATA_DIR elsewhere",
        .pgdata.display()
    )]
    NotOwned {
        /// The data folder.
        pgdata: PathBuf,
        /// Its owner.
        owner: u32,
        /// The uid the server would have.
        expected: u32,
    },

    /// The data folder holds files, none of which Postgres wrote.
    #[error(
        "{} holds files but no PostgreSQL data (PG_VERSION is missing). Move it away, or set \
         DATA_DIR to another folder",
        .pgdata.display()
    )]
    NotData {
        /// The folder in question.
        pgdata: PathBuf,
    },

    /// Another gateway holds the folder's lock.
    #[error(
        "another rungate ({holder}) uses {}. Stop it first, or set DATA_DIR to another folder, or \
         give both the same DATABASE_URL",
        .data_dir.display()
    )]
    InUse {
        /// The folder in question.
        data_dir: PathBuf,
        /// The holder: its pid, if it wrote one.
        holder: String,
    },

    /// No gateway holds the folder, yet a server runs on it.
    #[error(
        "a PostgreSQL server (pid {pid}) which no rungate watches runs on {}. Stop it with: \
         kill -INT {pid}",
        .pgdata.display()
    )]
    ServerLeft {
        /// The data folder.
        pgdata: PathBuf,
        /// The postmaster.
        pid: u32,
    },

    /// No folder is fit for the server's socket.
    #[error(
        "no folder has a path short enough for PostgreSQL's socket ({limit} bytes). Set TMPDIR, \
         or DATA_DIR, to a short path that user \"{user}\" can reach"
    )]
    NoSocketFolder {
        /// The longest path in bytes.
        limit: usize,
        /// The server's user.
        user: String,
    },

    /// A file or folder could not be used.
    #[error(
        "cannot {doing} {}. Check its permissions and the disk's free space, or set DATA_DIR \
         elsewhere",
        .path.display()
    )]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A program could not be run at all.
    #[error(
        "cannot run {}. Check that the file is executable, and that this process may start \
         processes and change user, or set DATABASE_URL",
        .program.display()
    )]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// The first-time set-up of the data folder failed.
    #[error(
        "{program} could not set up {}. Mend what it says, then start again; nothing half made \
         was kept. It said:\n{output}",
        .pgdata.display()
    )]
    SetUp {
        /// initdb, or postgres.
        program: &'static str,
        /// The folder that was to be made.
        pgdata: PathBuf,
        /// The last lines of its output.
        output: String,
    },

    /// The server ended, or was not ready in time.
    #[error(
        "PostgreSQL {problem}. Mend what its log says ({}), then start again. Its last lines:\n\
         {tail}",
        .log.display()
    )]
    StartFailed {
        /// What happened instead.
        problem: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines since this start.
        tail: String,
    },

    /// The server had to be cut off.
    #[error(
        "PostgreSQL did not stop within {seconds} s and was cut off. Nothing committed is lost, \
         the next start will take longer; see {}",
        .log.display()
    )]
    StopForced {
        /// How long it was given.
        seconds: u64,
        /// The server's log.
        log: PathBuf,
    },
}

impl ClusterError {
    /// For `map_err` on a file operation.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
        let path = path.to_path_buf();
        move |source| ClusterError::File { doing, path, source }
    }

    /// For `map_err` on the start of a program.
    pub(super) fn run(program: &Path) -> impl FnOnce(io::Error) -> ClusterError {
        let program = program.to_path_buf();
        move |source| ClusterError::Run { program, source }
    }
}
