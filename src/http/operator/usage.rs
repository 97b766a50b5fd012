//! What an organization used over a time: a page of sums in JSON, or all of them as CSV.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Days, NaiveTime, SubsecRound as _, Utc};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::domain::fault::Fault;
use crate::domain::id::OrganizationId;
use crate::gateway::Gateway;
use crate::gateway::runs::Rows;
use crate::http::respond;
use crate::http::route::{Param, Right};
use crate::http::usage_view::{instant, microcents, plain};
use crate::ledger::{UsageBy, UsageQuery, UsageRow};
use crate::protocol::schema::{InstantText, UsdText};

use super::exchange::{Exchange, NO_STORE, Query};
use super::fields::invalid;
use super::totals::time;
use super::{Operator, csv, paging};

/// Rows that are read at once while all are sent.
const ROWS_AT_ONCE: u32 = 1_000;

/// What may be asked.
pub(super) static QUERY: &[Param] = &[
    Param {
        name: "from",
        about: "Calls count that were admitted then or later: an instant of RFC 3339, or a day \
                such as 2026-01-31, which begins at midnight UTC. The beginning of the month of \
                `to`, by default.",
        schema: || json!({"type": "string"}),
    },
    Param {
        name: "to",
        about: "Calls count that were admitted before then. Now, by default.",
        schema: || json!({"type": "string"}),
    },
    Param {
        name: "group_by",
        about: "What to sum by; `model` by default.",
        schema: || json!({"type": "string", "enum": UsageBy::ALL.map(UsageBy::as_str)}),
    },
    paging::LIMIT,
    paging::AFTER,
];

const COLUMNS: [&str; 10] = [
    "group_key",
    "name",
    "provider",
    "calls",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "total_tokens",
    "cost_microcents",
    "cost_usd",
];

/// What an organization used from one instant to another.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OrganizationUsage")]
pub(super) struct OrganizationUsageView {
    #[schemars(with = "InstantText")]
    from: String,
    #[schemars(with = "InstantText")]
    to: String,
    #[schemars(extend("enum" = UsageBy::ALL.map(UsageBy::as_str)))]
    group_by: &'static str,
    /// In the order of their groups and providers.
    rows: Vec<RowView>,
    /// Where the next page begins: its `after`. It keeps the time that was asked for.
    next: Option<String>,
}

/// The sums of one group at one provider.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OrganizationUsageRow")]
struct RowView {
    /// The model with its provider's prefix, the id of the key or the run, the provider, or the
    /// day; `none` for calls without a key or a run.
    group_key: String,
    /// What the key is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    provider: String,
    calls: u64,
    /// All input, the cached included.
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    /// Input and output.
    total_tokens: u64,
    /// In millionths of a US cent, rounded half up, to be shown. The exact sum is `cost_usd`.
    cost_microcents: u64,
    #[schemars(with = "UsdText")]
    cost_usd: String,
}

impl RowView {
    fn of(row: UsageRow) -> Self {
        let sums = row.sums;
        Self {
            group_key: row.group,
            name: row.name,
            provider: row.provider,
            calls: sums.calls,
            input_tokens: sums.input_tokens,
            cached_input_tokens: sums.cached_input_tokens,
            output_tokens: sums.output_tokens,
            total_tokens: sums.input_tokens.saturating_add(sums.output_tokens),
            cost_microcents: microcents(sums.cost),
            cost_usd: plain(sums.cost),
        }
    }

    fn line(&self) -> String {
        let numbers = [
            self.calls,
            self.input_tokens,
            self.cached_input_tokens,
            self.output_tokens,
            self.total_tokens,
            self.cost_microcents,
        ]
        .map(|number| number.to_string());
        let texts = [&self.group_key, self.name.as_deref().unwrap_or_default(), &self.provider];
        let numbers = numbers.iter().map(String::as_str);
        csv::line(texts.into_iter().chain(numbers).chain([self.cost_usd.as_str()]))
    }
}

/// A question, and the end of its time as it is told.
#[derive(Clone)]
struct Asked {
    query: UsageQuery,
    to: DateTime<Utc>,
}

/// `GET /organizations/{org}/inference/usage`
pub(super) async fn show(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        let organization = exchange.organization()?;
        let query = exchange.query(QUERY)?;
        let asked = read(&query, organization, Utc::now())?;
        if exchange.wants(csv::KIND) {
            let left = query.get("limit").map(|_| asked.query.limit);
            return lines(&exchange, asked.query, left).await;
        }
        let found = exchange.operator.gateway.organization_usage(asked.query.clone()).await?;
        let next = found.rows.last().filter(|_| found.more).map(|last| write_cursor(&asked, last));
        exchange.json(
            StatusCode::OK,
            &OrganizationUsageView {
                from: instant(asked.query.from),
                to: instant(asked.to),
                group_by: asked.query.group_by.as_str(),
                rows: found.rows.into_iter().map(RowView::of).collect(),
                next,
            },
        )
    };
    exchange.answer(work).await
}

fn read(query: &Query, organization: OrganizationId, now: DateTime<Utc>) -> Result<Asked, Fault> {
    let group_by = match query.get("group_by") {
        None => UsageBy::Model,
        Some(word) => UsageBy::parse(word).ok_or_else(|| {
            let words = UsageBy::ALL.map(UsageBy::as_str).join(", ");
            invalid("group_by".to_owned(), format!("must be one of {words}"))
        })?,
    };
    let cursor = match query.get("after") {
        None => None,
        Some(text) => Some(read_cursor(text).ok_or_else(paging::no_cursor)?),
    };
    let (from, to) = (time(query, "from")?, time(query, "to")?);
    let now = now.trunc_subsecs(6);
    let to = to.or(cursor.as_ref().map(|cursor| cursor.to)).unwrap_or(now);
    let month = to.date_naive().with_day(1).unwrap_or(to.date_naive());
    let month = month.and_time(NaiveTime::MIN).and_utc();
    let from = from.or(cursor.as_ref().map(|cursor| cursor.from)).unwrap_or(month);
    if from > to {
        return Err(invalid("from".to_owned(), "must not be later than to"));
    }
    let query = UsageQuery {
        organization,
        key: None,
        from,
        to: if to >= now { end_of_day(to) } else { to },
        group_by,
        after: cursor.map(|cursor| cursor.after),
        limit: paging::limit(query, paging::MAX_LIMIT)?,
    };
    Ok(Asked { query, to })
}

/// The end of a day that is not over: no call is later, and whole days are summed up already.
fn end_of_day(time: DateTime<Utc>) -> DateTime<Utc> {
    let next = time.date_naive().checked_add_days(Days::new(1));
    next.map_or(time, |day| day.and_time(NaiveTime::MIN).and_utc())
}

/// Where a page begins, and of what time it is.
struct Cursor {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    after: (String, String),
}

fn write_cursor(asked: &Asked, last: &UsageRow) -> String {
    let (from, to) = (asked.query.from.timestamp_micros(), asked.to.timestamp_micros());
    // Neither a group nor a provider has a line break.
    URL_SAFE_NO_PAD.encode(format!("{from}\n{to}\n{}\n{}", last.provider, last.group))
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    // What Postgres cannot keep is the name of nothing.
    let mut parts = text.splitn(4, '\n').filter(|part| !part.contains('\0'));
    let mut time = || {
        let time = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
        (0..=9_999).contains(&time.year()).then_some(time)
    };
    let (from, to) = (time()?, time()?);
    let provider = parts.next()?.to_owned();
    Some(Cursor { from, to, after: (parts.next()?.to_owned(), provider) })
}

/// What is still to be sent.
struct Sending {
    gateway: Arc<Gateway>,
    query: UsageQuery,
    left: Option<u32>,
}

/// All rows, or as many as were asked for. The first are read before the answer begins, so that
/// what goes wrong with them has a status of its own; later the answer is cut.
async fn lines(
    exchange: &Exchange,
    mut query: UsageQuery,
    left: Option<u32>,
) -> Result<HttpResponse, Fault> {
    let gateway = Arc::clone(&exchange.operator.gateway);
    query.limit = left.unwrap_or(ROWS_AT_ONCE).min(ROWS_AT_ONCE);
    let first = gateway.organization_usage(query.clone()).await?;
    let (rows, rest) = Sending { gateway, query, left }.write(first);
    let head = Bytes::from(csv::line(COLUMNS));
    let rest = stream::unfold(rest, |sending| async {
        let sending = sending?;
        match sending.gateway.organization_usage(sending.query.clone()).await {
            Ok(found) => {
                let (text, rest) = sending.write(found);
                Some((Ok(text), rest))
            }
            Err(fault) => {
                tracing::warn!(reason = fault.internal_reason(), "usage.broke_off: {fault}");
                Some((Err(fault), None))
            }
        }
    });
    let body = stream::iter([Ok(head), Ok(rows)]).chain(rest);
    Ok(respond::answer(StatusCode::OK, &exchange.id, exchange.operator.manners)
        .insert_header((CONTENT_TYPE, csv::KIND))
        .insert_header(NO_STORE)
        .streaming(Box::pin(body)))
}

impl Sending {
    /// The lines of a page, and what is to be sent after it.
    fn write(mut self, page: Rows<UsageRow>) -> (Bytes, Option<Self>) {
        let sent = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(sent));
        self.query.limit = self.left.unwrap_or(ROWS_AT_ONCE).min(ROWS_AT_ONCE);
        self.query.after = page.rows.last().map(|last| (last.group.clone(), last.provider.clone()));
        let goes_on = page.more && self.left != Some(0);
        let text: String = page.rows.into_iter().map(|row| RowView::of(row).line()).collect();
        (text.into(), goes_on.then_some(self))
    }
}
