//! What is under way, for a shutdown to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Gateway;

/// How much is under way that a shutdown waits for.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicUsize,
    pub(super) calls: AtomicUsize,
}

/// What a shutdown waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A model call's request, until its answer begins.
    Request,
    /// An admitted call, until it is handed over to be settled.
    Call,
}

impl Counts {
    fn of(&self, work: Work) -> &AtomicUsize {
        match work {
            Work::Request => &self.requests,
            Work::Call => &self.calls,
        }
    }
}

/// Something that a shutdown waits for, for as long as this lives.
pub(crate) struct Busy(Arc<Gateway>, Work);

impl Busy {
    pub(crate) fn with(gateway: &Arc<Gateway>, work: Work) -> Self {
        gateway.busy.of(work).fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(gateway), work)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.of(self.1).fetch_sub(1, Ordering::AcqRel);
    }
}
