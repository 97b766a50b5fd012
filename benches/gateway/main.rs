//! How fast the gateway is, beside a bare relay before the same provider.
//!
//! `cargo bench --bench gateway` starts everything as processes of their own on this machine,
//! measures the contenders by turns, and prints a table of medians. CPU times are those of the
//! processes' own accounts. It asserts no speed; it fails if a call fails or the ledger is wrong.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a benchmark talks to a terminal and fails loudly"
)]

mod bodies;
mod contenders;
mod cpu;
mod load;
mod machine;
mod markdown;
mod memory;
mod process;
mod relay;
mod report;
mod results;
mod scenarios;
mod soak;
mod stats;
mod streams;
mod table;
mod targets;
mod tenants;
mod turns;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use contenders::{Contenders, Provider};
use results::Results;
use tenants::Tenants;

/// The name of what is measured last, in processes of its own.
const MEMORY: &str = "memory";

/// Measures rungate beside a bare relay
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Two rounds of one second, to see that it works
    #[arg(long)]
    quick: bool,
    /// Rounds of each scenario, in which the contenders take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..1000))]
    rounds: u32,
    /// Seconds of each contender in each round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..1000))]
    seconds: u64,
    /// Only the scenarios whose names begin with one of these
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Write the table into the README as well
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    write: bool,
    /// A folder on a real disk, for what the processes write
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The bare relay, as the benchmark starts it
    Relay(relay::RelayOptions),
    /// Keep many streams open for a long time, and look whether memory grows
    Soak(soak::SoakOptions),
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    let mut soak = None;
    match options.command.take() {
        Some(Command::Relay(relay)) => return exit(relay::run(relay)),
        Some(Command::Soak(options)) => soak = Some(options),
        None => {}
    }
    if options.quick {
        (options.rounds, options.seconds) = (2, 1);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured = runtime.context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                measured = measure(&options, soak) => measured,
                stopped = stopped() => stopped,
            }
        })
    });
    exit(measured)
}

fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for an interrupt. Whatever was started is ended as the measuring is dropped.
async fn stopped() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    bail!("stopped; everything that was started has been ended")
}

async fn measure(options: &Options, soak: Option<soak::SoakOptions>) -> Result<()> {
    let scenarios = scenarios::all();
    options.check(scenarios.iter().map(|scenario| scenario.id).chain([MEMORY]))?;
    raise_file_limit()?;
    let folder = folder(&options.folder)?;
    if let Some(soak) = soak {
        let provider = Provider::start(folder.path()).await?;
        return soak::run(&soak, folder.path(), &provider).await;
    }
    let wrk = load::Wrk::find(folder.path()).await?;
    let provider = Provider::start(folder.path()).await?;
    let rounds = usize::try_from(options.rounds)?;
    let mut results = Results { rounds, samples: BTreeMap::new(), held: BTreeMap::new() };
    eprintln!("starting the contenders");
    let contenders = Contenders::start(folder.path(), &provider).await?;
    let postgres = machine::describe_postgres(&contenders.serve.database).await?;
    let targets = contenders.targets(&provider);
    let (rounds, time) = (options.rounds, Duration::from_secs(options.seconds));
    let chosen = scenarios.iter().filter(|scenario| options.chose(scenario.id));
    let (paid, free): (Vec<_>, Vec<_>) = chosen.partition(|scenario| scenario.is_paid());
    for scenario in free {
        let measured = scenario.measure(&wrk, &targets, rounds, time, &mut results.samples);
        measured.await.with_context(|| contenders.complaints())?;
    }
    eprintln!("{}", contenders.serve.check(folder.path()).await?);
    drop(contenders);
    if !paid.is_empty() {
        let tenants = Tenants::start(folder.path(), &provider).await?;
        for scenario in paid {
            let targets = tenants.targets();
            let measured = scenario.measure(&wrk, targets, rounds, time, &mut results.samples);
            measured.await.with_context(|| tenants.complaints())?;
        }
        tenants.check(folder.path()).await?;
    }
    if options.chose(MEMORY) {
        results.held = memory::measure(folder.path(), &provider).await?;
    }
    let report = report::render(&results, &postgres, options.rounds, options.seconds);
    println!("{report}");
    if options.write {
        report::write_readme(&report)?;
    }
    Ok(())
}

impl Options {
    /// Looks at what the command line's own rules cannot see.
    fn check(&self, known: impl Iterator<Item = &'static str> + Clone) -> Result<()> {
        let names = known.clone().collect::<Vec<_>>().join(", ");
        for name in &self.only {
            if !known.clone().any(|id| id.starts_with(name)) {
                bail!("{name:?} is no scenario; there are {names}");
            }
        }
        if self.write { report::check_readme() } else { Ok(()) }
    }

    fn chose(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| id.starts_with(name))
    }
}

/// A folder of our own that Postgres may enter as another user. It is removed in the end.
fn folder(parent: &Path) -> Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    if machine::is_in_memory(parent)? {
        bail!("{} is in memory, where commits cost nothing; give a --folder", parent.display());
    }
    tempfile::Builder::new()
        .prefix("rungate-bench-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(|| format!("no folder can be made in {}", parent.display()))
}

/// Of this process and of those that it starts: 1,000 streams have 2,000 sockets in a gateway.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("the limit of files")
}
