//! What a run has spent, for the run itself.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::fault::{Code, Fault};
use crate::domain::reservation::Authority;
use crate::gateway::caller::{invalid_key, run_not_found};
use crate::gateway::inference::Standing;
use crate::ledger::RunRecord;

use super::super::respond::answer;
use super::super::usage_view::UsageView;
use super::{Plane, answered, presented};

/// How many readings of one run are under way or wait at once, so that it is never long until it is
/// another run's turn.
const READS_PER_RUN: u32 = 8;

/// `GET /v1/usage` and `GET /agents/usage`
pub(super) async fn of_run(request: HttpRequest, plane: web::Data<Plane>) -> HttpResponse {
    answered(&request, &plane, async |id, standing| {
        let view = UsageView::of(&record(&request, &plane, standing).await?);
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
    let presented = presented(request)?;
    let gateway = &plane.gateway;
    let identity = gateway.authenticate(&presented).await?;
    let caller = gateway.name_run(identity, &presented, &[]).await?;
    standing.run = caller.run.named();
    let Some(_place) = caller.run.reads.try_enter(READS_PER_RUN) else {
        return Err(Fault::new(
            Code::RateLimited,
            "This run reads its usage too often at once. Try again when one answer has come.",
        )
        .retry_after(1));
    };
    let record = gateway.usage(caller.run.id).await?;
    record.ok_or_else(|| match caller.authority {
        Authority::Token(_) | Authority::Key(..) => invalid_key(),
        Authority::RunId => run_not_found(),
    })
}
