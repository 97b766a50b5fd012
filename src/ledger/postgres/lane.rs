//! A lane: what begins and what ends of its share of the runs, in batches of one statement each.
//!
//! Whatever arrives while a statement is under way shares the next one, ends before beginnings, so
//! that an admission sees every settlement that this gateway handed over before it. A settlement
//! that comes alone waits a moment for company: the next call of its run is often on its way.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::domain::budget::Balance;
use crate::domain::id::{Attempt, GatewayId, ReservationId};
use crate::domain::reservation::{Refusal, Reservation};

use super::super::LedgerError;
use super::super::grant::{Grant, Settle};
use super::admit::{self, Answer, Answered, Verdict};
use super::connection::{Backoff, LaneConnection};
use super::lease::Lease;
use super::settle::{self, Ended, Written, is_contention, is_rejection, write_alone};
use super::step::step;
use super::{Books, Desk};

mod aside;

use aside::{FoundLocked, Outbox, Whose, is_of_one_run};

pub(super) use aside::channel;

/// Asks that share one statement.
const MAX_ASKS: usize = 128;
/// Settlements that share one statement.
const MAX_ENDED: usize = 128;
/// How long a settlement that comes alone, and that nobody waits for, waits for company.
const LINGER: Duration = Duration::from_millis(5);
/// How long a settlement whose budgets are locked waits for the next try.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// One lane.
pub(super) struct Lane {
    connection: LaneConnection,
    desk: Arc<Desk>,
    books: Weak<Books>,
    lease: Arc<Lease>,
    unwritten: Vec<settle::Job>,
    away: Backoff,
    pause: Option<Duration>,
    /// Where runs go whose budgets somebody holds locked; the lane that takes them has none.
    aside: Option<Outbox>,
}

/// Where a lane's work arrives.
pub(super) struct Inbox {
    pub(super) asks: mpsc::Receiver<admit::Job>,
    pub(super) ended: mpsc::UnboundedReceiver<settle::Job>,
}

impl Lane {
    pub(super) fn new(
        options: PgConnectOptions,
        desk: Arc<Desk>,
        books: Weak<Books>,
        lease: Arc<Lease>,
        aside: Option<Outbox>,
    ) -> Self {
        let connection = LaneConnection::new(options);
        let (unwritten, away) = (Vec::new(), Backoff::default());
        Self { connection, desk, books, lease, unwritten, away, pause: None, aside }
    }

    /// Serves its inbox until the ledger is dropped and everything is written.
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let mut arrived = Vec::with_capacity(MAX_ASKS);
        while self.gather(&mut inbox, &mut arrived).await {
            let desk = Arc::clone(&self.desk);
            // Whoever waits for a lock takes nobody's turn.
            let _turn = if self.aside.is_some() { desk.turn().await } else { None };
            self.take(&mut inbox, &mut arrived);
            let wanted = arrived.drain(..).filter_map(still_wanted).collect();
            let asks = self.without_locked(wanted);
            match (self.unwritten.is_empty(), asks.is_empty()) {
                (true, true) => {}
                (true, false) => self.decide(asks).await,
                (false, true) => self.write().await,
                (false, false) => self.step(asks).await,
            }
        }
    }

    /// Waits for work. Answers whether there can be any.
    async fn gather(&mut self, inbox: &mut Inbox, arrived: &mut Vec<admit::Job>) -> bool {
        let waits = !self.unwritten.is_empty();
        let patience = self.pause.unwrap_or(LINGER);
        tokio::select! {
            asks = inbox.asks.recv_many(arrived, MAX_ASKS), if !inbox.asks.is_closed() => {
                let _none_means_closed = asks;
            }
            ended = inbox.ended.recv_many(&mut self.unwritten, MAX_ENDED), if !waits => {
                if ended == 0 {
                    return false;
                }
                // It is new, so it may wait for company, unless a call waits for what it frees.
                let awaited = self.unwritten.iter().any(|job| job.queue.waiting() > 0);
                tokio::select! {
                    _ = inbox.asks.recv_many(arrived, MAX_ASKS), if !inbox.asks.is_closed() => {}
                    () = sleep(LINGER), if !awaited => {}
                    () = std::future::ready(()), if awaited => {}
                }
            }
            () = sleep(patience), if waits => {}
        }
        true
    }

    /// Takes what has arrived by now.
    fn take(&mut self, inbox: &mut Inbox, arrived: &mut Vec<admit::Job>) {
        while self.unwritten.len() < MAX_ENDED {
            let Ok(ended) = inbox.ended.try_recv() else { break };
            self.unwritten.push(ended);
        }
        while arrived.len() < MAX_ASKS {
            let Ok(ask) = inbox.asks.try_recv() else { break };
            arrived.push(ask);
        }
    }

    /// Settles and admits in one statement. If that fails, the asks are asked alone and the
    /// settlements stay for the next time.
    async fn step(&mut self, asks: Vec<admit::Job>) {
        self.desk.begin(asks.iter().map(|job| job.ask.id));
        let ended = std::mem::take(&mut self.unwritten);
        let (gateway, batch) = (self.lease.gateway(), Ended::of(&ended));
        let stepped = self.connection.run(async |c| step_both(c, gateway, &batch, &asks).await);
        let stepped = stepped.await;
        drop(batch);
        match stepped {
            Ok(verdicts) => {
                self.written(ended);
                if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lapsed)) {
                    self.decide(asks).await;
                } else {
                    self.answer_all(asks, verdicts);
                }
            }
            Err(error) => {
                self.unwritten = ended;
                tracing::warn!(error = &error as &dyn std::error::Error, "step.failed");
                if is_contention(&error) {
                    // Trying the batch again would wait as long again.
                    self.decide_one_by_one(asks).await;
                    let ended = std::mem::take(&mut self.unwritten);
                    self.write_one_by_one(ended).await;
                    return;
                }
                let asks = asks.into_iter().filter_map(|job| self.renamed(job)).collect();
                self.decide(asks).await;
                if is_rejection(&error) {
                    self.write().await;
                }
            }
        }
    }

    /// Writes what ended. A row that the database rejects by itself is booked at its worst case;
    /// one whose budgets somebody holds locked stays; so neither ever blocks the others. While the
    /// database is away everything stays.
    async fn write(&mut self) {
        let ended = std::mem::take(&mut self.unwritten);
        let (gateway, batch) = (self.lease.gateway(), Ended::of(&ended));
        match self.connection.run(async |c| batch.write(c, gateway).await).await {
            Ok(()) => self.written(ended),
            Err(error) if is_rejection(&error) || is_contention(&error) => {
                tracing::warn!(
                    calls = ended.len(),
                    error = &error as &dyn std::error::Error,
                    "settlement.batch_refused: writing row by row"
                );
                self.write_one_by_one(ended).await;
            }
            Err(error) => {
                let pause = self.away.next();
                tracing::warn!(
                    calls = ended.len(),
                    error = &error as &dyn std::error::Error,
                    "settlement.delayed: the database did not take it; trying again"
                );
                self.unwritten = ended;
                self.pause = Some(pause);
            }
        }
    }

    /// A run that cannot be written now is tried once, however many of its calls have ended.
    async fn write_one_by_one(&mut self, ended: Vec<settle::Job>) {
        let (mut locked, mut away) = (FoundLocked::default(), false);
        for job in ended {
            let whose = Whose::reservation(&job.settlement.reservation);
            if away {
                self.unwritten.push(job);
                continue;
            }
            if locked.holds(whose) {
                self.put_off(job);
                continue;
            }
            match write_alone(&mut self.connection, self.lease.gateway(), &job).await {
                Written::Yes => self.written(vec![job]),
                Written::NotYet => {
                    away = true;
                    self.unwritten.push(job);
                }
                Written::Locked => {
                    locked.add(whose);
                    self.note_locked(&locked);
                    self.put_off(job);
                }
                Written::Never => self.desk.give_up(),
            }
        }
        self.pause = match (away, self.unwritten.is_empty()) {
            (true, _) => Some(self.away.next()),
            (false, false) => Some(LOCKED_PAUSE),
            (false, true) => None,
        };
    }

    fn written(&mut self, ended: Vec<settle::Job>) {
        (self.pause, self.away) = (None, Backoff::default());
        for job in &ended {
            self.note_free(Whose::reservation(&job.settlement.reservation));
        }
        self.desk.written(ended.iter().map(|job| job.settlement.reservation.id));
        for job in ended {
            job.queue.note_written();
        }
    }

    /// A connection that turns out to be dead is replaced once. One bad ask must not fail its
    /// neighbours, so a batch that the database refuses is asked one by one.
    async fn decide(&mut self, batch: Vec<admit::Job>) {
        let Err((batch, error)) = self.try_decide(batch).await else { return };
        tracing::warn!(
            asks = batch.len(),
            error = &error as &dyn std::error::Error,
            "admission.batch_failed: asking again"
        );
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return self.fail_all(batch, &error);
        }
        if is_contention(&error) && is_of_one_run(&batch) {
            return self.find_locked(batch, &error);
        }
        if is_rejection(&error) || is_contention(&error) {
            return self.decide_one_by_one(batch).await;
        }
        let batch = batch.into_iter().filter_map(|job| self.renamed(job)).collect();
        if let Err((batch, error)) = self.try_decide(batch).await {
            self.fail_all(batch, &error);
        }
    }

    /// A run whose budgets are locked is waited for once, however many of its calls want in.
    async fn decide_one_by_one(&mut self, batch: Vec<admit::Job>) {
        let mut locked = FoundLocked::default();
        for job in batch {
            let whose = Whose::ask(&job.ask);
            let Some(job) = self.renamed(job) else { continue };
            if locked.holds(whose) {
                self.find_locked(vec![job], &sqlx::Error::PoolTimedOut);
                continue;
            }
            let Err((failed, error)) = self.try_decide(vec![job]).await else { continue };
            if is_contention(&error) {
                locked.add(whose);
                self.note_locked(&locked);
                self.find_locked(failed, &error);
            } else {
                self.fail_all(failed, &error);
            }
        }
    }

    async fn try_decide(
        &mut self,
        batch: Vec<admit::Job>,
    ) -> Result<(), (Vec<admit::Job>, sqlx::Error)> {
        if batch.is_empty() {
            return Ok(());
        }
        self.desk.begin(batch.iter().map(|job| job.ask.id));
        match self.ask(&batch).await {
            Ok(verdicts) => {
                self.answer_all(batch, verdicts);
                Ok(())
            }
            Err(error) => Err((batch, error)),
        }
    }

    /// Asks the database; a lease that turns out to have lapsed is renewed once in between.
    async fn ask(&mut self, batch: &[admit::Job]) -> Result<Vec<Verdict>, sqlx::Error> {
        let (gateway, nothing) = (self.lease.gateway(), Ended::none());
        let asked = self.connection.run(async |c| step(c, gateway, &nothing, batch).await);
        let verdicts = asked.await?.verdicts;
        if !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lapsed)) {
            return Ok(verdicts);
        }
        let lease = Arc::clone(&self.lease);
        self.connection.run(async |c| lease.renew_on(c).await).await?;
        let gateway = self.lease.gateway();
        let asked = self.connection.run(async |c| step(c, gateway, &nothing, batch).await);
        Ok(asked.await?.verdicts)
    }

    /// Answers in order; those that do not fit join the queue before anything later is decided.
    fn answer_all(&self, batch: Vec<admit::Job>, verdicts: Vec<Verdict>) {
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            self.note_free(Whose::ask(&job.ask));
            let answer = match verdict {
                Verdict::Admitted(attempt, balance) => self.grant(&job, attempt, balance),
                Verdict::Refused(refusal) => {
                    self.desk.forget(job.ask.id);
                    if matches!(refusal, Refusal::Behind { .. } | Refusal::Budget { .. }) {
                        job.turn.hold();
                    }
                    Ok(Answered::Refused(refusal))
                }
                Verdict::Window(today) => {
                    self.desk.forget(job.ask.id);
                    Ok(Answered::Window(today))
                }
                Verdict::Lapsed => {
                    self.desk.forget(job.ask.id);
                    Err(LedgerError::Lapsed)
                }
            };
            // A grant that nobody takes any more releases itself when it is dropped here.
            let _client_left = job.reply.send(answer);
        }
    }

    fn grant(&self, job: &admit::Job, attempt: Attempt, balance: Balance) -> Answer {
        let Some(books) = self.books.upgrade() else { return Err(LedgerError::Lapsed) };
        let reservation = Reservation {
            id: job.ask.id,
            organization: job.ask.organization,
            run: job.ask.run,
            key: job.ask.authority.key(),
            attempt,
            budgets: job.ask.budgets.clone(),
            amounts: job.ask.amounts,
            balance,
        };
        let books: Arc<dyn Settle> = books;
        Ok(Answered::Granted(Grant::new(reservation, Arc::clone(job.turn.queue()), books)))
    }

    /// The same ask under a new id: if the first was committed after all, its reservation is
    /// nobody's and gets released.
    fn renamed(&self, mut job: admit::Job) -> Option<admit::Job> {
        self.desk.forget(job.ask.id);
        job.ask.id = ReservationId::generate();
        still_wanted(job)
    }

    fn fail_all(&self, batch: impl IntoIterator<Item = admit::Job>, error: &sqlx::Error) {
        for job in batch {
            self.desk.forget(job.ask.id);
            tracing::warn!(error = error as &dyn std::error::Error, "admission.failed");
            let reason = LedgerError::Unavailable(error.to_string().into());
            let _client_left = job.reply.send(Err(reason));
        }
    }
}

/// Drops asks whose client has gone.
fn still_wanted(job: admit::Job) -> Option<admit::Job> {
    (!job.reply.is_closed()).then_some(job)
}

/// Settles and admits in one statement.
async fn step_both(
    connection: &mut PgConnection,
    gateway: GatewayId,
    ended: &Ended<'_>,
    asks: &[admit::Job],
) -> Result<Vec<Verdict>, sqlx::Error> {
    let stepped = step(connection, gateway, ended, asks).await?;
    // Only tells; what was admitted stands whether or not it can be told.
    if let Err(error) = ended.report_late(connection, &stepped.moved).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "settlement.late_unknown");
    }
    Ok(stepped.verdicts)
}
