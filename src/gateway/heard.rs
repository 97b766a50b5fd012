//! What a call goes by of those who pay for it, and how a gateway catches up with their changes.

use crate::domain::reservation::Heard;
use crate::ledger::LedgerError;

use super::Gateway;
use super::directory::KnownRun;
use super::payers::KnownKey;

/// The versions of those who pay for a call, as they are known here. To be asked before whatever
/// rests on them, so that a change in between is noticed by the ledger.
pub(super) fn heard_of(run: &KnownRun, key: Option<&KnownKey>) -> Heard {
    Heard { payer: run.payer.heard().version, key: key.map_or(0, |key| key.heard().version) }
}

impl Gateway {
    /// Looks those up again of whom the ledger said that what was heard of them is outdated. Many
    /// calls may be told so at once; what one of them has looked up is there for all.
    ///
    /// # Errors
    /// If the ledger cannot answer.
    pub(super) async fn hear_again(
        &self,
        run: &KnownRun,
        key: Option<&KnownKey>,
        asked: Heard,
    ) -> Result<(), LedgerError> {
        let _place = self.reads.acquire().await;
        if heard_of(run, key).payer == asked.payer {
            let (id, after) = (run.terms.organization, Some(asked.payer));
            self.directory.refresh_organization_after(id, after).await?;
        }
        if let Some(key) = key.filter(|key| key.heard().version == asked.key) {
            self.directory.refresh_key_after(key.id, Some(asked.key)).await?;
        }
        // Whoever else is up to date, the run may be in another attempt.
        if heard_of(run, key) == asked {
            self.directory.refresh(run.id).await?;
        }
        Ok(())
    }
}
