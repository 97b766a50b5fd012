//! Partitions of calls: made ahead, filled with what came too early, detached when they are old.

use chrono::{TimeDelta, Utc};
use rungate::domain::id::RunId;
use rungate::domain::settlement::CostSource;
use rungate::ledger::{LedgerError, UsageBy, UsageQuery};
use sqlx::Connection as _;

use super::stage::{INSERT, Stage, execute, one_call, query};
use crate::ledger_contract::fixture::{Run, charge, dec};

/// Turns the clock of the ledger forward.
fn days_later(days: i32) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql VOLATILE \
         AS 'SELECT clock_timestamp() + interval ''{days} days'''"
    )
}

async fn spend(run: &Run, cost: &str) {
    let grant = run.admit("0.3").await.unwrap();
    run.settle(grant, charge(cost, 10, 5, CostSource::Usage)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_that_are_old_go_and_the_books_bills_and_reports_stay() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "10").await;
    spend(&run, "0.25").await;
    spend(&run, "0.125").await;
    let in_flight = run.admit("0.3").await.unwrap();
    let bill = run.record().await.models;
    let retire = async || stage.postgres.keep_partitions(Some(30)).await.unwrap().retired;

    stage.execute(&days_later(20)).await;
    assert_eq!(retire().await, Vec::<String>::new(), "it is not old enough");
    stage.execute(&days_later(70)).await;
    assert_eq!(retire().await, Vec::<String>::new(), "a call of its time is under way");
    run.settle(in_flight, charge("0.0625", 10, 5, CostSource::Estimate)).await;
    assert_eq!(retire().await, Vec::<String>::new(), "it is not folded");
    stage.fold_all().await;
    let kept = retire().await;
    // Late in a month the next one, which has no calls, is as old by then.
    assert!(kept[0].starts_with("retired_calls_until_"), "{kept:?}");
    assert_eq!(retire().await, Vec::<String>::new());
    assert_eq!(stage.number("SELECT count(*) FROM calls").await, 0);
    assert_eq!(stage.number(&format!("SELECT count(*) FROM {}", kept[0])).await, 3);

    stage.assert_sound().await;
    let record = run.record().await;
    assert_eq!(record.models[0].calls, 3);
    assert_eq!(record.models[0].cost, bill[0].cost + dec("0.0625"));
    assert_eq!(record.models[0].sources.len(), 2);
    assert_eq!(stage.total().await.cost, dec("0.4375"));

    // A call whose partition is gone is booked all the same.
    spend(&run, "0.5").await;
    assert_eq!(stage.number("SELECT count(*) FROM calls_other").await, 1);
    stage.assert_sound().await;
    stage.fold_all().await;
    stage.assert_sound().await;
    let record = run.record().await;
    assert_eq!((record.models[0].calls, record.models[0].cost), (4, dec("0.9375")));
    assert_eq!(stage.total().await.cost, dec("0.9375"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_whose_calls_are_gone_is_told_by_whole_days_or_refused() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "10").await;
    spend(&run, "0.25").await;
    stage.fold_all().await;
    stage.execute(&days_later(70)).await;
    assert_eq!(stage.postgres.keep_partitions(Some(30)).await.unwrap().retired.len(), 1);
    let now = Utc::now();
    let asked = |from, group_by| UsageQuery { from, ..query(group_by) };
    let midnight = (now - TimeDelta::days(1)).date_naive().and_time(chrono::NaiveTime::MIN);
    let whole = stage.rows(&asked(midnight.and_utc(), UsageBy::Model)).await;
    assert_eq!(whole[0].sums.cost, dec("0.25"));
    let part = asked(midnight.and_utc() + TimeDelta::hours(1), UsageBy::Model);
    for refused in [part, asked(midnight.and_utc(), UsageBy::Run)] {
        let error = stage.ledger.usage(&refused).await.unwrap_err();
        assert!(matches!(error, LedgerError::Retired(kept) if kept > midnight.and_utc()));
    }
    let later = asked(now + TimeDelta::hours(1), UsageBy::Run);
    assert_eq!(stage.rows(&later).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_made_ahead_beside_settlements_under_way() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    // Of a gateway whose clock is ahead: there is no partition for it yet.
    let early = format!(
        "{INSERT} (SELECT '{}'::uuid AS run, 'm' AS model, 'p' AS provider, 0.25 AS cost, \
         'usage' AS source, NULL::uuid AS key, now() + interval '1 month' AS at) call",
        run.id
    );
    stage.execute(&early).await;
    assert_eq!(stage.number("SELECT count(*) FROM calls_other").await, 1);
    let mut settling = stage.operator().await;
    let mut settling = settling.begin().await.unwrap();
    execute(&mut settling, &one_call(&run, "0.5")).await;
    assert_eq!(stage.postgres.keep_partitions(None).await.unwrap().opened, 2);
    assert_eq!(stage.postgres.keep_partitions(None).await.unwrap().opened, 0);
    settling.commit().await.unwrap();
    assert_eq!(stage.number("SELECT count(*) FROM calls_other").await, 0);
    assert_eq!(stage.number("SELECT count(*) FROM calls").await, 2);
    assert_eq!(stage.number("SELECT count(*) FROM calls_partitions").await, 3);
    stage.execute(&early).await;
    assert_eq!(stage.number("SELECT count(*) FROM calls_other").await, 0);
    stage.fold_all().await;
    assert_eq!(stage.folded().await, 3);
    stage.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_somebody_reads_is_left_for_later() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    spend(&run, "0.25").await;
    stage.fold_all().await;
    stage.execute(&days_later(70)).await;
    stage.postgres.keep_partitions(None).await.unwrap();
    let mut reader = stage.operator().await;
    let mut reading = reader.begin().await.unwrap();
    execute(&mut reading, "SELECT count(*) FROM calls").await;
    let refused = stage.postgres.keep_partitions(Some(30)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    assert_eq!(run.record().await.models[0].calls, 1, "nothing was changed");
    spend(&run, "0.25").await;
    reading.rollback().await.unwrap();
    stage.fold_all().await;
    assert_eq!(stage.postgres.keep_partitions(Some(30)).await.unwrap().retired.len(), 1);
    stage.assert_sound().await;
}

/// Gateways look at partitions when they start, and only one changes them at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_keep_partitions_at_once_do_each_thing_once() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    spend(&run, "0.25").await;
    stage.fold_all().await;
    stage.execute(&days_later(70)).await;
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Stage::on(stage.database.clone()).await);
    }
    let keeping = gateways.iter().map(|gateway| gateway.postgres.keep_partitions(Some(30)));
    let done: Vec<_> = futures_util::future::join_all(keeping).await;
    let retired = done.iter().flatten().map(|kept| kept.retired.len()).sum::<usize>();
    assert_eq!(retired, 1, "{done:?}");
    stage.assert_sound().await;
    let nobody = stage.ledger.record(RunId::random()).await.unwrap();
    assert!(nobody.is_none());
}
