//! Runs whose budgets somebody holds locked go to a lane for such, so that their neighbours do not
//! wait behind the lock.

use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use uuid::Uuid;

use crate::domain::reservation::{Ask, Reservation, are_shared};

use super::super::{LANE_CAPACITY, admit, settle};
use super::{Inbox, Lane};

/// How many of an organization's runs are found locked before all of them count as locked.
const ENOUGH: usize = 2;

/// Whose budgets a call needs.
#[derive(Clone, Copy)]
pub(super) struct Whose {
    account: Uuid,
    /// Only where it falls under budgets that are not its run's.
    organization: Option<Uuid>,
}

/// Whose budgets were found locked while a batch was gone through one by one.
#[derive(Default)]
pub(super) struct FoundLocked {
    accounts: HashSet<Uuid>,
    by_organization: HashMap<Uuid, usize>,
}

impl Whose {
    pub(super) fn ask(ask: &Ask) -> Self {
        let organization = are_shared(&ask.budgets).then(|| ask.organization.uuid());
        Self { account: ask.account(), organization }
    }

    pub(super) fn reservation(of: &Reservation) -> Self {
        let organization = are_shared(&of.budgets).then(|| of.organization.uuid());
        Self { account: of.account(), organization }
    }

    fn is_among(self, locked: &HashSet<Uuid>) -> bool {
        locked.contains(&self.account) || self.organization.is_some_and(|o| locked.contains(&o))
    }
}

impl FoundLocked {
    pub(super) fn holds(&self, whose: Whose) -> bool {
        let of = whose.organization.and_then(|id| self.by_organization.get(&id));
        self.accounts.contains(&whose.account) || of.is_some_and(|count| *count >= ENOUGH)
    }

    pub(super) fn add(&mut self, whose: Whose) {
        if self.accounts.insert(whose.account)
            && let Some(organization) = whose.organization
        {
            *self.by_organization.entry(organization).or_default() += 1;
        }
    }

    /// What is locked: runs, and organizations of which enough runs are.
    fn all(&self) -> impl Iterator<Item = Uuid> {
        let of = self.by_organization.iter().filter(|(_, count)| **count >= ENOUGH);
        self.accounts.iter().copied().chain(of.map(|(id, _)| *id))
    }
}

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
        let is_locked = |job: &mut settle::Job| {
            Whose::reservation(&job.settlement.reservation).is_among(&locked)
        };
        for job in self.unwritten.extract_if(.., is_locked).collect::<Vec<_>>() {
            self.put_off(job);
        }
        let (aside, asks) =
            asks.into_iter().partition(|job| Whose::ask(&job.ask).is_among(&locked));
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

    /// Takes note of what was found locked.
    pub(super) fn note_locked(&self, found: &FoundLocked) {
        found.all().for_each(|whose| self.desk.note_locked(whose));
    }

    /// A call's budgets could be locked, by a lane that does not serve the locked ones.
    pub(super) fn note_free(&self, whose: Whose) {
        if self.aside.is_none() {
            self.desk.note_free(whose.account);
            whose.organization.into_iter().for_each(|id| self.desk.note_free(id));
        }
    }

    /// Somebody holds the budgets of these calls' run locked.
    pub(super) fn find_locked(&self, batch: Vec<admit::Job>, error: &sqlx::Error) {
        for job in batch {
            self.desk.note_locked(job.ask.account());
            let left = self.renamed(job).and_then(|job| self.set_aside(job));
            self.fail_all(left, error);
        }
    }
}

/// Whether there is but one run in a batch.
pub(super) fn is_of_one_run(batch: &[admit::Job]) -> bool {
    let pairs = batch.iter().zip(batch.iter().skip(1));
    pairs.into_iter().all(|(one, next)| one.ask.account() == next.ask.account())
}

/// Where one lane's work is handed over, and where it arrives.
pub(in super::super) fn channel() -> (Outbox, Inbox) {
    let (sender, asks) = mpsc::channel(LANE_CAPACITY);
    let (settlements, ended) = mpsc::unbounded_channel();
    (Outbox { asks: sender, ended: settlements }, Inbox { asks, ended })
}
