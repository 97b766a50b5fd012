//! A lane's own connection: made when it is needed, thrown away when anything went wrong on it.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::{ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT};

/// Longer than the server works on a statement, so that only a dead connection meets it.
const CLIENT_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_millis(250));

/// One connection of one lane.
pub(super) struct LaneConnection {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
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
        Self { options, connection: None }
    }

    /// Runs `work` on the connection. An error of the connection or a silence discards it.
    pub(super) async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connecting = PgConnection::connect_with(&self.options);
                tokio::time::timeout(ACQUIRE_TIMEOUT, connecting)
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)??
            }
        };
        let result = tokio::time::timeout(CLIENT_TIMEOUT, work(&mut connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?;
        match &result {
            Ok(_) => self.connection = Some(connection),
            Err(sqlx::Error::Database(error)) if !is_fatal(error.code().as_deref()) => {
                self.connection = Some(connection);
            }
            Err(_) => {}
        }
        result
    }
}

/// Whether a SQLSTATE says that the session is over: connection exceptions (08), operator
/// intervention (57P…), crash of the server.
fn is_fatal(code: Option<&str>) -> bool {
    code.is_none_or(|code| code.starts_with("08") || code.starts_with("57P"))
}
