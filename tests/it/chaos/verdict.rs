//! Whether everything held: by SQL, and by what the provider saw.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rungate::ledger::postgres as ledger;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::sleep;

use super::provider::{Manner, Seen};
use super::world::World;
use crate::support::postgres;

/// What was found.
pub struct Findings {
    pub wrong: Vec<String>,
    pub summary: String,
}

/// One ended attempt.
#[derive(Debug)]
struct Row {
    request: String,
    source: String,
    flag: Option<String>,
    cost: Decimal,
    input: i64,
    output: i64,
}

const PASSED: &str = "SELECT b.scope_id::text FROM budgets b \
    WHERE b.spent + b.reserved > b.limit_amount AND NOT b.lowered";

const ROWS: &str = "SELECT request_id, cost_source::text, flag, cost_usd::numeric, \
    (uncached_input_tokens + cached_input_tokens + cache_write_tokens)::bigint, \
    output_tokens::bigint FROM calls ORDER BY id";

/// Looks at the budgets over and over, until the world stops. Answers how often.
pub async fn sample(world: Arc<World>) -> usize {
    let mut samples = 0;
    let mut connection = None;
    while !world.stop.load(Ordering::Acquire) {
        sleep(Duration::from_millis(20)).await;
        let looked = look(&world, &mut connection).await;
        match looked {
            Ok(passed) => {
                samples += 1;
                world.wrong.lock().extend(passed.into_iter().map(|run| format!("{run} is over")));
            }
            // Postgres is down.
            Err(_) => connection = None,
        }
    }
    samples
}

async fn look(
    world: &World,
    connection: &mut Option<PgConnection>,
) -> Result<Vec<String>, sqlx::Error> {
    if connection.is_none() {
        *connection = Some(PgConnection::connect(&world.cluster.url()).await?);
    }
    let rows = sqlx::query(PASSED).fetch_all(connection.as_mut().unwrap()).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Waits until nothing is reserved and then looks at everything.
pub async fn verdict(world: &World) -> Findings {
    let mut connection = postgres::connect(&world.cluster.url()).await;
    let mut wrong = std::mem::take(&mut *world.wrong.lock());
    if !until_nothing_is_reserved(&mut connection).await {
        wrong.push("something stays reserved".to_owned());
    }
    let options = ledger::connect_options(&world.cluster.url()).unwrap();
    let pool = ledger::connect(options).await.unwrap();
    let report = ledger::check(&pool).await.unwrap();
    wrong.extend(report.findings.into_iter().map(|finding| finding.0));
    let rows = sqlx::query(ROWS).fetch_all(&mut connection).await.unwrap();
    let rows: Vec<Row> = rows.iter().map(Row::of).collect();
    let seen = world.provider.seen();
    for one in &seen {
        if world.forbidden.lock().contains(&one.order.number) {
            wrong.push(format!("{one:?} was forwarded on a state that had ended"));
        }
    }
    compare(&rows, &seen, &mut wrong);
    let mut sources = BTreeMap::new();
    for row in &rows {
        let kind = (row.source.as_str(), row.flag.as_deref().unwrap_or("-"));
        *sources.entry(kind).or_insert(0) += 1;
    }
    let summary = format!("seen={} rows={} {sources:?}", seen.len(), rows.len());
    Findings { wrong, summary }
}

async fn until_nothing_is_reserved(connection: &mut PgConnection) -> bool {
    for _ in 0..600 {
        let left = sqlx::query("SELECT count(*) FROM reservations").fetch_one(&mut *connection);
        if left.await.unwrap().get::<i64, _>(0) == 0 {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

impl Row {
    fn of(row: &PgRow) -> Self {
        Self {
            request: row.get(0),
            source: row.get(1),
            flag: row.get(2),
            cost: row.get(3),
            input: row.get(4),
            output: row.get(5),
        }
    }

    fn is_flagged(&self, flag: &str) -> bool {
        self.flag.as_deref() == Some(flag)
    }
}

/// Every attempt that the provider saw is one row, and costs what it should.
fn compare(rows: &[Row], seen: &[Seen], wrong: &mut Vec<String>) {
    let mut by_request: HashMap<&str, (Vec<&Row>, Vec<&Seen>)> = HashMap::new();
    for row in rows {
        by_request.entry(&row.request).or_default().0.push(row);
    }
    let names: Vec<String> = seen.iter().map(|one| format!("chaos-{}", one.order.number)).collect();
    for (name, one) in names.iter().zip(seen) {
        by_request.entry(name).or_default().1.push(one);
    }
    for (request, (rows, seen)) in by_request {
        if let Some(reason) = differ(&rows, &seen) {
            wrong.push(format!("{request}: {reason}: {rows:?} {seen:?}"));
        }
    }
}

/// Why the rows of one request do not fit what the provider saw of it. A row that was swept stands
/// for an attempt that was sent, or for a reservation whose answer was lost.
fn differ(rows: &[&Row], seen: &[&Seen]) -> Option<&'static str> {
    let swept = rows.iter().filter(|row| row.is_flagged("gateway_lost")).count();
    let own: Vec<_> = rows
        .iter()
        .filter(|row| !row.is_flagged("gateway_lost") && !row.is_flagged("orphaned"))
        .collect();
    let sold = seen.iter().filter(|one| !one.order.manner.is_free()).count();
    let charged = own.iter().filter(|row| row.source != "none").count();
    if own.len() + swept < seen.len() {
        return Some("an attempt has no row");
    }
    if charged + swept < sold {
        return Some("an attempt that may have cost something was not charged");
    }
    // A provider that goes away may leave a request unread that was sent.
    let dearest = own.iter().filter(|row| row.source == "worst_case").count();
    if charged - dearest > sold || charged > seen.len() + usize::from(dearest > 0) {
        return Some("an attempt was charged twice");
    }
    let usage = own.iter().filter(|row| row.source == "usage");
    for row in usage {
        let told = seen.iter().any(|one| {
            let tells = matches!(one.order.manner, Manner::Serve);
            let counts = (one.prompt_tokens.cast_signed(), one.completion_tokens.cast_signed());
            tells && counts == (row.input, row.output) && row.cost == price(one)
        });
        if !told {
            return Some("a usage that the provider did not give");
        }
    }
    let unpaid = own.iter().any(|row| (row.source != "none") != (row.cost > Decimal::ZERO));
    unpaid.then_some("a cost that does not fit its source")
}

/// gpt-4o-mini: $0.15 and $0.60 for a million tokens.
fn price(seen: &Seen) -> Decimal {
    let nanos = seen.prompt_tokens * 150 + seen.completion_tokens * 600;
    Decimal::new(nanos.cast_signed(), 9)
}
