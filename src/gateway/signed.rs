//! Who is calling with a signed token, and for which run.

use std::sync::Arc;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::reservation::Authority;

use super::caller::{
    Caller, Identity, Presented, invalid_key, mismatch, not_found, run_id_required, run_not_found,
};
use super::directory::KnownRun;
use super::jwt::{NoKeys, Signed};
use super::{Gateway, Mode};

impl Gateway {
    /// Whose token this is, if it is good. A token that names a run of another organization, or
    /// none that there is, is not. In dev mode no token is looked at.
    ///
    /// # Errors
    /// 503 if it cannot be told; 429 if the address has named too many runs that do not exist.
    pub(super) async fn signed(
        &self,
        hash: TokenHash,
        presented: &Presented,
    ) -> Result<Option<Identity>, Fault> {
        let (Some(jwt), Mode::Serve) = (&self.jwt, self.mode) else { return Ok(None) };
        let Some(text) = presented.signed.as_deref() else { return Ok(None) };
        let checked = jwt.check(Signed { text, hash }).await.map_err(no_keys)?;
        let Some(claims) = checked else { return Ok(None) };
        let organization = claims.organization;
        let Some(id) = claims.run else { return Ok(Some(Identity::Signed(organization, None))) };
        let run = self.run_of(organization, id, presented).await?;
        Ok(run.map(|run| Identity::Signed(organization, Some(run))))
    }

    /// The run that a signed token is used for.
    ///
    /// # Errors
    /// 400 if two different runs are named, or none; 401 if the run wants a token of its own; 404
    /// if its organization has no such run.
    pub(super) async fn name_signed(
        &self,
        organization: OrganizationId,
        run: Option<Arc<KnownRun>>,
        named: Option<RunId>,
        presented: &Presented,
    ) -> Result<Caller, Fault> {
        if let Some(run) = run {
            if named.is_some_and(|id| id != run.id) {
                return Err(mismatch());
            }
            // A token that names its run is as good as the run's own.
            let authority = match run.terms.require_token {
                true => Authority::Token(run.standing().token),
                false => Authority::RunId,
            };
            return Ok(Caller::of_run(run, authority));
        }
        let id = named.ok_or_else(run_id_required)?;
        let run = self.run_of(organization, id, presented).await?.ok_or_else(run_not_found)?;
        if run.terms.require_token {
            return Err(invalid_key());
        }
        Ok(Caller::of_run(run, Authority::RunId))
    }

    /// A run, if it is the organization's.
    async fn run_of(
        &self,
        organization: OrganizationId,
        id: RunId,
        presented: &Presented,
    ) -> Result<Option<Arc<KnownRun>>, Fault> {
        let found = self.directory.by_id(id, self.stranger(presented)).await.map_err(not_found)?;
        Ok(found.filter(|run| run.terms.organization == organization))
    }
}

fn no_keys(problem: NoKeys) -> Fault {
    Fault::internal(
        Code::Unavailable,
        "The gateway cannot check signed tokens right now. Nothing was sent; try again shortly.",
        problem.to_string(),
    )
    .retry_after(1)
}
