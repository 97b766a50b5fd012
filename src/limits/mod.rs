//! What is bounded within one gateway process: requests, tokens and calls at once of runs, keys and
//! organizations, connections, the bytes of bodies, questions of strangers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub mod rate;
pub mod pace;
pub mod gate;
pub mod connections;
pub mod bodies;
pub mod strangers;
pub mod failures;

/// How many calls of a run, key or organization are under way on this gateway, waiting ones
/// included.
#[derive(Debug, Default)]
pub struct Concurrency {
    taken: AtomicU32,
}

/// One call's place among those under way. It lives in the call, not in its handler.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Concurrency>,
}

impl Concurrency {
    /// Takes a place unless `limit` are taken.
    pub fn try_enter(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then(|| taken + 1)
            })
            .ok()
            .map(|_| Permit { of: Arc::clone(self) })
    }

    /// How many places are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
