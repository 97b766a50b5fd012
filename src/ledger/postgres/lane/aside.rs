//! Runs whose budgets somebody holds locked go to a lane for such, so that their neighbours do not
//! wait behind the lock.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::super::{LANE_CAPACITY, admit, settle};
use super::{Inbox, Lane};

/// Where a lane's work is handed over.
#[derive(Clone)]
pub(in super::super) struct Outbox {
    pub(in super::super) asks: mpsc::Sender<admit::Job>,
    pub(in super::super) ended: mpsc::UnboundedSender<settle::Job>,
}

impl Lane {
    /// Leaves the runs whose budgets were found locked to the lane for such.
    pub(super) fn without_locked(&mut self, asks: Vec<admit::Job>) -> Vec<admit::Job> {
        if self.aside.is_none() {
            return asks;
        }
        let locked = self.desk.locked();
        if locked.is_empty() {
            return asks;
        }
        let is_locked = |job: &mut settle::Job| locked.contains(&job.settlement.reservation.run);
        for job in self.unwritten.extract_if(.., is_locked).collect::<Vec<_>>() {
            self.put_off(job);
        }
        let (aside, asks) = asks.into_iter().partition(|job| locked.contains(&job.ask.run));
        for job in Vec::into_iter(aside) {
            let left = self.set_aside(job);
            self.fail_all(left, &sqlx::Error::PoolTimedOut);
        }
        asks
    }

    /// Hands an ask to the lane for locked runs, or back if there is no other or no place.
    pub(super) fn set_aside(&self, job: admit::Job) -> Option<admit::Job> {
        let Some(aside) = &self.aside else { return Some(job) };
        match aside.asks.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Closed(job)) => Some(job),
        }
    }

    /// Leaves a settlement to the lane for locked runs, or keeps it if there is no other.
    pub(super) fn put_off(&mut self, job: settle::Job) {
        let kept = match &self.aside {
            Some(aside) => aside.ended.send(job).err().map(|closed| closed.0),
            None => Some(job),
        };
        self.unwritten.extend(kept);
    }

    /// Somebody holds the budgets of these calls' run locked.
    pub(super) fn find_locked(&self, batch: Vec<admit::Job>, error: &sqlx::Error) {
        for job in batch {
            self.desk.note_locked(job.ask.run);
            let left = self.renamed(job).and_then(|job| self.set_aside(job));
            self.fail_all(left, error);
        }
    }
}

/// Whether there is but one run in a batch.
pub(super) fn is_of_one_run(batch: &[admit::Job]) -> bool {
    batch.iter().zip(batch.iter().skip(1)).all(|(one, next)| one.ask.run == next.ask.run)
}

/// Where one lane's work is handed over, and where it arrives.
pub(in super::super) fn channel() -> (Outbox, Inbox) {
    let (sender, asks) = mpsc::channel(LANE_CAPACITY);
    let (settlements, ended) = mpsc::unbounded_channel();
    (Outbox { asks: sender, ended: settlements }, Inbox { asks, ended })
}
