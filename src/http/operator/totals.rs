//! What was used over a time, by everybody. An endpoint of our own: the contract lists none for it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, NaiveDate, SubsecRound as _, TimeDelta, Utc};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::domain::fault::Fault;
use crate::gateway::usage::{Totals, rank_and_name};
use crate::http::route::{Param, Right};
use crate::http::usage_view::{instant, plain};
use crate::ledger::{GroupBy, Sums, TotalsQuery};
use crate::protocol::schema::{DayText, InstantText, UsdText};

use super::exchange::{Exchange, Query};
use super::fields::invalid;
use super::{Operator, paging};

/// How far back an answer goes if nobody says.
const DEFAULT_TIME: TimeDelta = TimeDelta::days(30);

/// What `GET /usage` may be asked.
pub(super) static QUERY: &[Param] = &[
    Param {
        name: "from",
        about: "Calls count that were admitted then or later: an instant of RFC 3339, or a day \
                such as 2026-01-31, which begins at midnight UTC. 30 days before `to` by default.",
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
        schema: || json!({"type": "string", "enum": GroupBy::ALL.map(GroupBy::as_str)}),
    },
    paging::LIMIT,
    paging::AFTER,
];

/// What was used from one instant to another. Groups come by their cost, the dearest first; days
/// in their order.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Usage")]
pub(super) struct TotalsView {
    #[schemars(with = "InstantText")]
    from: String,
    #[schemars(with = "InstantText")]
    to: String,
    #[schemars(extend("enum" = GroupBy::ALL.map(GroupBy::as_str)))]
    group_by: &'static str,
    data: Vec<GroupView>,
    /// The sums of all groups, those of other pages too.
    total: SumsView,
    /// Where the next page begins: its `after`. It keeps the time that was asked for.
    next: Option<String>,
}

/// One group.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "UsageGroup")]
struct GroupView {
    #[serde(flatten)]
    name: NameView,
    #[serde(flatten)]
    sums: SumsView,
}

/// A group's name, under what the calls were summed by.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum NameView {
    Model(String),
    Provider(String),
    RunId(String),
    Day(#[schemars(with = "DayText")] String),
}

/// Sums over ended calls, those left out that bought nothing.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "UsageSums")]
struct SumsView {
    calls: u64,
    /// All input, the cached included.
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    #[schemars(with = "UsdText")]
    cost_usd: String,
}

impl NameView {
    fn of(group_by: GroupBy, name: String) -> Self {
        match group_by {
            GroupBy::Model => Self::Model(name),
            GroupBy::Provider => Self::Provider(name),
            GroupBy::Run => Self::RunId(name),
            GroupBy::Day => Self::Day(name),
        }
    }
}

impl SumsView {
    fn of(sums: &Sums) -> Self {
        Self {
            calls: sums.calls,
            input_tokens: sums.input_tokens,
            cached_input_tokens: sums.cached_input_tokens,
            output_tokens: sums.output_tokens,
            cost_usd: plain(sums.cost),
        }
    }
}

impl TotalsView {
    fn of(query: &TotalsQuery, totals: Totals) -> Self {
        let last = totals.groups.rows.last().filter(|_| totals.groups.more);
        let next = last.map(|last| Cursor::after(query, last).write());
        let group = |(name, sums): (String, Sums)| GroupView {
            name: NameView::of(query.group_by, name),
            sums: SumsView::of(&sums),
        };
        Self {
            from: instant(query.from),
            to: instant(query.to),
            group_by: query.group_by.as_str(),
            data: totals.groups.rows.into_iter().map(group).collect(),
            total: SumsView::of(&totals.total),
            next,
        }
    }
}

/// `GET /usage`
pub(super) async fn usage(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Operator).await?;
        let query = read(&exchange.query(QUERY)?, Utc::now())?;
        let totals = exchange.operator.gateway.totals(query.clone()).await?;
        exchange.json(StatusCode::OK, &TotalsView::of(&query, totals))
    };
    exchange.answer(work).await
}

fn read(query: &Query, now: DateTime<Utc>) -> Result<TotalsQuery, Fault> {
    let group_by = match query.get("group_by") {
        None => GroupBy::Model,
        Some(word) => GroupBy::parse(word).ok_or_else(|| {
            let words = GroupBy::ALL.map(GroupBy::as_str).join(", ");
            invalid("group_by".to_owned(), format!("must be one of {words}"))
        })?,
    };
    let cursor = match query.get("after") {
        None => None,
        Some(text) => Some(Cursor::read(text).ok_or_else(paging::no_cursor)?),
    };
    let (from, to) = (time(query, "from")?, time(query, "to")?);
    let to = to.or(cursor.as_ref().map(|cursor| cursor.to)).unwrap_or(now).trunc_subsecs(6);
    let from = from.or(cursor.as_ref().map(|cursor| cursor.from)).unwrap_or(to - DEFAULT_TIME);
    if from > to {
        return Err(invalid("from".to_owned(), "must not be later than to"));
    }
    Ok(TotalsQuery {
        from,
        to,
        group_by,
        after: cursor.map(|cursor| (cursor.rank, cursor.name)),
        limit: paging::limit(query, paging::MAX_LIMIT)?,
    })
}

/// An instant, or the beginning of a day.
pub(super) fn time(query: &Query, name: &str) -> Result<Option<DateTime<Utc>>, Fault> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let day = || {
        let is_written_out = text.len() == "2026-01-31".len();
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| is_written_out)?;
        Some(day.and_time(chrono::NaiveTime::MIN).and_utc())
    };
    let instant = DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc));
    instant.or_else(day).map(|time| Some(time.trunc_subsecs(6))).ok_or_else(|| {
        let says = "must be an RFC 3339 instant such as 2026-01-31T12:00:00Z, or a day such as \
                    2026-01-31";
        invalid(name.to_owned(), says)
    })
}

/// Where a page begins. It keeps the time, so that the pages of an answer fit each other even if
/// none was asked for.
struct Cursor {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    rank: Decimal,
    name: String,
}

impl Cursor {
    fn after(query: &TotalsQuery, last: &(String, Sums)) -> Self {
        let (rank, name) = rank_and_name(query, last);
        Self { from: query.from, to: query.to, rank, name }
    }

    fn write(&self) -> String {
        let (from, to) = (self.from.timestamp_micros(), self.to.timestamp_micros());
        URL_SAFE_NO_PAD.encode(format!("{from} {to} {} {}", self.rank, self.name))
    }

    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(4, ' ');
        let mut time = || {
            let time = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
            // Those that can be asked for, and that every ledger can count with.
            (0..=9_999).contains(&time.year()).then_some(time)
        };
        let (from, to) = (time()?, time()?);
        let rank = Decimal::from_str_exact(parts.next()?).ok()?;
        // What Postgres cannot keep is the name of nothing.
        let name = parts.next().filter(|name| !name.contains('\0'))?.to_owned();
        Some(Self { from, to, rank, name })
    }
}
