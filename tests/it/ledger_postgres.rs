//! The ledger in Postgres keeps the contract, and its statements fit the schema.

use std::sync::Arc;
use std::time::Duration;

use rungate::domain::budget::Unit;
use rungate::domain::control::AttemptBudget;
use rungate::domain::run::RunState;
use rungate::domain::settlement::CostSource;
use rungate::ledger::memory::MemoryLedger;
use rungate::ledger::postgres::{
    PostgresLedger, audit, check, credits, keys, members, organizations, partitions, providers,
    statements, totals, usage, used, windows,
};
use rungate::ledger::{GroupBy, Ledger, LedgerError, TotalsQuery};
use sqlx::Executor as _;

use crate::ledger_contract::fixture::{Run, charge, fresh_token, registration};
use crate::ledger_contract::{check_all, compare, operations_from_env, seed_from_env};
use crate::support::postgres;

async fn open(database: &str) -> Arc<PostgresLedger> {
    PostgresLedger::open(database, Duration::from_secs(15)).await.unwrap()
}

async fn assert_sound(database: &str) {
    let ledger = open(database).await;
    let report = check(ledger.pool()).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_fits_the_schema() {
    let database = postgres::database().await;
    let mut connection = postgres::connect(&database).await;
    let of_organizations = organizations::ALL.into_iter().chain(keys::ALL).chain(credits::ALL);
    let of_organizations = of_organizations
        .chain(providers::ALL)
        .chain(providers::of_runs::ALL)
        .chain(providers::reencrypt::ALL);
    let of_people = members::ALL.into_iter().chain(audit::ALL);
    let of_keys = keys::orchestrator::ALL.into_iter().chain(keys::terms::ALL);
    let of_windows = of_keys.chain(windows::ALL).chain(of_people);
    let of_usage = usage::ALL.into_iter().chain(used::ALL).chain(partitions::ALL);
    let all = statements::ALL.into_iter().chain(totals::ALL).chain(of_usage);
    for statement in all.chain(of_organizations).chain(of_windows) {
        let prepared = (&mut connection).prepare(sqlx::SqlStr::from_static(statement)).await;
        prepared.unwrap_or_else(|error| panic!("{statement}\n{error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract() {
    let database = postgres::database().await;
    let shared = open(&database).await;
    check_all(async || Arc::clone(&shared) as Arc<dyn Ledger>).await;
    assert_sound(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_workload_agrees_with_the_model_to_the_last_digit() {
    let database = postgres::database().await;
    let (events, _unheard) = tokio::sync::mpsc::unbounded_channel();
    let model: Arc<dyn Ledger> = MemoryLedger::new(chrono::Utc::now, None, events);
    let operations = operations_from_env(1_500);
    compare(model, open(&database).await, seed_from_env(), operations).await;
    assert_sound(&database).await;
}

/// What is booked where another attempt spends from does not stay hidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_is_not_of_its_attempt() {
    let database = postgres::database().await;
    let postgres = open(&database).await;
    let ledger: Arc<dyn Ledger> = Arc::clone(&postgres) as Arc<dyn Ledger>;
    let mut new = registration("1");
    new.terms.control.attempt_budget = AttemptBudget::PerAttempt;
    let run = Run::with(&ledger, new).await;
    let call = run.admit("0.5").await.unwrap();
    run.settle(call, charge("0.5", 1, 1, CostSource::Usage)).await;
    ledger.open_attempt(run.id, RunState::Running, fresh_token()).await.unwrap();
    assert_sound(&database).await;
    let mut connection = postgres::connect(&database).await;
    for (wrong, right, says) in [
        ("UPDATE calls SET attempt = 2", "UPDATE calls SET attempt = 1", "is of attempt 2"),
        (
            "UPDATE runs SET attempt_budget = 'shared'",
            "UPDATE runs SET attempt_budget = 'per_attempt'",
            "whose budget is shared",
        ),
        ("UPDATE runs SET attempt = 3", "UPDATE runs SET attempt = 2", "has no cap for attempt 3"),
        (
            "UPDATE budgets SET attempt = 4 WHERE attempt = 2",
            "UPDATE budgets SET attempt = 2 WHERE attempt = 4",
            "is for attempt 4 of a run in attempt 2",
        ),
    ] {
        connection.execute(wrong).await.unwrap();
        let found = check(postgres.pool()).await.unwrap().findings;
        assert!(found.iter().any(|finding| finding.0.contains(says)), "{wrong}: {found:?}");
        connection.execute(right).await.unwrap();
        assert_sound(&database).await;
    }
}

/// Two gateways race for a cap that fits exactly seven.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_admit_exactly_what_fits() {
    let database = postgres::database().await;
    let gateways = [open(&database).await, open(&database).await];
    let first: Arc<dyn Ledger> = Arc::clone(&gateways[0]) as Arc<dyn Ledger>;
    let run = Run::open(&first, "0.7").await;
    let mut racing = tokio::task::JoinSet::new();
    for racer in 0..120 {
        let ledger = Arc::clone(&gateways[racer % 2]);
        let ask = run.ask("0.1");
        racing.spawn(async move {
            let turn = Arc::new(rungate::ledger::queue::RunQueue::default()).arrive();
            ledger.admit(ask, &turn).await.unwrap()
        });
    }
    let verdicts = racing.join_all().await;
    let granted: Vec<_> = verdicts.into_iter().filter_map(Result::ok).collect();
    assert_eq!(granted.len(), 7);
    let record = gateways[0].record(run.id).await.unwrap().unwrap();
    assert_eq!(record.balance(Unit::Usd).unwrap().reserved.to_string(), "0.7");
    drop(granted);
    gateways[0].flush().await;
    gateways[1].flush().await;
    let record = gateways[0].record(run.id).await.unwrap().unwrap();
    assert_eq!(record.in_flight, 0);
    assert!(record.balance(Unit::Usd).unwrap().reserved.is_zero());
    assert_sound(&database).await;
}

/// A statement that meets its timeout says that there is too much, not that nobody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_take_too_long_are_given_up() {
    let database = postgres::database().await;
    let ledger = open(&database).await;
    let mut connection = postgres::connect(&database).await;
    let slow = "ALTER TABLE calls RENAME TO slow_calls; \
        CREATE VIEW calls AS SELECT c.* FROM pg_sleep(60), slow_calls c";
    connection.execute(slow).await.unwrap();
    let (from, to) = (chrono::DateTime::UNIX_EPOCH, chrono::Utc::now());
    let query = TotalsQuery { from, to, group_by: GroupBy::Day, after: None, limit: 9 };
    let failed = ledger.totals(&query).await.unwrap_err();
    assert!(matches!(failed, LedgerError::TooMuch), "{failed:?}");
}

/// Only half of the lanes ask at a time; one that is stuck must not have the turn for that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_stuck_behind_a_lock_does_not_keep_the_turn() {
    use sqlx::Connection as _;
    let database = postgres::database().await;
    let ledger: Arc<dyn Ledger> = open(&database).await;
    let locked = Run::open(&ledger, "1").await;
    // Enough others that some are on another lane.
    let mut others = Vec::new();
    for _ in 0..16 {
        others.push(Run::open(&ledger, "1").await);
    }
    let mut operator = postgres::connect(&database).await;
    let mut lock = operator.begin().await.unwrap();
    let held = sqlx::query("SELECT 1 FROM budgets WHERE scope_id = $1 FOR UPDATE");
    held.bind(locked.id.uuid()).execute(&mut *lock).await.unwrap();
    let stuck = tokio::spawn(async move {
        let turn = locked.queue.arrive();
        locked.ledger.admit(locked.ask("0.1"), &turn).await.is_err()
    });
    postgres::until_somebody_waits(&database).await;
    let mut asking = tokio::task::JoinSet::new();
    for run in others {
        asking.spawn(async move { run.admit("0.1").await.is_ok() });
    }
    assert!(asking.join_next().await.unwrap().unwrap(), "another lane admits");
    assert!(!stuck.is_finished(), "it did not wait for the one that is stuck");
    lock.rollback().await.unwrap();
    asking.join_all().await;
    let _admitted_or_refused = stuck.await.unwrap();
}
