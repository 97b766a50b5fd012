//! What a run or a key has spent, for whoever calls with it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::fault::{Code, Fault};
use crate::domain::reservation::Authority;
use crate::gateway::caller::{Caller, invalid_key, run_id_required, run_not_found};
use crate::gateway::inference::Standing;
use crate::ledger::RunRecord;

use super::super::key_usage_view::KeyUsageView;
use super::super::respond::answer;
use super::super::usage_view::UsageView;
use super::{Plane, answered, presented};

/// How many readings of one run are under way or wait at once, so that it is never long until it is
/// another run's turn.
const READS_PER_RUN: u32 = 8;

/// What the caller has spent: a run, or a key that names none.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum SpentView {
    /// A run.
    Run(UsageView),
    /// A key.
    Key(KeyUsageView),
}

/// `GET /v1/usage` and `GET /agents/usage`
pub(super) async fn of_caller(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        let caller = caller(&request, &plane, standing).await?;
        let view = match caller.key.as_ref().filter(|_| caller.run.named().is_none()) {
            None => SpentView::Run(UsageView::of(&record_of(&plane, &caller).await?)),
            Some(key) => {
                let _place = place(&caller)?;
                let used = plane.gateway.key_usage(key).await?.ok_or_else(invalid_key)?;
                SpentView::Key(KeyUsageView::of(used))
            }
        };
        Ok(answer(StatusCode::OK, id, plane.manners).json(view))
    })
    .await
}

/// What the ledger knows of the run that the request names.
pub(super) async fn record(
    request: &HttpRequest,
    plane: &Plane,
    standing: &mut Standing,
) -> Result<RunRecord, Fault> {
    let caller = caller(request, plane, standing).await?;
    caller.run.named().ok_or_else(run_id_required)?;
    record_of(plane, &caller).await
}

async fn caller(
    request: &HttpRequest,
    plane: &Plane,
    standing: &mut Standing,
) -> Result<Caller, Fault> {
    let presented = presented(request)?;
    let identity = plane.gateway.authenticate(&presented).await?;
    let caller = plane.gateway.name_run(identity, &presented, &[]).await?;
    standing.run = caller.run.named();
    Ok(caller)
}

async fn record_of(plane: &Plane, caller: &Caller) -> Result<RunRecord, Fault> {
    let _place = place(caller)?;
    let record = plane.gateway.usage(caller.run.id).await?;
    record.ok_or_else(|| match caller.authority {
        Authority::Token(_) | Authority::Key(..) => invalid_key(),
        Authority::RunId => run_not_found(),
    })
}

/// One reading among those of the run, or of the key's calls without one.
fn place(caller: &Caller) -> Result<impl Sized, Fault> {
    caller.run.reads.try_enter(READS_PER_RUN).ok_or_else(|| {
        Fault::new(
            Code::RateLimited,
            "Usage is read too often at once. Try again when one answer has come.",
        )
        .retry_after(1)
    })
}
