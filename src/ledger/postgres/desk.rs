//! What the lanes and the ledger share: what is in flight here, and whose turn it is.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::id::ReservationId;

/// The longest that a lane waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_millis(10);
/// How long a run or an organization stays out of the lanes after its budgets were found locked.
const LOCKED_FOR: Duration = Duration::from_secs(5);

/// What the lanes and the ledger share.
pub(super) struct Desk {
    pub(super) backlog: AtomicUsize,
    pub(super) written: Notify,
    pub(super) live: Mutex<HashSet<ReservationId>>,
    turns: Semaphore,
    locked: Mutex<HashMap<Uuid, Instant>>,
}

impl Desk {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            backlog: AtomicUsize::new(0),
            written: Notify::new(),
            live: Mutex::default(),
            turns: Semaphore::new(lanes.div_ceil(2)),
            locked: Mutex::default(),
        }
    }

    /// A lane's turn to ask the database. Half of the lanes have one at a time, so that the others
    /// gather larger batches meanwhile; nobody waits long for one that is stuck behind a lock.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(TURN_PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }

    /// Somebody holds budgets of this run, key or organization locked.
    pub(super) fn note_locked(&self, whose: Uuid) {
        self.locked.lock().insert(whose, Instant::now() + LOCKED_FOR);
    }

    /// These budgets could be locked.
    pub(super) fn note_free(&self, whose: Uuid) {
        self.locked.lock().remove(&whose);
    }

    /// Whose budgets were found locked of late. Nearly free of cost while there are none.
    pub(super) fn locked(&self) -> HashSet<Uuid> {
        let mut locked = self.locked.lock();
        if locked.is_empty() {
            return HashSet::new();
        }
        let now = Instant::now();
        locked.retain(|_, until| now < *until);
        locked.keys().copied().collect()
    }

    /// These may be in the database from now on, in this gateway's name.
    pub(super) fn begin(&self, ids: impl Iterator<Item = ReservationId>) {
        self.live.lock().extend(ids);
    }

    /// This is not in flight here: should it exist in the database, it is an orphan.
    pub(super) fn forget(&self, id: ReservationId) {
        self.live.lock().remove(&id);
    }

    /// These have ended, durably.
    pub(super) fn written(&self, ids: impl Iterator<Item = ReservationId>) {
        let mut count = 0;
        {
            let mut live = self.live.lock();
            for id in ids {
                live.remove(&id);
                count += 1;
            }
        }
        self.backlog.fetch_sub(count, Ordering::AcqRel);
        self.written.notify_waiters();
    }

    /// One settlement will never be written. It stays known, so that it is not taken for an orphan.
    pub(super) fn give_up(&self) {
        self.backlog.fetch_sub(1, Ordering::AcqRel);
        self.written.notify_waiters();
    }
}
