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

    /// Writes what was counted; what cannot be written is kept.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn flush(&self, ledger: &Arc<dyn Ledger>) -> Result<(), LedgerError> {
        let taken = std::mem::take(&mut *self.pending.lock());
        if taken.is_empty() {
            return Ok(());
        }
        let rows = taken.iter().map(|((run, code), count)| (*run, code.as_str(), *count)).collect();
        let written = ledger.count_refusals(rows).await;
        if written.is_err() {
            let mut pending = self.pending.lock();
            for (key, count) in taken {
                *pending.entry(key).or_default() += count;
            }
        }
        written
    }
}
