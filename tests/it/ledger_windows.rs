//! The turn of days and months, on both ledgers, at times that the test says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rungate::domain::budget::{Scope, Window};
use rungate::domain::organization::KeyLimits;
use rungate::domain::reservation::Refusal;
use rungate::domain::settlement::CostSource;
use rungate::domain::usage::Tokens;
use rungate::ledger::Ledger;
use rungate::ledger::memory::MemoryLedger;
use rungate::ledger::postgres::{PostgresLedger, check};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::ledger_contract::compare_shared;
use crate::ledger_contract::fixture::{charge, dec, numbers, outcome, usd};
use crate::ledger_contract::seed_from_env;
use crate::ledger_contract::shared::{Org, WIDE, monthly, reset};
use crate::support::postgres;

/// Seconds of the memory ledger's clock; one test has it at a time.
static SECONDS: AtomicI64 = AtomicI64::new(0);
static ONE_TEST: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn clock() -> DateTime<Utc> {
    DateTime::from_timestamp(SECONDS.load(Ordering::SeqCst), 0).unwrap()
}

/// A ledger and what sets its time.
struct Timed {
    ledger: Arc<dyn Ledger>,
    database: Option<(String, Arc<PostgresLedger>)>,
}

impl Timed {
    async fn both() -> [Self; 2] {
        let (events, _unheard) = tokio::sync::mpsc::unbounded_channel();
        let memory: Arc<dyn Ledger> = MemoryLedger::new(clock, None, events);
        let database = postgres::database().await;
        let mut connection = postgres::connect(&database).await;
        let timed = "CREATE TABLE test_time (at timestamptz); \
            INSERT INTO test_time VALUES (now()); \
            CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql \
                AS 'SELECT at FROM test_time'";
        connection.execute(timed).await.unwrap();
        let ledger = PostgresLedger::open(&database, Duration::from_secs(15)).await.unwrap();
        let port: Arc<dyn Ledger> = Arc::clone(&ledger) as Arc<dyn Ledger>;
        [
            Self { ledger: memory, database: None },
            Self { ledger: port, database: Some((database, ledger)) },
        ]
    }

    async fn at(&self, time: &str) {
        let time = DateTime::parse_from_rfc3339(time).unwrap().to_utc();
        match &self.database {
            None => SECONDS.store(time.timestamp(), Ordering::SeqCst),
            Some((database, _)) => {
                let set = format!("UPDATE test_time SET at = '{}'", time.to_rfc3339());
                postgres::connect(database).await.execute(AssertSqlSafe(set)).await.unwrap();
            }
        }
    }

    async fn assert_sound(&self) {
        if let Some((_, ledger)) = &self.database {
            let findings = check(ledger.pool()).await.unwrap().findings;
            assert!(findings.is_empty(), "{findings:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_counts_in_the_window_that_it_was_admitted_in() {
    let _alone = ONE_TEST.lock().await;
    for timed in Timed::both().await {
        timed.at("2026-01-31T23:59:59Z").await;
        let org = Org::open(&timed.ledger, "1").await;
        let limits = KeyLimits { daily_tokens: Some(Tokens::new(150)), ..WIDE };
        let key = org.key(KeyLimits { monthly_usd: Some(usd("1")), ..limits }).await;
        let old = key.admit(None, "0.75").await.unwrap();
        assert!(key.admit(None, "0.5").await.is_err(), "January is full");
        let spent = async |window| {
            let stands = key.stands().await;
            let found = stands.iter().filter(|of| of.budget.window == window);
            found.map(|of| numbers(&of.balance)).collect::<Vec<_>>()
        };

        timed.at("2026-02-01T00:00:00Z").await;
        let new = key.admit(None, "0.5").await.unwrap();
        assert_eq!(spent(Window::Day).await, [[dec("150"), dec("0"), dec("100")]]);
        old.settle(outcome(charge("0.7", 10, 20, CostSource::Usage)));
        timed.ledger.flush().await;
        let of_february = [dec("1"), dec("0"), dec("0.5")];
        assert_eq!(spent(Window::Month).await[1], of_february, "the old one is January's");
        assert_eq!(numbers(&org.stands(Scope::Organization).await.balance), of_february);
        new.settle(outcome(charge("0.25", 10, 20, CostSource::Usage)));
        timed.ledger.flush().await;
        assert_eq!(spent(Window::Month).await[1], [dec("1"), dec("0.25"), dec("0")]);
        assert_eq!(spent(Window::Day).await, [[dec("150"), dec("30"), dec("0")]]);

        timed.at("2026-02-02T00:00:00Z").await;
        assert_eq!(spent(Window::Day).await, [[dec("150"), dec("0"), dec("0")]]);
        assert_eq!(spent(Window::Month).await[1][1], dec("0.25"));
        drop(key.admit(None, "0.1").await.unwrap());
        timed.ledger.flush().await;
        timed.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_stays_open_over_the_turn_of_the_month() {
    let _alone = ONE_TEST.lock().await;
    for timed in Timed::both().await {
        timed.at("2026-03-15T12:00:00Z").await;
        let org = Org::open(&timed.ledger, "1").await;
        let key = org.key(WIDE).await;
        let grant = key.admit(None, "1").await.unwrap();
        grant.settle(outcome(charge("1", 10, 20, CostSource::Usage)));
        timed.ledger.flush().await;
        for month in ["2026-04-01T00:00:00Z", "2026-06-01T00:00:00Z"] {
            timed.at(month).await;
            let refused = key.admit(None, "0.1").await.unwrap_err();
            assert!(matches!(refused, Refusal::Budget { latched: true, .. }), "{refused:?}");
            let stands = org.stands(Scope::Organization).await;
            assert!(stands.latched && stands.balance.spent.is_zero(), "{stands:?}");
        }
        org.put(reset()).await;
        assert!(key.admit(None, "0.1").await.is_ok());
        timed.ledger.flush().await;

        // A limit that is set before the month's first call is that month's limit.
        timed.at("2026-07-01T00:00:00Z").await;
        org.put(monthly("0.05")).await;
        assert!(key.admit(None, "0.1").await.is_err());
        assert!(key.admit(None, "0.05").await.is_ok());
        timed.ledger.flush().await;
        timed.assert_sound().await;
    }
}

/// Two gateways admit and settle while the days go by beneath them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn windows_turn_under_load_and_every_call_is_in_its_own() {
    let _alone = ONE_TEST.lock().await;
    let [_, timed] = Timed::both().await;
    timed.at("2026-01-29T00:00:00Z").await;
    let (database, first) = timed.database.as_ref().unwrap();
    let second = PostgresLedger::open(database, Duration::from_secs(15)).await.unwrap();
    let org = Org::open(&timed.ledger, "1000").await;
    let limits = KeyLimits { daily_tokens: Some(Tokens::new(900)), ..WIDE };
    let key = org.key(limits).await;
    let runs = [org.run("1000").await, org.run("1000").await];
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..8_usize {
        let ledger = [first, &second][worker % 2];
        let ledger: Arc<dyn Ledger> = Arc::clone(ledger) as Arc<dyn Ledger>;
        let ask = key.ask([None, Some(&runs[0]), Some(&runs[1])][worker % 3], "0.1").await;
        working.spawn(async move {
            let mut admitted = 0;
            for _ in 0..60 {
                let id = rungate::domain::id::ReservationId::generate();
                let ask = rungate::domain::reservation::Ask { id, ..ask.clone() };
                match crate::ledger_contract::shared::admit(&ledger, ask).await {
                    Ok(grant) => {
                        admitted += 1;
                        grant.settle(outcome(charge("0.01", 40, 60, CostSource::Usage)));
                    }
                    Err(Refusal::Budget { .. } | Refusal::Behind { .. }) => {}
                    Err(refusal) => panic!("{refusal:?}"),
                }
            }
            admitted
        });
    }
    for day in 30..36 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let (month, day) = if day > 31 { (2, day - 31) } else { (1, day) };
        timed.at(&format!("2026-{month:02}-{day:02}T00:00:00Z")).await;
    }
    let admitted: i64 = working.join_all().await.into_iter().sum();
    first.flush().await;
    second.flush().await;
    timed.assert_sound().await;
    let rows = "SELECT b.spent, (SELECT count(*) FROM calls c WHERE b.id = ANY (c.budget_ids)) \
        FROM budgets b WHERE b.\"window\" = 'day' AND b.window_start > '-infinity'";
    let mut connection = postgres::connect(database).await;
    let days = connection.fetch_all(rows).await.unwrap();
    let mut counted = 0;
    for day in &days {
        let (spent, calls): (rust_decimal::Decimal, i64) = (day.get(0), day.get(1));
        assert!(spent <= dec("900"), "{spent}");
        counted += calls;
    }
    assert_eq!(counted, admitted, "each call is in one day");
    assert!(admitted > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_workload_on_shared_budgets_agrees_to_the_last_digit() {
    let database = postgres::database().await;
    let ledger = PostgresLedger::open(&database, Duration::from_secs(15)).await.unwrap();
    let (events, _unheard) = tokio::sync::mpsc::unbounded_channel();
    let model: Arc<dyn Ledger> = MemoryLedger::new(Utc::now, None, events);
    let port: Arc<dyn Ledger> = Arc::clone(&ledger) as Arc<dyn Ledger>;
    compare_shared(model, port, seed_from_env(), 700).await;
    let findings = check(ledger.pool()).await.unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
}
