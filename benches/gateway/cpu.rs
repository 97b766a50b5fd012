//! What processes have used, by the kernel's own accounting.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::time::clock_getcpuclockid;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// CPU time used so far, user and system together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) gateway: Duration,
    pub(crate) postgres: Duration,
    pub(crate) provider: Duration,
}

/// The processes that work on a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accounts {
    pub(crate) gateway: Option<u32>,
    /// The postmaster.
    pub(crate) postgres: Option<u32>,
    pub(crate) provider: u32,
}

impl Accounts {
    pub(crate) fn read(&self) -> Result<Used> {
        let of = |pid: Option<u32>| pid.map_or(Ok(Duration::ZERO), of_process);
        Ok(Used {
            gateway: of(self.gateway)?,
            postgres: self.postgres.map_or(Ok(Duration::ZERO), of_tree)?,
            provider: of_process(self.provider)?,
        })
    }
}

impl Used {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            gateway: self.gateway.saturating_sub(before.gateway),
            postgres: self.postgres.saturating_sub(before.postgres),
            provider: self.provider.saturating_sub(before.provider),
        }
    }
}

/// All threads of a process, ended ones included, in nanoseconds: `/proc/PID/stat` has the same
/// sum in ticks of ten milliseconds.
fn of_process(pid: u32) -> Result<Duration> {
    let id = clock_getcpuclockid(pid_of(pid)).with_context(|| format!("process {pid} has gone"))?;
    Ok(id.now().with_context(|| format!("the CPU clock of process {pid}"))?.into())
}

/// A postmaster with its children; those that have ended are in its own accounts.
fn of_tree(postmaster: u32) -> Result<Duration> {
    let mut sum = of_process(postmaster)? + of_ended_children(postmaster)?;
    for child in children(postmaster)? {
        // A child that ends meanwhile is counted with the ended ones the next time.
        sum += of_process(child).unwrap_or_default();
    }
    Ok(sum)
}

fn of_ended_children(pid: u32) -> Result<Duration> {
    let fields = stat(pid).with_context(|| format!("process {pid} has gone"))?;
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    // cutime and cstime, the 16th and 17th of proc_pid_stat(5).
    let sum = ticks(13).zip(ticks(14)).map(|(user, system)| user + system);
    let sum = sum.ok_or_else(|| anyhow!("/proc/{pid}/stat cannot be understood"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100).unsigned_abs();
    Ok(Duration::from_millis(sum * 1000 / per_second))
}

fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let of = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        if of == Some(parent) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The fields of `/proc/PID/stat` from the third on: the second may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// What a process holds of memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// At its highest.
    pub(crate) peak: u64,
}

/// Reads `/proc/PID/status`.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has gone"))?;
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        number.map(|number| number * 1024).ok_or_else(|| anyhow!("no {name} of process {pid}"))
    };
    Ok(Memory { resident: kilobytes("VmRSS:")?, peak: kilobytes("VmHWM:")? })
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}
