//! Admission: batches of asks, one statement each.

use std::sync::Arc;

use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{PgConnection, Row as _};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::domain::budget::{Balance, Unit};
use crate::domain::id::{Attempt, BudgetId, GatewayId, ReservationId};
use crate::domain::reservation::{Ask, Authority, Refusal, Reservation};
use crate::domain::run::RunState;

use super::super::LedgerError;
use super::super::grant::{Grant, Settle};
use super::super::queue::Turn;
use super::connection::LaneConnection;
use super::lease::Lease;
use super::{Books, statements};

/// Asks that share one statement.
const MAX_BATCH: usize = 128;

/// What one call gets to hear.
type Answer = Result<Result<Grant, Refusal>, LedgerError>;

/// One ask on its way.
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) turn: Arc<Turn>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// One admission lane.
pub(super) struct Lane {
    connection: LaneConnection,
    books: Arc<Books>,
    lease: Arc<Lease>,
}

/// A verdict as the statement answers it.
enum Verdict {
    Admitted(Attempt, Balance),
    Refused(Refusal),
    Lapsed,
}

impl Lane {
    pub(super) fn new(options: PgConnectOptions, books: Arc<Books>, lease: Arc<Lease>) -> Self {
        Self { connection: LaneConnection::new(options), books, lease }
    }

    /// Serves its inbox until the ledger is dropped.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut arrived = Vec::with_capacity(MAX_BATCH);
        while inbox.recv_many(&mut arrived, MAX_BATCH).await > 0 {
            let batch: Vec<Job> = arrived.drain(..).filter_map(Self::still_wanted).collect();
            if !batch.is_empty() {
                self.decide(batch).await;
            }
        }
    }

    /// Drops asks whose client has gone.
    fn still_wanted(job: Job) -> Option<Job> {
        (!job.reply.is_closed()).then_some(job)
    }

    /// A connection that turns out to be dead is replaced once. One bad ask must not fail its
    /// neighbours, so a batch that the database refuses is asked one by one.
    async fn decide(&mut self, batch: Vec<Job>) {
        let Err((batch, error)) = self.try_decide(batch).await else { return };
        tracing::warn!(
            asks = batch.len(),
            error = &error as &dyn std::error::Error,
            "admission.batch_failed: asking again"
        );
        let again = match &error {
            sqlx::Error::PoolTimedOut => return self.fail_all(batch, &error),
            sqlx::Error::Database(_) => batch.into_iter().map(|job| vec![job]).collect::<Vec<_>>(),
            _ => vec![batch],
        };
        for batch in again {
            let batch: Vec<Job> = batch.into_iter().filter_map(|job| self.renamed(job)).collect();
            if let Err((batch, error)) = self.try_decide(batch).await {
                self.fail_all(batch, &error);
            }
        }
    }

    async fn try_decide(&mut self, batch: Vec<Job>) -> Result<(), (Vec<Job>, sqlx::Error)> {
        match self.ask(&batch).await {
            Ok(verdicts) => {
                self.answer_all(batch, verdicts);
                Ok(())
            }
            Err(error) => Err((batch, error)),
        }
    }

    /// The same ask under a new id: if the first was committed after all, its reservation is
    /// nobody's and gets released.
    fn renamed(&self, mut job: Job) -> Option<Job> {
        self.forget(job.ask.id);
        job.ask.id = ReservationId::generate();
        Self::still_wanted(job)
    }

    fn fail_all(&self, batch: Vec<Job>, error: &sqlx::Error) {
        for job in batch {
            self.fail(job, error);
        }
    }

    /// Asks the database; a lease that turns out to have lapsed is renewed once in between.
    async fn ask(&mut self, batch: &[Job]) -> Result<Vec<Verdict>, sqlx::Error> {
        let asks: Vec<&Ask> = batch.iter().map(|job| &job.ask).collect();
        let behind: Vec<bool> = batch.iter().map(|job| job.turn.ask_is_behind()).collect();
        {
            let mut live = self.books.live.lock();
            live.extend(asks.iter().map(|ask| ask.id));
        }
        let gateway = self.lease.gateway();
        let asked =
            self.connection.run(async |c| admit_batch(c, gateway, &asks, &behind).await).await?;
        if !asked.iter().any(|verdict| matches!(verdict, Verdict::Lapsed)) {
            return Ok(asked);
        }
        let lease = Arc::clone(&self.lease);
        self.connection.run(async |c| lease.renew_on(c).await).await?;
        let gateway = self.lease.gateway();
        self.connection.run(async |c| admit_batch(c, gateway, &asks, &behind).await).await
    }

    /// Answers in order; those that do not fit join the queue before anything later is decided.
    fn answer_all(&self, batch: Vec<Job>, verdicts: Vec<Verdict>) {
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            let answer = match verdict {
                Verdict::Admitted(attempt, balance) => Ok(Ok(self.grant(&job, attempt, balance))),
                Verdict::Refused(refusal) => {
                    self.forget(job.ask.id);
                    if matches!(refusal, Refusal::Behind | Refusal::Budget { .. }) {
                        job.turn.hold();
                    }
                    Ok(Err(refusal))
                }
                Verdict::Lapsed => {
                    self.forget(job.ask.id);
                    Err(LedgerError::Lapsed)
                }
            };
            // A grant that nobody takes any more releases itself when it is dropped here.
            let _client_left = job.reply.send(answer);
        }
    }

    fn grant(&self, job: &Job, attempt: Attempt, balance: Balance) -> Grant {
        let reservation = Reservation {
            id: job.ask.id,
            run: job.ask.run,
            attempt,
            budgets: job.ask.budgets.clone(),
            amounts: job.ask.amounts,
            balance,
        };
        let books: Arc<dyn Settle> = Arc::clone(&self.books) as Arc<dyn Settle>;
        Grant::new(reservation, Arc::clone(job.turn.queue()), books)
    }

    fn fail(&self, job: Job, error: &sqlx::Error) {
        self.forget(job.ask.id);
        tracing::warn!(error = error as &dyn std::error::Error, "admission.failed");
        let reason = LedgerError::Unavailable(error.to_string().into());
        let _client_left = job.reply.send(Err(reason));
    }

    /// The id is not in flight here: should it exist in the database, it is an orphan.
    fn forget(&self, id: ReservationId) {
        self.books.live.lock().remove(&id);
    }
}

async fn admit_batch(
    connection: &mut PgConnection,
    gateway: GatewayId,
    asks: &[&Ask],
    behind: &[bool],
) -> Result<Vec<Verdict>, sqlx::Error> {
    let mut budgets: Vec<BudgetId> =
        asks.iter().flat_map(|ask| ask.budgets.iter().map(|budget| budget.id)).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let position = |id: BudgetId| {
        budgets.binary_search(&id).map_or(0, |at| i32::try_from(at + 1).unwrap_or(0))
    };
    let count = |ask: &Ask| i32::try_from(ask.budgets.len()).unwrap_or(0);
    let mut next = 1;
    let first: Vec<i32> = asks
        .iter()
        .map(|ask| {
            let first = next;
            next += count(ask);
            first
        })
        .collect();
    let each = || asks.iter().flat_map(|ask| ask.budgets.iter().map(|budget| budget.id));

    fn texts<'a>(asks: &[&'a Ask], f: impl Fn(&'a Ask) -> &'a str) -> Vec<&'a str> {
        asks.iter().map(|ask| f(ask)).collect()
    }
    let numbers = |f: fn(&Ask) -> i64| -> Vec<i64> { asks.iter().map(|ask| f(ask)).collect() };
    let hashes: Vec<Option<&[u8]>> = asks
        .iter()
        .map(|ask| match &ask.authority {
            Authority::Token(hash) => Some(hash.as_bytes().as_slice()),
            Authority::RunId => None,
        })
        .collect();

    let rows = sqlx::query(statements::ADMIT)
        .bind(gateway.uuid())
        .bind(budgets.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>())
        .bind(each().map(BudgetId::uuid).collect::<Vec<Uuid>>())
        .bind(each().map(position).collect::<Vec<i32>>())
        .bind(first)
        .bind(asks.iter().map(|ask| count(ask)).collect::<Vec<i32>>())
        .bind(asks.iter().map(|ask| ask.id.uuid()).collect::<Vec<Uuid>>())
        .bind(asks.iter().map(|ask| ask.run.uuid()).collect::<Vec<Uuid>>())
        .bind(hashes)
        .bind(behind)
        .bind(asks.iter().map(|ask| ask.amounts.usd.decimal()).collect::<Vec<Decimal>>())
        .bind(numbers(|ask| ask.amounts.tokens.signed()))
        .bind(texts(asks, |ask| &ask.facts.request_id))
        .bind(texts(asks, |ask| &ask.facts.model))
        .bind(texts(asks, |ask| &ask.facts.provider))
        .bind(texts(asks, |ask| ask.facts.endpoint))
        .bind(texts(asks, |ask| &ask.facts.price_version))
        .bind(numbers(|ask| ask.facts.input_bound.signed()))
        .bind(numbers(|ask| ask.facts.output_bound.signed()))
        .fetch_all(connection)
        .await?;
    if rows.len() != asks.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    rows.iter().map(read_verdict).collect()
}

fn read_verdict(row: &PgRow) -> Result<Verdict, sqlx::Error> {
    let word: &str = row.try_get(0)?;
    let refusal = match word {
        "admitted" => {
            let attempt: i32 = row.try_get(2)?;
            let attempt = u32::try_from(attempt).ok().and_then(Attempt::new);
            let attempt = attempt.ok_or_else(|| unreadable("attempt"))?;
            return Ok(Verdict::Admitted(attempt, read_balance(row, 7)?));
        }
        "lapsed" => return Ok(Verdict::Lapsed),
        "run_not_found" => Refusal::RunNotFound,
        "invalid_key" => Refusal::InvalidKey,
        "run_closed" => Refusal::RunClosed(read_state(row)?),
        "run_expired" => Refusal::RunExpired,
        "run_not_active" => Refusal::RunNotActive(read_state(row)?),
        "behind" => Refusal::Behind,
        "budget" => {
            let unit: &str = row.try_get(3)?;
            Refusal::Budget {
                unit: Unit::parse(unit).ok_or_else(|| unreadable("unit"))?,
                balance: read_balance(row, 4)?,
                usd: read_balance(row, 7)?,
            }
        }
        _ => return Err(unreadable("verdict")),
    };
    Ok(Verdict::Refused(refusal))
}

fn read_state(row: &PgRow) -> Result<RunState, sqlx::Error> {
    let state: &str = row.try_get(1)?;
    RunState::parse(state).ok_or_else(|| unreadable("state"))
}

fn read_balance(row: &PgRow, from: usize) -> Result<Balance, sqlx::Error> {
    Ok(Balance {
        limit: row.try_get(from)?,
        spent: row.try_get(from + 1)?,
        reserved: row.try_get(from + 2)?,
    })
}

/// A value of the database that this program has no word for.
pub(super) fn unreadable(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the {what} in the ledger is not known to this version").into())
}
