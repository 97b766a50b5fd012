//! The ended calls of a run: a page of them, or all of them, a row on each line.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::domain::fault::{Code, Fault};
use crate::domain::id::RunId;
use crate::gateway::Gateway;
use crate::gateway::runs::Rows;
use crate::http::respond;
use crate::http::route::Right;
use crate::ledger::{CallRecord, Page};
use crate::protocol::error;

use super::exchange::{Exchange, NO_STORE};
use super::view::{CallView, ListView};
use super::{Operator, paging};

/// The type of an answer with a row on each line.
pub(super) const LINES: &str = "application/x-ndjson";

/// Rows that are read at once while all are sent.
const ROWS_AT_ONCE: u32 = 500;

/// `GET /runs/{id}/calls`
pub(super) async fn list(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Runs).await?;
        let query = exchange.query(paging::PAGE)?;
        let page = paging::read(&query)?;
        let run = exchange.run()?;
        if exchange.wants(LINES) {
            let left = query.get("limit").map(|_| page.limit);
            return lines(&exchange, run, Page { limit: ROWS_AT_ONCE, ..page }, left).await;
        }
        let found = exchange.operator.gateway.calls(run, page).await?;
        let next = found.rows.last().filter(|_| found.more).map(|call| call.id.to_string());
        let data = found.rows.into_iter().map(CallView::of).collect();
        exchange.json(StatusCode::OK, &ListView { data, next })
    };
    exchange.answer(work).await
}

/// What is to be done after some lines.
enum Next {
    /// Read on.
    Rows(Sending),
    /// The last line is an error. A client that only looks for rows must not take what it got for
    /// all of them, so the answer is not ended but cut.
    Cut,
    /// Everything is sent.
    Nothing,
}

/// The rows could not be read to their end.
#[derive(Debug, thiserror::Error)]
#[error("the rows broke off")]
struct BrokenOff;

/// What is still to be sent.
struct Sending {
    gateway: Arc<Gateway>,
    request_id: String,
    run: RunId,
    next: Page,
    left: Option<u32>,
}

/// All rows after the cursor, or as many as were asked for. The first page is read before the
/// answer begins, so that what goes wrong with it has a status of its own.
async fn lines(
    exchange: &Exchange,
    run: RunId,
    page: Page,
    left: Option<u32>,
) -> Result<HttpResponse, Fault> {
    let gateway = Arc::clone(&exchange.operator.gateway);
    let request_id = exchange.id.clone();
    let mut sending = Sending { gateway, request_id, run, next: page, left };
    sending.fit();
    let first = sending.gateway.calls(run, sending.next).await?;
    let (text, next) = sending.write(first);
    let rest = stream::unfold(next, |next| async {
        match next {
            Next::Nothing => None,
            Next::Cut => {
                // Whatever is written goes out before the connection is cut.
                tokio::task::yield_now().await;
                Some((Err(BrokenOff), Next::Nothing))
            }
            Next::Rows(sending) => {
                let (text, next) = match sending.gateway.calls(sending.run, sending.next).await {
                    Ok(rows) => sending.write(rows),
                    Err(fault) => sending.break_off(Vec::new(), &fault),
                };
                Some((Ok(text), next))
            }
        }
    });
    let body = stream::once(std::future::ready(Ok(text))).chain(rest);
    Ok(respond::answer(StatusCode::OK, &exchange.id, exchange.operator.manners)
        .insert_header((CONTENT_TYPE, LINES))
        .insert_header(NO_STORE)
        .streaming(Box::pin(body)))
}

impl Sending {
    /// Never reads more than is still to be sent.
    fn fit(&mut self) {
        if let Some(left) = self.left {
            self.next.limit = self.next.limit.min(left);
        }
    }

    /// The lines of a page, and what is to be done after it.
    fn write(mut self, page: Rows<CallRecord>) -> (Bytes, Next) {
        let sent = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(sent));
        self.next.after = page.rows.last().map(|call| call.id.uuid());
        self.fit();
        let mut text = Vec::new();
        for call in page.rows {
            match serde_json::to_vec(&CallView::of(call)) {
                Ok(row) => {
                    text.extend_from_slice(&row);
                    text.push(b'\n');
                }
                Err(error) => {
                    let message = "A call could not be written. It has been logged.";
                    let fault = Fault::internal(Code::InternalError, message, error);
                    return self.break_off(text, &fault);
                }
            }
        }
        let goes_on = page.more && self.left != Some(0);
        (text.into(), if goes_on { Next::Rows(self) } else { Next::Nothing })
    }

    /// An error after the lines so far, and the end.
    fn break_off(self, mut text: Vec<u8>, fault: &Fault) -> (Bytes, Next) {
        tracing::warn!(
            request.id = self.request_id, run.id = %self.run,
            reason = fault.internal_reason(),
            "calls.broke_off: {fault}"
        );
        text.extend_from_slice(&error::body(fault, &self.request_id));
        text.push(b'\n');
        (text.into(), Next::Cut)
    }
}
