//! Where it was measured.

use anyhow::{Context as _, Result};
use rungate::ledger::postgres::connect_options;
use sqlx::{Connection as _, PgConnection};

use crate::stats::percentile;

/// Commits that are timed.
const COMMITS: usize = 200;

/// The machine, in one line.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}, Linux {}",
        model.map_or("an unknown processor", |(_, name)| name),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// Whether a folder's files are only in memory, where no commit would have to wait for a disk.
pub(crate) fn is_in_memory(folder: &std::path::Path) -> Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    let found = rustix::fs::statfs(folder).with_context(|| folder.display().to_string())?;
    Ok(u64::try_from(found.f_type).unwrap_or_default() == TMPFS)
}

/// How durable the commits of a Postgres are, and how long one takes by itself.
pub(crate) async fn describe_postgres(url: &str) -> Result<String> {
    let mut connection = PgConnection::connect_with(&connect_options(url)?).await?;
    let mut settings = Vec::new();
    for statement in ["SHOW server_version", "SHOW fsync", "SHOW synchronous_commit"] {
        let value: String = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
        settings.push(value.split(' ').next().unwrap_or_default().to_owned());
    }
    let mut commits = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let began = std::time::Instant::now();
        // The least that has to be flushed.
        sqlx::query("SELECT pg_logical_emit_message(true, 'benchmark', 'a commit')")
            .execute(&mut connection)
            .await?;
        commits.push(began.elapsed().as_secs_f64() * 1e6);
    }
    connection.close().await?;
    let [version, fsync, synchronous] = &settings[..] else { return Ok(String::new()) };
    Ok(format!(
        "PostgreSQL {version} on disk with fsync {fsync} and synchronous_commit {synchronous} (a \
         commit alone takes {:.0} µs)",
        percentile(&mut commits, 50.0)
    ))
}
