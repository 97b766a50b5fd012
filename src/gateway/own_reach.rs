//! Which providers the calls of a run may go to: those of its organization and, in their place,
//! those that it brings keys of its own for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::domain::fault::Fault;
use crate::providers;
use crate::upstream::Access;

use super::directory::KnownRun;
use super::reach::{Chosen, Reach};
use super::{Gateway, unavailable};

/// The providers that a run brings keys of its own for; none where its key cannot be used.
type Own = HashMap<&'static str, Option<Arc<Access>>>;

/// What a run brings along, opened when it is first needed.
#[derive(Default)]
pub(super) struct OwnReach {
    opened: OnceCell<Own>,
    /// What its organization's providers were, and what they became with its own.
    latest: Mutex<Option<(Arc<Reach>, Arc<Reach>)>>,
}

impl OwnReach {
    /// The organization's providers with the run's own among them.
    fn over(&self, base: Arc<Reach>, own: &Own) -> Arc<Reach> {
        let mut latest = self.latest.lock();
        if let Some((_, merged)) = latest.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &base)) {
            return Arc::clone(merged);
        }
        let merged = Arc::new(base.with_own(own));
        *latest = Some((base, Arc::clone(&merged)));
        merged
    }
}

impl Gateway {
    /// The providers that calls of a run may go to, as its organization is known here. Only the
    /// first call after a change asks the ledger.
    ///
    /// # Errors
    /// 503 if it has to be asked and cannot answer.
    pub async fn reach_of(&self, run: &KnownRun) -> Result<Arc<Reach>, Fault> {
        let base = self.reach(run.terms.organization, run.payer.heard().version).await?;
        if run.terms.control.own_providers.is_empty() {
            return Ok(base);
        }
        let own = run.own_reach.opened.get_or_try_init(|| self.open_own(run)).await?;
        Ok(run.own_reach.over(base, own))
    }

    async fn open_own(&self, run: &KnownRun) -> Result<Own, Fault> {
        let _place = self.reaches.reads.acquire().await;
        let kept = self.ledger.run_providers(run.id).await.map_err(unavailable)?;
        let mut own = Own::new();
        for kept in &kept {
            let Some(provider) = providers::find(&kept.provider) else { continue };
            let chosen = Chosen {
                base_url: kept.base_url.as_deref(),
                anywhere: kept.anywhere,
                eu_endpoint: kept.eu_endpoint,
                key: Some((&kept.key, kept.place(run.terms.organization, run.id))),
            };
            let opened = self.reaches.access(provider, &chosen).inspect_err(|problem| {
                tracing::error!(
                    run.id = %run.id,
                    provider = provider.name,
                    problem,
                    "providers.unreadable: the provider counts as not configured for the run"
                );
            });
            own.insert(provider.name, opened.ok().map(Arc::new));
        }
        Ok(own)
    }
}
