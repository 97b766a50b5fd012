//! What runs beside the requests: leases, sweeps, events, counts. Every job is idempotent, takes no
//! input, and may be late without anything being lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::prices::Refresher;
use crate::ledger::Event;
use crate::ledger::postgres::{PostgresLedger, listen};

pub mod jwks;
pub mod reload;

/// How often refusals are written.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);
/// How often the standing of runs with calls under way is read again.
const REREAD_EVERY: Duration = Duration::from_secs(2);
/// How often runs that nobody calls for are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often the providers of organizations are read again; the longest that a change may go
/// unheard of if its notification got lost.
const PROVIDERS_EVERY: Duration = Duration::from_secs(20);
/// How often reservations in our own name are looked through.
const ORPHANS_EVERY: Duration = Duration::from_secs(5);
/// How often settled calls are folded into sums by day. Reads add what is not folded yet.
const FOLD_EVERY: Duration = Duration::from_secs(10);
/// How often the partitions of calls are looked at.
const PARTITIONS_EVERY: Duration = Duration::from_secs(600);
/// How often a lease is renewed within its length.
const RENEWALS_PER_LEASE: u32 = 5;
/// How often dead gateways are looked for within a lease.
const SWEEPS_PER_LEASE: u32 = 3;

/// Starts the jobs that every gateway needs.
pub fn start(
    gateway: &Arc<Gateway>,
    mut events: mpsc::UnboundedReceiver<Event>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let (listening, until) = (Arc::clone(gateway), stop.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                event = events.recv() => match event {
                    Some(event) => listening.hear(event).await,
                    None => return,
                },
            }
        }
    });
    let counting = Arc::clone(gateway);
    every(REFUSALS_EVERY, tasks, stop, move || write_refusals(Arc::clone(&counting)));
    let rereading = Arc::clone(gateway);
    every(REREAD_EVERY, tasks, stop, move || reread(Arc::clone(&rereading)));
    let forgetting = Arc::clone(gateway);
    every(FORGET_EVERY, tasks, stop, move || {
        let gateway = Arc::clone(&forgetting);
        async move { gateway.directory.forget_idle(Instant::now()) }
    });
    let providers = Arc::clone(gateway);
    every(PROVIDERS_EVERY, tasks, stop, move || {
        let gateway = Arc::clone(&providers);
        async move { gateway.reread_providers().await }
    });
}

/// Starts the jobs of a gateway whose ledger is Postgres.
pub fn start_postgres(
    ledger: &Arc<PostgresLedger>,
    config: &Config,
    events: mpsc::UnboundedSender<Event>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let (lease, retention_days) = (config.lease, config.calls_retention_days);
    tasks.spawn(listen(ledger.pool().clone(), events, stop.clone()));
    let renewing = Arc::clone(ledger);
    every(lease / RENEWALS_PER_LEASE, tasks, stop, move || renew(Arc::clone(&renewing)));
    let sweeping = Arc::clone(ledger);
    every(lease / SWEEPS_PER_LEASE, tasks, stop, move || sweep(Arc::clone(&sweeping)));
    let releasing = Arc::clone(ledger);
    every(ORPHANS_EVERY, tasks, stop, move || release_orphans(Arc::clone(&releasing)));
    let folding = Arc::clone(ledger);
    every(FOLD_EVERY, tasks, stop, move || fold(Arc::clone(&folding)));
    let keeping = Arc::clone(ledger);
    every(PARTITIONS_EVERY, tasks, stop, move || {
        keep_partitions(Arc::clone(&keeping), retention_days)
    });
}

/// Starts asking providers for their prices.
pub fn start_prices(
    refresher: Refresher,
    gateway: &Arc<Gateway>,
    period: Duration,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let (refresher, gateway) = (Arc::new(refresher), Arc::clone(gateway));
    every(period, tasks, stop, move || {
        let (refresher, gateway) = (Arc::clone(&refresher), Arc::clone(&gateway));
        async move { refresher.refresh(&gateway).await }
    });
}

/// What a notification tells at once, this tells for certain: no cut is missed for long.
async fn reread(gateway: Arc<Gateway>) {
    if let Err(error) = gateway.directory.refresh_busy().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "directory.reread_failed");
    }
}

async fn write_refusals(gateway: Arc<Gateway>) {
    gateway.write_refusals().await;
    metrics::gauge!("rungate_calls_in_flight").set(gauge(gateway.calls_in_flight()));
    metrics::gauge!("rungate_tasks").set(gauge(gateway.tasks()));
    metrics::gauge!("rungate_runs_known").set(gauge(gateway.directory.len()));
    metrics::gauge!("rungate_calls_waiting").set(gauge(gateway.directory.waiting()));
}

async fn renew(ledger: Arc<PostgresLedger>) {
    if let Err(error) = ledger.lease().renew().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "lease.renewal_failed");
    }
    metrics::gauge!("rungate_settlement_backlog").set(gauge(ledger.backlog()));
    let steady = usize::from(ledger.lease().is_steady());
    metrics::gauge!("rungate_lease_steady").set(gauge(steady));
}

async fn sweep(ledger: Arc<PostgresLedger>) {
    match ledger.sweep().await {
        Ok(swept) if swept.gateways > 0 || swept.reservations > 0 => {
            metrics::counter!("rungate_incidents_total", "kind" => "gateway_lost")
                .increment(swept.reservations);
            tracing::error!(
                gateways = swept.gateways,
                calls = swept.reservations,
                "sweep.gateway_lost: calls of dead gateways were charged their worst case"
            );
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "sweep.failed");
        }
    }
}

async fn release_orphans(ledger: Arc<PostgresLedger>) {
    match ledger.release_orphans().await {
        Ok(0) => {}
        Ok(released) => tracing::warn!(
            calls = released,
            "orphans.released: reservations whose answer was lost; nothing was sent on them"
        ),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "orphans.failed");
        }
    }
}

async fn fold(ledger: Arc<PostgresLedger>) {
    if let Err(error) = ledger.fold().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "usage.fold_failed");
    }
}

async fn keep_partitions(ledger: Arc<PostgresLedger>, retention_days: Option<u32>) {
    match ledger.keep_partitions(retention_days).await {
        Ok(kept) => {
            for table in kept.retired {
                tracing::info!(
                    table,
                    "partitions.retired: the calls of a month are no longer in the ledger's table"
                );
            }
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "partitions.failed: tried again in a while"
            );
        }
    }
}

/// Runs `job` at once and then at every tick, until `stop`.
fn every<F>(
    period: Duration,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    job: impl Fn() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let until = stop.clone();
    tasks.spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = ticks.tick() => job().await,
            }
        }
    });
}

/// A count as a gauge takes it.
fn gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
