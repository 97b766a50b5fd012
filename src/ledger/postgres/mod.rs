//! The ledger in Postgres.
//!
//! Admissions and settlements go through a few lanes, chosen by the run: what arrives while a
//! lane's statement is under way shares the next one. A lane owns its connection, so no call waits
//! for a pool and no locked row holds up runs of another lane. Everything else – the
//! registry, reads, leases – uses an ordinary pool.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::mpsc;

use crate::domain::id::{OrganizationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::reservation::{Ask, Refusal};
use crate::domain::run::{Registration, RunPatch, RunSnapshot, RunStanding, RunState};

use self::desk::Desk;
use self::entry::{lane_count, lane_of};
use self::lane::{Lane, channel};
use self::windows::Windows;
use super::grant::{Grant, Settle};
use super::queue::{RunQueue, Turn};
use super::{
    CallRecord, Close, Ledger, LedgerError, Page, Registered, RunKey, RunRecord, RunsError,
    Settlement, Totals, TotalsQuery, UsageQuery, UsageRow,
};

mod admit;
mod check;
mod connection;
mod desk;
mod entry;
mod lane;
mod lanes;
mod lease;
mod port;
mod listen;
mod read;
mod runs;
mod settle;
mod step;
pub mod statements;
pub mod totals;
pub mod used;
pub mod usage;
pub mod partitions;
pub mod windows;
pub mod organizations;
pub mod keys;
pub mod credits;
pub mod members;
pub mod audit;
pub mod providers;
mod provider_port;

pub use check::{Finding, Report, check};
pub use lease::{Lease, Swept};
pub use listen::listen;
pub use partitions::{Folded, Kept};

/// The longest that Postgres works on one statement of the ledger.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest that a statement waits for a row.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(1500);
/// The longest that the gateway waits for a new connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that a call waits for the ledger before it is refused as unavailable.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(4500);
/// The longest that a long list or a large registration may take.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(30);
/// Admissions that can wait for one lane.
const LANE_CAPACITY: usize = 4096;
/// Settlements that may wait to be written before admission stops.
pub const MAX_BACKLOG: usize = 65_536;
/// Connections of the pool that everything but the lanes uses.
const POOL_CONNECTIONS: u32 = 8;

/// Why the ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of Postgres.
    #[error("DATABASE_URL is not a Postgres URL such as postgres://user@host/database")]
    Url(#[source] sqlx::Error),
    /// There is no connection to be had.
    #[error("Postgres cannot be reached; check DATABASE_URL and that the server accepts it")]
    Connect(#[source] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("the database schema cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The first lease was not granted.
    #[error("the gateway could not register itself")]
    Lease(#[source] sqlx::Error),
    /// The operating system gave no thread.
    #[error("the ledger's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// The ledger in Postgres, as one gateway process sees it.
pub struct PostgresLedger {
    pool: PgPool,
    admissions: Vec<mpsc::Sender<admit::Job>>,
    books: Arc<Books>,
    lease: Arc<Lease>,
    max_backlog: usize,
    windows: Windows,
}

/// Where settlements are handed over.
struct Books {
    settlements: Vec<mpsc::UnboundedSender<settle::Job>>,
    desk: Arc<Desk>,
}

/// Work that a silent database does not keep for longer than `limit`.
async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(E::from(sqlx::Error::PoolTimedOut)),
    }
}

/// The options with which every connection is made, whatever the database's defaults.
///
/// # Errors
/// If the URL is malformed.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(OpenError::Url)?;
    Ok(options.application_name("rungate").options([
        ("default_transaction_isolation", "read committed".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("lock_timeout", LOCK_TIMEOUT.as_millis().to_string()),
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", "10000".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("jit", "off".to_owned()),
        // To start workers takes longer than anything here, and they would be in the calls' way.
        ("max_parallel_workers_per_gather", "0".to_owned()),
    ]))
}

/// A pool for everything but the lanes.
///
/// # Errors
/// If no connection can be made.
pub async fn connect(options: PgConnectOptions) -> Result<PgPool, OpenError> {
    PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(true)
        .after_release(|connection, _| Box::pin(is_usable(connection)))
        .connect_with(options)
        .await
        .map_err(OpenError::Connect)
}

/// Whether a connection that is given back still answers, and can write. One that does not must not
/// keep its place in the pool: the network may never say that it is gone.
async fn is_usable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query_scalar(statements::CAN_WRITE).fetch_one(connection);
    within(ACQUIRE_TIMEOUT, asked).await
}

/// Brings the schema up to date. Gateways that start together take turns.
///
/// # Errors
/// If a migration fails or the database is newer than this program.
pub async fn migrate(options: &PgConnectOptions) -> Result<(), OpenError> {
    let patient = options.clone().options([("lock_timeout", "60000"), ("statement_timeout", "0")]);
    let connecting = within(ACQUIRE_TIMEOUT, PgConnection::connect_with(&patient));
    let mut connection = connecting.await.map_err(OpenError::Connect)?;
    sqlx::migrate!("./migrations").run(&mut connection).await.map_err(OpenError::Migrate)?;
    let _closed_politely = connection.close().await;
    Ok(())
}

impl PostgresLedger {
    /// Connects, migrates, takes a lease and starts the lanes.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn open(url: &str, lease: Duration) -> Result<Arc<Self>, OpenError> {
        Self::open_bounded(url, lease, MAX_BACKLOG).await
    }

    /// The same, where admission stops at `max_backlog` settlements that wait to be written.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn open_bounded(
        url: &str,
        lease: Duration,
        max_backlog: usize,
    ) -> Result<Arc<Self>, OpenError> {
        let options = connect_options(url)?;
        Box::pin(migrate(&options)).await?;
        let pool = connect(options.clone()).await?;
        let lease = Lease::take(&pool, options.clone(), lease).await;
        let lease = Arc::new(lease.map_err(OpenError::Lease)?);

        let (outboxes, inboxes): (Vec<_>, Vec<_>) = (0..lane_count()).map(|_| channel()).unzip();
        let (admissions, settlements) =
            outboxes.into_iter().map(|outbox| (outbox.asks, outbox.ended)).unzip();
        let desk = Arc::new(Desk::new(lane_count()));
        let books = Arc::new(Books { settlements, desk: Arc::clone(&desk) });
        let lane = |aside| {
            let (options, desk) = (options.clone(), Arc::clone(&desk));
            Lane::new(options, desk, Arc::downgrade(&books), Arc::clone(&lease), aside)
        };
        let (aside, locked) = channel();
        let mut lanes: Vec<_> =
            inboxes.into_iter().map(|inbox| (lane(Some(aside.clone())), inbox)).collect();
        lanes.push((lane(None), locked));
        drop(aside);
        lanes::start(lanes).map_err(OpenError::Thread)?;
        let windows = Windows::default();
        Ok(Arc::new(Self { pool, admissions, books, lease, max_backlog, windows }))
    }

    /// This gateway's lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The pool, for jobs beside the ledger.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Expires reservations of dead gateways, if this gateway's own lease is steady.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn sweep(&self) -> Result<Swept, LedgerError> {
        within(WORK_TIMEOUT, lease::sweep(&self.pool, &self.lease)).await.map_err(unavailable)
    }

    /// Releases reservations in this gateway's name that it does not know: the answer to their
    /// admission was lost, so nothing was sent on them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn release_orphans(&self) -> Result<u64, LedgerError> {
        let stale = within(ANSWER_TIMEOUT, lease::stale_reservations(&self.pool, &self.lease))
            .await
            .map_err(unavailable)?;
        let unknown: Vec<_> = {
            let live = self.books.desk.live.lock();
            stale.into_iter().filter(|found| !live.contains(&found.id)).collect()
        };
        within(ANSWER_TIMEOUT, settle::release(&self.pool, &unknown)).await.map_err(unavailable)
    }

    /// Settlements that wait to be written.
    pub fn backlog(&self) -> usize {
        self.books.desk.backlog.load(Ordering::Relaxed)
    }

    /// Reservations that this gateway knows to be in flight.
    pub fn in_flight(&self) -> usize {
        self.books.desk.live.lock().len()
    }
}

fn unavailable(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(Box::new(error))
}

impl Settle for Books {
    fn settle(&self, settlement: Settlement, queue: Arc<RunQueue>) {
        self.desk.backlog.fetch_add(1, Ordering::Relaxed);
        queue.hand_over();
        let reservation = &settlement.reservation;
        let (budgets, account) = (&reservation.budgets, reservation.account());
        let lane = lane_of(budgets, reservation.organization, account, self.settlements.len());
        let Some(sender) = self.settlements.get(lane) else { return };
        if sender.send(settle::Job { settlement, queue }).is_err() {
            tracing::error!("settlement.lane_gone: a call is left to the sweeper's worst case");
            self.desk.backlog.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn admit(
        &self,
        ask: Ask,
        turn: &Arc<Turn>,
    ) -> Result<Result<Grant, Refusal>, LedgerError> {
        if self.backlog() >= self.max_backlog {
            return Err(LedgerError::Backlog);
        }
        self.ask(ask, turn).await
    }

    async fn find(&self, key: RunKey) -> Result<Option<RunSnapshot>, LedgerError> {
        within(ANSWER_TIMEOUT, read::find(&self.pool, key)).await.map_err(unavailable)
    }

    async fn standings(&self, runs: &[RunId]) -> Result<Vec<(RunId, RunStanding)>, LedgerError> {
        within(ANSWER_TIMEOUT, read::standings(&self.pool, runs)).await.map_err(unavailable)
    }

    async fn register(
        &self,
        registrations: Vec<(Registration, TokenHash)>,
    ) -> Result<Vec<Registered>, RunsError> {
        within(WORK_TIMEOUT, runs::register(&self.pool, registrations)).await
    }

    async fn patch(&self, run: RunId, patch: RunPatch) -> Result<RunRecord, RunsError> {
        within(ANSWER_TIMEOUT, runs::patch(&self.pool, run, patch)).await
    }

    async fn close(&self, run: RunId, close: Close) -> Result<RunRecord, RunsError> {
        within(ANSWER_TIMEOUT, runs::close(&self.pool, run, close)).await
    }

    async fn open_attempt(
        &self,
        run: RunId,
        status: RunState,
        token: TokenHash,
    ) -> Result<RunRecord, RunsError> {
        within(ANSWER_TIMEOUT, runs::open_attempt(&self.pool, run, status, token)).await
    }

    async fn rotate_token(&self, run: RunId, token: TokenHash) -> Result<RunRecord, RunsError> {
        within(ANSWER_TIMEOUT, runs::rotate_token(&self.pool, run, token)).await
    }

    async fn record(&self, run: RunId) -> Result<Option<RunRecord>, LedgerError> {
        within(WORK_TIMEOUT, read::record(&self.pool, run)).await.map_err(unavailable)
    }

    async fn list(
        &self,
        organization: Option<OrganizationId>,
        status: Option<RunState>,
        page: Page,
    ) -> Result<Vec<RunRecord>, LedgerError> {
        let listing = read::list(&self.pool, organization, status, page);
        within(WORK_TIMEOUT, listing).await.map_err(unavailable)
    }

    async fn calls(&self, run: RunId, page: Page) -> Result<Vec<CallRecord>, LedgerError> {
        within(WORK_TIMEOUT, read::calls(&self.pool, run, page)).await.map_err(unavailable)
    }

    async fn totals(&self, query: &TotalsQuery) -> Result<Totals, LedgerError> {
        totals::totals(&self.pool, query).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerError> {
        usage::usage(&self.pool, query).await
    }

    async fn count_refusals(
        &self,
        refusals: Vec<(RunId, &'static str, u64)>,
    ) -> Result<(), LedgerError> {
        within(ANSWER_TIMEOUT, runs::count_refusals(&self.pool, &refusals))
            .await
            .map_err(unavailable)
    }

    async fn ready(&self) -> Result<(), LedgerError> {
        if self.backlog() >= self.max_backlog {
            return Err(LedgerError::Backlog);
        }
        // A database that answers and does not take what is written admits nothing either.
        if self.lease.is_failing() {
            return Err(LedgerError::Lapsed);
        }
        within(ANSWER_TIMEOUT, sqlx::query(statements::PING).execute(&self.pool))
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn flush(&self) {
        loop {
            let written = self.books.desk.written.notified();
            if self.books.desk.backlog.load(Ordering::Acquire) == 0 {
                return;
            }
            // The timeout covers a settlement that is written between the check and the wait.
            let _tick = tokio::time::timeout(Duration::from_millis(50), written).await;
        }
    }
}
