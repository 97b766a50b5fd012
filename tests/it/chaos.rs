//! The crash harness: real gateways on one database, clients that call, leave, cancel and close,
//! while processes are killed and connections break. Afterwards the ledger alone, held against
//! what the provider saw, says whether everything held.
//!
//! The seed is printed; `CHAOS_SEED` replays the workload and the plan of faults, as far as the
//! machine schedules alike. `CHAOS_FAULTS` says how many there are, `CHAOS_LOG` what the gateways
//! log (as `RUST_LOG`).

#![allow(
    clippy::print_stdout,
    unreachable_pub,
    reason = "the seed is printed; parts serve their siblings"
)]

mod provider;
mod faults;
mod verdict;
mod workload;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::ledger_contract::Random;

use faults::Plan;
use world::World;

/// Faults of the short version, and clients at work.
const FAULTS: usize = 32;
const CLIENTS: u64 = 8;

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_dies_the_books_are_exact_and_no_cap_is_passed() {
    let fresh = || uuid::Uuid::new_v4().as_u64_pair().1;
    let seed: u64 = from_env("CHAOS_SEED").unwrap_or_else(fresh);
    let faults = from_env("CHAOS_FAULTS").unwrap_or(FAULTS);
    println!("CHAOS_SEED={seed} CHAOS_FAULTS={faults}");
    let world = Arc::new(World::start(seed).await);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(workload::work(Arc::clone(&world), client, seed)))
        .collect();
    let sampler = tokio::spawn(verdict::sample(Arc::clone(&world)));

    let counts = Plan::new(Random(seed ^ 0xfa17)).inject(&world, faults).await;
    world.stop.store(true, Ordering::Release);
    for client in clients {
        client.await.unwrap();
    }
    let samples = sampler.await.unwrap();
    world.heal().await;
    let findings = verdict::verdict(&world).await;

    println!("CHAOS_SEED={seed} faults={counts:?} samples={samples} {}", findings.summary);
    assert!(findings.wrong.is_empty(), "CHAOS_SEED={seed}: {:#?}", findings.wrong);
    assert!(samples > 0, "the budgets were looked at meanwhile");
}
