//! The use cases: one model call from its arrival to its settlement, and what orchestrators do to
//! runs. It knows no HTTP server and no SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::config::{RateLimits, RunAuth};
use crate::domain::fault::{Code, Fault};
use crate::domain::id::{KeyId, OrganizationId, RunId};
use crate::domain::settlement::UnknownUsage;
use crate::domain::usage::Tokens;
use crate::ledger::{Event, Ledger, LedgerError};
use crate::upstream::{Access, Deadlines};

pub mod directory;
pub mod known;
pub mod payers;
mod heard;
pub mod reach;
mod own_reach;
pub mod providers;
pub mod caller;
pub mod jwt;
mod signed;
mod certificates;
pub mod refusals;
pub mod candidate;
pub mod admission;
mod counting;
pub mod count_tokens;
mod refused;
mod busy;
mod counters;
mod pricing;
mod incidents;
mod entry;
pub mod call;
mod body;
pub mod whole;
pub mod relay;
pub mod retry;
mod attempt;
pub mod fallback;
pub mod exchange;
pub mod streamed;
mod failure;
pub mod inference;
pub mod route;
pub mod prices;
pub mod runs;
pub mod organizations;
pub mod credits;
pub mod usage;
mod logins;
pub mod management;

use busy::Counts;
pub(crate) use busy::{Busy, Work};
use call::CallReport;
use counters::Counters;
use directory::Directory;
use jwt::Jwt;
use logins::Logins;
use reach::{Reaches, Tenancy};
use refusals::Refusals;
use retry::Retries;

/// Whether anybody's money is at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A developer's laptop: any run, any credential.
    Dev,
    /// The real thing.
    Serve,
}

/// The settings that use cases depend on.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Who may spend for a run.
    pub run_auth: RunAuth,
    /// Output to reserve for when nothing was asked for.
    pub default_max_output: Tokens,
    /// Least output that a call is lowered to.
    pub min_output: Tokens,
    /// Longest wait for money.
    pub admission_wait: Duration,
    /// Longest wait for a run to become running.
    pub activation_wait: Duration,
    /// Calls at once of a run that names no limit.
    pub max_concurrency: u32,
    /// What an unknown usage costs.
    pub unknown_usage: UnknownUsage,
    /// How long a provider may take.
    pub deadlines: Deadlines,
    /// Most bytes of a provider's answer.
    pub max_response_bytes: usize,
    /// How often and for how long a failed attempt is made again.
    pub retries: Retries,
    /// The silence before a stream's first byte that is broken by a comment, if any is.
    pub keep_alive: Option<Duration>,
}

/// Everything that the use cases share.
pub struct Gateway {
    /// Whether this is `dev` or `serve`.
    pub mode: Mode,
    /// The settings.
    pub policy: Policy,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The runs that were met.
    pub directory: Directory,
    /// Refusals to be written.
    pub refusals: Refusals,
    /// The run of calls that name none, in dev mode.
    pub default_run: Option<RunId>,
    jwt: Option<Arc<Jwt>>,
    catalog: ArcSwap<Catalog>,
    reaches: Reaches,
    tasks: TaskTracker,
    main: Handle,
    on_call: Option<OnCall>,
    halt: CancellationToken,
    counters: Counters,
    counting: Arc<Semaphore>,
    reads: Semaphore,
    sums: Semaphore,
    logins: Logins,
    leaving: AtomicBool,
    draining: AtomicBool,
    busy: Counts,
}

/// Hears of every ended call.
pub type OnCall = Box<dyn Fn(CallReport) + Send + Sync>;

/// What a gateway is made of.
pub struct Parts {
    /// Whether this is `dev` or `serve`.
    pub mode: Mode,
    /// The settings.
    pub policy: Policy,
    /// The limits on pace that settings say.
    pub rates: Arc<RateLimits>,
    /// The models.
    pub catalog: Catalog,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The run of calls that name none, in dev mode.
    pub default_run: Option<RunId>,
    /// What tells good signed tokens from bad ones, if any are good.
    pub jwt: Option<Arc<Jwt>>,
    /// The providers that are configured.
    pub access: Vec<Access>,
    /// How organizations come to providers of their own.
    pub tenancy: Tenancy,
    /// Where drains and counts run; shutdown waits for them.
    pub tasks: TaskTracker,
    /// The main runtime, which outlives the server's workers.
    pub main: Handle,
    /// Who wants to hear of every ended call.
    pub on_call: Option<OnCall>,
    /// What cuts every call at once.
    pub halt: CancellationToken,
}

impl Gateway {
    /// Puts a gateway together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            mode: parts.mode,
            policy: parts.policy,
            catalog: ArcSwap::from_pointee(parts.catalog),
            directory: Directory::new(Arc::clone(&parts.ledger), parts.halt.clone(), parts.rates),
            halt: parts.halt,
            counters: Counters::default(),
            counting: Arc::new(Semaphore::new(cpus())),
            reads: Semaphore::new(MAX_READS),
            sums: Semaphore::new(MAX_SUMS),
            logins: Logins::default(),
            ledger: parts.ledger,
            refusals: Refusals::default(),
            default_run: parts.default_run,
            jwt: parts.jwt,
            reaches: Reaches::new(parts.access, parts.tenancy),
            tasks: parts.tasks,
            main: parts.main,
            on_call: parts.on_call,
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            busy: Counts::default(),
        })
    }

    /// The models and prices of now. A call keeps the snapshot that it was admitted on.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// From now on calls are admitted on this catalogue.
    pub fn set_catalog(&self, catalog: Catalog) {
        self.catalog.store(Arc::new(catalog));
    }

    /// Whether the operator has configured no provider.
    pub fn has_no_provider(&self) -> bool {
        !self.reaches.has_environment()
    }

    /// Runs `task` on the main runtime; shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn_on(task, &self.main).abort_handle()
    }

    /// Runs work for the processor beside the main runtime.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_blocking_on(work, &self.main)
    }

    /// Tells of an ended call, if anybody wants to hear.
    pub(crate) fn report(&self, report: impl FnOnce() -> CallReport) {
        if let Some(hear) = &self.on_call {
            hear(report());
        }
    }

    /// From now on this gateway is not ready, but it still admits.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether it should be sent nothing more.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || self.is_draining()
    }

    /// From now on nothing new is admitted, and whoever waits to be admitted hears so at once.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.directory.wake_all();
    }

    /// Whether nothing new is admitted.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes a request in, for a shutdown to wait for.
    ///
    /// # Errors
    /// If nothing new is admitted.
    pub(crate) fn take_in(self: &Arc<Self>) -> Result<Busy, Fault> {
        let busy = Busy::with(self, Work::Request);
        if self.is_draining() { Err(draining()) } else { Ok(busy) }
    }

    /// Whether every call is being cut because the gateway goes down.
    pub fn is_halted(&self) -> bool {
        self.halt.is_cancelled()
    }

    /// How many admitted calls have not ended, those of clients that have left among them.
    pub fn calls_in_flight(&self) -> usize {
        self.busy.calls.load(Ordering::Acquire)
    }

    /// How many requests and admitted calls have not ended.
    pub fn in_flight(&self) -> usize {
        self.busy.requests.load(Ordering::Acquire) + self.calls_in_flight()
    }

    /// How many tasks are under way beside the requests.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Takes in what the ledger told.
    pub async fn hear(&self, event: Event) {
        match event {
            Event::BudgetFreed(whose) => self.directory.wake(whose),
            Event::RunChanged(run) => self.refresh(run).await,
            Event::KeyChanged(key) => self.refresh_key(key).await,
            Event::OrganizationChanged(id) => {
                self.reaches.forget(id);
                self.refresh_organization(id).await;
            }
            Event::Reconnected => {
                self.reaches.forget_all();
                for run in self.directory.ids() {
                    self.refresh(run).await;
                }
                let (keys, organizations) = self.directory.known_payers();
                for key in keys {
                    self.refresh_key(key).await;
                }
                for organization in organizations {
                    self.refresh_organization(organization).await;
                }
            }
        }
    }

    async fn refresh_key(&self, key: KeyId) {
        if let Err(error) = self.directory.refresh_key(key).await {
            tracing::warn!(
                key.id = %key,
                error = &error as &dyn std::error::Error,
                "directory.refresh_failed: the ledger decides on every call all the same"
            );
        }
    }

    async fn refresh_organization(&self, id: OrganizationId) {
        if let Err(error) = self.directory.refresh_organization(id).await {
            tracing::warn!(
                organization.id = %id,
                error = &error as &dyn std::error::Error,
                "directory.refresh_failed: limits hold all the same; new ones are heard of later"
            );
        }
    }

    async fn refresh(&self, run: RunId) {
        if let Err(error) = self.directory.refresh(run).await {
            tracing::warn!(
                run.id = %run,
                error = &error as &dyn std::error::Error,
                "directory.refresh_failed: the ledger decides on every call all the same"
            );
        }
    }
}

/// How many sandboxes read their usage at once; the others wait, and never take the connections
/// that orchestrators need.
const MAX_READS: usize = 3;

/// How many sums over everybody's calls are made at once.
const MAX_SUMS: usize = 1;

/// How many prompts are counted at once.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// The ledger could not answer: nothing is forwarded unmetered.
pub(crate) fn unavailable(error: LedgerError) -> Fault {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    Fault::internal(
        Code::Unavailable,
        "The gateway cannot reach its ledger right now. Nothing was sent; try again shortly.",
        reason,
    )
    .retry_after(1)
}

/// This gateway is shutting down.
pub(crate) fn draining() -> Fault {
    Fault::new(
        Code::Unavailable,
        "This gateway is shutting down. Nothing was sent; try again shortly.",
    )
    .retry_after(1)
}
