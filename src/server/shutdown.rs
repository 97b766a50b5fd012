//! Going down in order: stop admitting but keep listening, let calls end, write everything down,
//! then stop the servers.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Running;

/// How often the calls in flight are counted.
const TICK: Duration = Duration::from_millis(20);
/// How long calls that were cut may take to be settled.
const AFTER_CUT: Duration = Duration::from_secs(5);
/// How long the last settlements may take to be written.
const FLUSH: Duration = Duration::from_secs(20);
/// How long jobs, connections and the pool may take to end.
const CLOSE: Duration = Duration::from_secs(5);
/// How long all of it may take from the moment on at which somebody is in a hurry.
const HURRIED: Duration = Duration::from_secs(2);

/// What a shutdown had to leave undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls that had not ended within the grace and were cut.
    pub cut: usize,
    /// Whether it was asked to hurry.
    pub hurried: bool,
    /// Whether settlements could not be written; another gateway charges them their worst case.
    pub unwritten: bool,
}

/// How long to wait for what, once somebody is in a hurry.
struct Patience<'a> {
    hurry: &'a CancellationToken,
    since: OnceLock<Instant>,
}

impl Patience<'_> {
    /// Completes at once when somebody is in a hurry.
    async fn lost(&self) {
        self.hurry.cancelled().await;
        self.since.get_or_init(Instant::now);
    }

    /// What `work` makes, or nothing after its usual time. The hurried share one short time.
    async fn wait<T>(&self, usual: Duration, work: impl Future<Output = T>) -> Option<T> {
        let hurried = async {
            self.lost().await;
            sleep_until(*self.since.get_or_init(Instant::now) + HURRIED).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = sleep(usual) => None,
            () = hurried => None,
        }
    }
}

impl Running {
    /// From now on it is not ready and, where no notice is given, it admits nothing.
    pub fn give_notice(&self) {
        self.gateway.leave();
        if self.notice.is_zero() {
            self.gateway.drain();
        }
    }

    /// Gives notice, drains and stops. From the first moment on it is not ready; once the notice is
    /// over nothing is admitted. Whatever has not ended within the grace is cut and booked.
    pub async fn shutdown(self, grace: Duration) -> ShutdownReport {
        self.shutdown_unless_hurried(grace, &CancellationToken::new()).await
    }

    /// The same. Once `hurry` is cancelled, what is left of notice and grace is skipped: calls are
    /// cut at once, and whatever cannot be written down within two seconds is left to the lease.
    pub async fn shutdown_unless_hurried(
        mut self,
        grace: Duration,
        hurry: &CancellationToken,
    ) -> ShutdownReport {
        let patience = Patience { hurry, since: OnceLock::new() };
        self.give_notice();
        tokio::select! {
            () = sleep(self.notice) => {}
            () = patience.lost() => {}
        }
        self.gateway.drain();
        let end = Instant::now() + grace;
        let mut report = ShutdownReport::default();
        let ended = tokio::select! {
            ended = timeout_at(end, self.nothing_under_way()) => ended.is_ok(),
            () = patience.lost() => false,
        };
        if !ended {
            report.cut = self.gateway.calls_in_flight();
            self.halt.cancel();
            patience.wait(AFTER_CUT, self.nothing_under_way()).await;
        }
        self.tasks.close();
        patience.wait(AFTER_CUT, self.tasks.wait()).await;
        report.unwritten = patience.wait(FLUSH, self.gateway.ledger.flush()).await.is_none();
        patience.wait(CLOSE, self.gateway.write_refusals()).await;
        self.stop_jobs.cancel();
        // Idle connections are closed at once. What is left of the grace is for clients that have
        // not yet read the answers of their ended calls.
        for server in &self.servers {
            let left = end.saturating_duration_since(Instant::now()).max(CLOSE);
            patience.wait(left, server.stop(true)).await;
        }
        for serving in self.serving.drain(..) {
            patience.wait(CLOSE, serving).await;
        }
        self.jobs.close();
        patience.wait(CLOSE, self.jobs.wait()).await;
        self.let_go_of_the_database(&patience).await;
        if let Some(cluster) = self.cluster.take() {
            super::private::stop(cluster).await;
        }
        report.hurried = hurry.is_cancelled();
        report
    }

    async fn let_go_of_the_database(&self, patience: &Patience<'_>) {
        let Some(postgres) = &self.postgres else { return };
        // What is still in flight belongs to this gateway until its lease lapses.
        if postgres.in_flight() == 0
            && let Some(Err(error)) =
                patience.wait(CLOSE, postgres.lease().leave(postgres.pool())).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "shutdown.lease_kept");
        }
        patience.wait(CLOSE, postgres.pool().close()).await;
    }

    /// Completes when every request is answered and every call is over.
    async fn nothing_under_way(&self) {
        while self.gateway.in_flight() > 0 {
            sleep(TICK).await;
        }
    }

    /// The private Postgres, if this gateway started one.
    pub fn cluster(&self) -> Option<&crate::storage::cluster::Cluster> {
        self.cluster.as_deref()
    }
}
