//! The order of arrival among one run's calls on this gateway.
//!
//! A call takes a turn when it arrives. Calls that fit never wait for each other; once one does
//! not fit, later ones stay behind it, and only the head of those that wait asks the ledger again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The waiting calls of one run.
#[derive(Debug, Default)]
pub struct RunQueue {
    state: Mutex<State>,
    unwritten: AtomicUsize,
    all_written: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// How often somebody was, or would have been, woken.
    wakes: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One call's place in the order of arrival. Dropping it gives the place up.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<RunQueue>,
    number: u64,
    wakes_when_asking: AtomicU64,
    wake: Arc<Notify>,
}

impl RunQueue {
    /// Takes the next place.
    pub fn arrive(self: &Arc<Self>) -> Arc<Turn> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        drop(state);
        Arc::new(Turn {
            queue: Arc::clone(self),
            number,
            wakes_when_asking: AtomicU64::new(0),
            wake: Arc::new(Notify::new()),
        })
    }

    /// A settlement of the run was handed over to be written.
    pub fn hand_over(&self) {
        self.unwritten.fetch_add(1, Ordering::AcqRel);
    }

    /// A settlement of the run was written: money may have become free.
    pub fn note_written(&self) {
        if self.unwritten.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_written.notify_waiters();
        }
        self.wake_head();
    }

    /// Completes when nothing that was handed over waits to be written.
    pub async fn written(&self) {
        loop {
            let mut written = std::pin::pin!(self.all_written.notified());
            written.as_mut().enable();
            if self.unwritten.load(Ordering::Acquire) == 0 {
                return;
            }
            written.await;
        }
    }

    /// Tells the head that something changed. Nearly free of cost while nobody waits.
    pub fn wake_head(&self) {
        let mut state = self.state.lock();
        state.wakes += 1;
        if let Some((_, head)) = state.waiting.first_key_value() {
            head.notify_one();
        }
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl Turn {
    /// Whether an earlier call of the run is waiting.
    pub fn is_behind(&self) -> bool {
        let state = self.queue.state.lock();
        state.waiting.first_key_value().is_some_and(|(head, _)| *head < self.number)
    }

    /// The same, when the ledger is about to be asked: a change from here on is not missed.
    pub fn ask_is_behind(&self) -> bool {
        let state = self.queue.state.lock();
        self.wakes_when_asking.store(state.wakes, Ordering::Relaxed);
        state.waiting.first_key_value().is_some_and(|(head, _)| *head < self.number)
    }

    /// Joins those that wait. The ledger calls this in the order of its verdicts, before it
    /// decides about any later call of the run. If something changed since it was asked, the turn
    /// is woken at once.
    pub fn hold(&self) {
        let mut state = self.queue.state.lock();
        state.waiting.insert(self.number, Arc::clone(&self.wake));
        if state.wakes != self.wakes_when_asking.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Completes when somebody woke this turn since the last time.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Gives the place among those that wait up, if this is one of them. The number is kept: to
    /// whoever asks again with it, later calls are later ones.
    pub fn step_out(&self) {
        let mut state = self.queue.state.lock();
        let was_head = state.waiting.first_key_value().is_some_and(|(k, _)| *k == self.number);
        state.waiting.remove(&self.number);
        if was_head && let Some((_, head)) = state.waiting.first_key_value() {
            head.notify_one();
        }
    }

    /// The queue that this is a place in.
    pub fn queue(&self) -> &Arc<RunQueue> {
        &self.queue
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.step_out();
    }
}
