//! Many streams for a long time: whether what a gateway holds of memory grows.
//!
//! Streams are short beside the whole time and begin apart, so that one ends and another begins
//! all the while. The series is for people to look at; growth beyond a bound is a failure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::task::JoinSet;

use crate::bodies;
use crate::contenders::{Provider, Serve, Target};
use crate::cpu::{Memory, memory};
use crate::streams::read_one;

/// Of each stream.
const EVENTS: usize = 24;
/// How much more the last quarter may hold than the second one, in hundredths.
const MOST_GROWTH: u64 = 10;
/// How many times it is looked at.
const LOOKS: u32 = 40;

/// Options of the soak
#[derive(Clone, Debug, Args)]
pub(crate) struct SoakOptions {
    /// Streams that are open at the same time
    #[arg(long, default_value_t = 2_000)]
    streams: usize,
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// How long each stream lasts
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u64).range(1..600))]
    stream_seconds: u64,
    /// 200 streams of 2 s for 20 s, to see that it works
    #[arg(long)]
    quick: bool,
}

/// What all clients tell together.
#[derive(Default)]
struct Told {
    open: AtomicUsize,
    ended: AtomicU64,
    over: AtomicBool,
}

/// Runs it and prints the series.
pub(crate) async fn run(options: &SoakOptions, folder: &Path, provider: &Provider) -> Result<()> {
    let (streams, time, each) = match options.quick {
        true => (200, Duration::from_secs(20), 2),
        false => {
            (options.streams, Duration::from_secs(options.minutes * 60), options.stream_seconds)
        }
    };
    let serve = Serve::start(folder, provider).await?;
    println!("{streams} streams of {each} s at the same time, for {} s", time.as_secs());
    println!("{:>8} {:>8} {:>10} {:>10} {:>10}", "seconds", "open", "ended", "MB", "peak MB");
    let series = drive(&serve, streams, time, each).await;
    let series = series.with_context(|| serve.process.complaints())?;
    println!("{}", serve.check(folder).await?);
    judge(&series)
}

async fn drive(serve: &Serve, streams: usize, time: Duration, each: u64) -> Result<Vec<u64>> {
    let told = Arc::new(Told::default());
    let pause = each * 1000 / EVENTS as u64;
    let body = bodies::paced_stream(EVENTS, pause);
    let mut clients = JoinSet::new();
    for place in 0..streams {
        // They begin one after the other, over the time that one of them lasts.
        let begin = Duration::from_millis(each * 1000 * place as u64 / streams as u64);
        let (target, body) = (serve.target.clone(), body.clone());
        clients.spawn(client(target, body, place, begin, Arc::clone(&told)));
    }
    let began = Instant::now();
    let warm = Duration::from_secs(each);
    let mut series = Vec::new();
    for look in 0..=LOOKS {
        let until = warm + time * look / LOOKS;
        tokio::select! {
            () = tokio::time::sleep(until.saturating_sub(began.elapsed())) => {}
            Some(ended) = clients.join_next() => {
                ended??;
                bail!("a client ended too early");
            }
        }
        let Memory { resident, peak } = memory(serve.process.pid())?;
        println!(
            "{:>8} {:>8} {:>10} {:>10.1} {:>10.1}",
            began.elapsed().as_secs(),
            told.open.load(Ordering::Relaxed),
            told.ended.load(Ordering::Relaxed),
            resident as f64 / 1e6,
            peak as f64 / 1e6
        );
        series.push(resident);
    }
    told.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(series)
}

/// One stream after the other, each on a connection of its own.
async fn client(
    target: Target,
    body: String,
    place: usize,
    begin: Duration,
    told: Arc<Told>,
) -> Result<()> {
    tokio::time::sleep(begin).await;
    let credential = &target.credentials[place % target.credentials.len()];
    while !told.over.load(Ordering::Relaxed) {
        told.open.fetch_add(1, Ordering::Relaxed);
        let read = read_one(&target, credential, &body, EVENTS).await;
        told.open.fetch_sub(1, Ordering::Relaxed);
        read?;
        told.ended.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Compares the last quarter with the second one: the first fills pools and caches.
fn judge(series: &[u64]) -> Result<()> {
    let quarter = series.len() / 4;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len().max(1) as u64;
    let early = mean(&series[quarter..2 * quarter]);
    let late = mean(&series[series.len() - quarter..]);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (from, to) = (megabytes(early), megabytes(late));
    println!("second quarter {from:.1} MB, last quarter {to:.1} MB");
    if late > early + early * MOST_GROWTH / 100 {
        bail!("it grew by more than {MOST_GROWTH} %: from {from:.1} MB to {to:.1} MB");
    }
    Ok(())
}
