//! What a gateway holds of memory while 1,000 streams are open.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bodies;
use crate::contenders::{self, Kind, Provider, Serve, Target};
use crate::cpu::{Memory, memory};
use crate::streams::Open;

pub(crate) const STREAMS: usize = 1_000;
/// Runs that they belong to.
const RUNS: usize = 50;
/// Of each stream, half a second apart.
const EVENTS: usize = 24;
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Before the first call.
    pub(crate) before: u64,
    /// The most while all streams were open.
    pub(crate) open: u64,
    /// The highest since the process began.
    pub(crate) peak: u64,
}

pub(crate) type Held1000 = BTreeMap<Kind, Held>;

/// Measures each in a process that has done nothing else.
pub(crate) async fn measure(folder: &Path, provider: &Provider) -> Result<Held1000> {
    eprintln!("memory: {STREAMS} open streams");
    let mut held = Held1000::new();
    let folder = folder.join("memory");
    std::fs::create_dir(&folder)?;
    for start in [Kind::Relay, Kind::Dev] {
        let between = match start {
            Kind::Relay => contenders::relay(&folder, provider).await?,
            _ => contenders::dev(&folder, provider).await?,
        };
        let pid = between.process.pid();
        let watched = watch(pid, between.target.clone()).await;
        let watched = watched.with_context(|| between.process.complaints())?;
        held.insert(start, watched);
    }
    let serve = Serve::start(&folder, provider).await?;
    let watched = watch(serve.process.pid(), serve.target.clone()).await;
    held.insert(Kind::Serve, watched.with_context(|| serve.process.complaints())?);
    eprintln!("  {}", serve.check(&folder).await?);
    Ok(held)
}

async fn watch(pid: u32, target: Target) -> Result<Held> {
    let credentials = target.credentials.iter().take(RUNS).cloned().collect();
    let target = Target { credentials, ..target };
    let before = memory(pid)?.resident;
    let body = bodies::slow_stream(EVENTS);
    let mut open = Open::begin(&target, &body, EVENTS, STREAMS).await?;
    let mut most = Memory::default();
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        let now = memory(pid)?;
        open.all_open()?;
        most = Memory { resident: most.resident.max(now.resident), peak: now.peak };
    }
    open.end().await?;
    let held = Held { before, open: most.resident, peak: most.peak };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    eprintln!(
        "  {:<18} {:.1} MB before, {:.1} MB with {STREAMS} streams, {:.1} MB at most",
        target.name(),
        megabytes(held.before),
        megabytes(held.open),
        megabytes(held.peak)
    );
    Ok(held)
}
