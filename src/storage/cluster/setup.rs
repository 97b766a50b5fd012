//! The first-time set-up of a data folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use super::account::Runner;
use super::binaries::Binaries;
use super::error::ClusterError;
use super::folder::{Layout, make_private};

/// How much of a failed program's output is shown, in lines.
const SHOWN_LINES: usize = 8;
const UNFINISHED: &str = "pgdata.init-";

/// Makes PGDATA with an empty database `rungate`. All of it happens in a sibling that is renamed
/// at the end, so a PGDATA that exists is complete and its database is there.
pub(super) fn set_up(
    runner: &Runner,
    binaries: &Binaries,
    layout: &Layout,
    durable: bool,
) -> Result<(), ClusterError> {
    remove_unfinished(&layout.data_dir);
    let unfinished = layout.data_dir.join(format!("{UNFINISHED}{}", std::process::id()));
    make_private(&unfinished, runner)?;
    let made = initdb(runner, binaries, layout, &unfinished, durable)
        .and_then(|()| create_database(runner, binaries, layout, &unfinished))
        .and_then(|()| publish(&unfinished, layout));
    if made.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    made
}

fn publish(unfinished: &Path, layout: &Layout) -> Result<(), ClusterError> {
    fs::rename(unfinished, &layout.pgdata).map_err(ClusterError::file("create", &layout.pgdata))?;
    // The rename itself must survive a power cut, or a later start finds no data.
    File::open(&layout.data_dir)
        .and_then(|folder| folder.sync_all())
        .map_err(ClusterError::file("write", &layout.data_dir))
}

/// Left by a gateway that was killed half way. What cannot be removed does no harm.
fn remove_unfinished(data_dir: &Path) {
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn initdb(
    runner: &Runner,
    binaries: &Binaries,
    layout: &Layout,
    folder: &Path,
    durable: bool,
) -> Result<(), ClusterError> {
    let program = binaries.initdb();
    let mut command = runner.command(&program);
    command.args(["--username=rungate", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    // Trust is for the socket alone, whose folder only the server's user and root may enter.
    command.args(["--auth-local=trust", "--auth-host=reject"]);
    command.arg(if durable { "--data-checksums" } else { "--no-sync" });
    command.arg("--pgdata").arg(folder);
    let output = command.output().map_err(ClusterError::run(&program))?;
    accept("initdb", &output, layout)
}

/// By a single-user session, as createdb may not be installed and no server runs yet.
fn create_database(
    runner: &Runner,
    binaries: &Binaries,
    layout: &Layout,
    folder: &Path,
) -> Result<(), ClusterError> {
    let program = binaries.postgres();
    let mut command = runner.command(&program);
    command.arg("--single").arg("-D").arg(folder);
    command.args(["-c", "exit_on_error=on", "postgres"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(ClusterError::run(&program))?;
    if let Some(mut pipe) = child.stdin.take() {
        // If this cannot be written, the session failed, and its output says why.
        let _ = pipe.write_all(b"CREATE DATABASE rungate\n");
    }
    let output = child.wait_with_output().map_err(ClusterError::run(&program))?;
    accept("postgres", &output, layout)
}

fn accept(program: &'static str, output: &Output, layout: &Layout) -> Result<(), ClusterError> {
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::SetUp { program, pgdata: layout.pgdata.clone(), output: last_lines(&text) })
}

/// The last few lines that say something.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    let shown = lines.get(start..).unwrap_or_default();
    if shown.is_empty() { "(nothing)".to_owned() } else { shown.join("\n") }
}
