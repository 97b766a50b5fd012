//! The private Postgres of a gateway without `DATABASE_URL`: started with it, kept running for as
//! long as it runs, stopped after it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::storage::cluster::{Cluster, ClusterOptions};

use super::StartError;

/// How often it is looked whether the server still runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A durable Postgres of our own, in `DATA_DIR`.
///
/// # Errors
/// If it cannot be started; the message says what to install or to change.
pub async fn start(config: &Config) -> Result<Cluster, StartError> {
    let options = ClusterOptions {
        data_dir: config.data_dir.join("postgres"),
        durable: true,
        settings: Vec::new(),
        remove_on_stop: false,
    };
    let starting = tokio::task::spawn_blocking(move || Cluster::start(options));
    match starting.await {
        Ok(started) => Ok(started?),
        Err(panicked) => Err(StartError::Serve(std::io::Error::other(panicked))),
    }
}

/// Starts the server again whenever it has ended by itself. Calls in flight lose nothing by it.
pub(super) fn keep_running(cluster: &Arc<Cluster>, tasks: &TaskTracker, stop: &CancellationToken) {
    let (cluster, stop) = (Arc::clone(cluster), stop.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if cluster.postmaster_pid().is_some() {
                continue;
            }
            tracing::error!(
                log = %cluster.log_path().display(),
                "postgres.ended: the private Postgres is gone; starting it again"
            );
            let again = Arc::clone(&cluster);
            let restarted = tokio::task::spawn_blocking(move || again.restart()).await;
            if let Ok(Err(error)) = restarted {
                tracing::error!(error = &error as &dyn std::error::Error, "postgres.not_started");
            }
        }
    });
}

/// Stops it, when nobody uses it any more.
pub(super) async fn stop(cluster: Arc<Cluster>) {
    // Whoever still holds it lets go of it when the runtime ends, which stops it as well.
    let Some(cluster) = Arc::into_inner(cluster) else { return };
    let stopping = tokio::task::spawn_blocking(move || cluster.stop());
    if let Ok(Err(error)) = stopping.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "shutdown.postgres");
    }
}
