//! Refusals, counted by run and code. They are not money: counts that a crash loses are lost.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::fault::Code;
use crate::domain::id::RunId;
use crate::ledger::{Ledger, LedgerError};

/// Counts that are not in the ledger yet. A run has one for each code at most.
#[derive(Default)]
pub struct Refusals {
    pending: Mutex<HashMap<(RunId, Code), u64>>,
}

impl Refusals {
    /// Counts a refusal of a run that exists.
    pub fn count(&self, run: RunId, code: Code) {
        *self.pending.lock().entry((run, code)).or_default() += 1;
    }

    /// Writes what was counted; what cannot be written, or is dropped while it is, is kept.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn flush(&self, ledger: &Arc<dyn Ledger>) -> Result<(), LedgerError> {
        let mut taken = Taken { counts: std::mem::take(&mut *self.pending.lock()), of: self };
        if taken.counts.is_empty() {
            return Ok(());
        }
        let rows = taken.counts.iter();
        let rows = rows.map(|((run, code), count)| (*run, code.as_str(), *count)).collect();
        ledger.count_refusals(rows).await?;
        taken.counts.clear();
        Ok(())
    }
}

/// Counts on their way into the ledger. Dropped before they are there, they go back.
struct Taken<'a> {
    counts: HashMap<(RunId, Code), u64>,
    of: &'a Refusals,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.counts.is_empty() {
            return;
        }
        let mut pending = self.of.pending.lock();
        for (key, count) in self.counts.drain() {
            *pending.entry(key).or_default() += count;
        }
    }
}
