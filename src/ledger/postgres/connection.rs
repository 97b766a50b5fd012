//! A lane's own connection: made when it is needed, thrown away when anything went wrong on it.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::{ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT};

/// Longer than the server works on a statement, so that only a dead connection meets it.
const CLIENT_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_millis(250));

/// One connection of one lane.
pub(super) struct LaneConnection {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    away: Option<Away>,
}

/// The last try to connect failed.
struct Away {
    pause: Backoff,
    until: Instant,
}

/// Pauses between tries, each twice as long as the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff(Option<Duration>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    /// The next pause, from a half of it to all of it by chance: whoever waits for the same
    /// database does not come back at the same moment.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.map_or(Self::FIRST, |pause| (pause * 2).min(Self::LONGEST));
        self.0 = Some(pause);
        let half = pause / 2;
        // Without randomness the pauses are equal, and still as long.
        let part = getrandom::u32().unwrap_or(u32::MAX) % 1024;
        half + half * part / 1024
    }
}

impl LaneConnection {
    /// A lane's statements always touch few rows by their keys; its planner is told so, because the
    /// statistics of small, quickly changing tables say otherwise.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let options = options.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        Self { options, connection: None, away: None }
    }

    /// Runs `work` on the connection. An error of the connection or a silence discards it. While
    /// the database is away it is looked for once in each pause, not once for each piece of work.
    pub(super) async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let result = tokio::time::timeout(CLIENT_TIMEOUT, work(&mut connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?;
        match &result {
            Ok(_) => self.connection = Some(connection),
            Err(sqlx::Error::Database(error)) if is_usable_after(error.code().as_deref()) => {
                self.connection = Some(connection);
            }
            Err(_) => {}
        }
        result
    }

    async fn connect(&mut self) -> Result<PgConnection, sqlx::Error> {
        if self.away.as_ref().is_some_and(|away| Instant::now() < away.until) {
            return Err(sqlx::Error::PoolTimedOut);
        }
        let connecting = PgConnection::connect_with(&self.options);
        let connected = tokio::time::timeout(ACQUIRE_TIMEOUT, connecting)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)
            .flatten();
        match connected {
            Ok(connection) => {
                self.away = None;
                Ok(connection)
            }
            Err(error) => {
                let mut pause = self.away.take().map_or_else(Backoff::default, |away| away.pause);
                let until = Instant::now() + pause.next();
                self.away = Some(Away { pause, until });
                Err(error)
            }
        }
    }
}

/// Whether a SQLSTATE is about the statement alone: its data (22, 23, P0), or what stood in its way
/// (40, 55, 57014). After any other – a session that is over, a server that only reads since
/// another took its place, a type or function that a migration changed – a new connection may do
/// better.
fn is_usable_after(code: Option<&str>) -> bool {
    let about_the_statement = ["22", "23", "40", "55", "57014", "P0"];
    code.is_some_and(|code| about_the_statement.iter().any(|class| code.starts_with(class)))
}
