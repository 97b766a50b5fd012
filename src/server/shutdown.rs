//! Going down in order: stop admitting but keep listening, let calls end, write everything down,
//! then stop the servers.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Running;

/// How often the calls in flight are counted.
const TICK: Duration = Duration::from_millis(20);
/// How long calls that were cut may take to be settled.
const AFTER_CUT: Duration = Duration::from_secs(5);
/// How long the last settlements may take to be written.
const FLUSH: Duration = Duration::from_secs(20);
/// How long jobs, connections and the pool may take to end.
const CLOSE: Duration = Duration::from_secs(5);

/// What a shutdown had to leave undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls that had not ended within the grace and were cut.
    pub cut: usize,
    /// Whether settlements could not be written; another gateway charges them their worst case.
    pub unwritten: bool,
}

impl Running {
    /// Gives notice, drains and stops. From the first moment on it is not ready; once the notice is
    /// over nothing is admitted.
    pub async fn shutdown(mut self, grace: Duration) -> ShutdownReport {
        self.gateway.leave();
        sleep(self.notice).await;
        self.gateway.drain();
        let mut report = ShutdownReport::default();
        if !self.ended_within(grace).await {
            report.cut = self.gateway.in_flight();
            self.halt.cancel();
            self.ended_within(AFTER_CUT).await;
        }
        self.tasks.close();
        let _drained = timeout(AFTER_CUT, self.tasks.wait()).await;
        report.unwritten = timeout(FLUSH, self.gateway.ledger.flush()).await.is_err();
        self.gateway.write_refusals().await;
        self.stop_jobs.cancel();
        for server in &self.servers {
            let _stopped = timeout(CLOSE, server.stop(true)).await;
        }
        for serving in self.serving.drain(..) {
            let _ended = timeout(CLOSE, serving).await;
        }
        self.jobs.close();
        let _ended = timeout(CLOSE, self.jobs.wait()).await;
        if let Some(postgres) = &self.postgres {
            // What is still in flight belongs to this gateway until its lease lapses.
            if postgres.in_flight() == 0
                && let Err(error) = postgres.lease().leave(postgres.pool()).await
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "shutdown.lease_kept");
            }
            let _closed = timeout(CLOSE, postgres.pool().close()).await;
        }
        if let Some(cluster) = self.cluster.take() {
            super::private::stop(cluster).await;
        }
        report
    }

    async fn ended_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.gateway.in_flight() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(TICK).await;
        }
        true
    }

    /// The private Postgres, if this gateway started one.
    pub fn cluster(&self) -> Option<&crate::storage::cluster::Cluster> {
        self.cluster.as_deref()
    }
}
