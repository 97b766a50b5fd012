//! Calls are folded exactly once, whoever folds, and whenever they are committed.

use rungate::domain::settlement::CostSource;
use rungate::ledger::UsageBy;
use sqlx::Connection as _;

use super::stage::{Stage, execute, one_call};
use crate::ledger_contract::fixture::{Run, charge, dec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_committed_after_later_ones_is_folded_all_the_same() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    let mut slow = stage.operator().await;
    let mut settling = slow.begin().await.unwrap();
    execute(&mut settling, &one_call(&run, "0.5")).await;
    stage.write(&run, "0.25").await;
    for _ in 0..5 {
        stage.postgres.fold().await.unwrap();
    }
    assert_eq!(stage.folded().await, 0, "nothing is passed over");
    assert_eq!(stage.total().await.cost, dec("0.25"), "what is committed counts");
    settling.commit().await.unwrap();
    assert_eq!(stage.total().await.cost, dec("0.75"));
    stage.fold_all().await;
    assert_eq!(stage.folded().await, 2);
    assert_eq!(stage.total().await.cost, dec("0.75"));
    stage.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_rolled_back_leaves_a_gap_and_stops_nothing() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    let mut lost = stage.operator().await;
    let mut settling = lost.begin().await.unwrap();
    execute(&mut settling, &one_call(&run, "0.5")).await;
    stage.write(&run, "0.25").await;
    settling.rollback().await.unwrap();
    stage.fold_all().await;
    assert_eq!((stage.folded().await, stage.total().await.calls), (1, 1));
    stage.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_settle_and_fold_at_once_count_each_call_once() {
    let stage = Stage::new().await;
    let other = Stage::on(stage.database.clone()).await;
    let mut calling = tokio::task::JoinSet::new();
    for turn in 0..8 {
        let ledger = if turn % 2 == 0 { &stage.ledger } else { &other.ledger };
        let run = Run::open(ledger, "100").await;
        calling.spawn(async move {
            for _ in 0..25 {
                let grant = run.admit("0.2").await.unwrap();
                run.settle(grant, charge("0.01", 3, 4, CostSource::Usage)).await;
            }
        });
    }
    let folding = [&stage, &other, &stage].map(|by| {
        let ledger = std::sync::Arc::clone(&by.postgres);
        tokio::spawn(async move {
            loop {
                ledger.fold().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    let mut last = 0;
    while calling.join_next().await.is_some() {
        let calls = stage.total().await.calls;
        assert!(calls >= last, "a sum never falls");
        last = calls;
        stage.assert_sound().await;
    }
    for fold in folding {
        fold.abort();
    }
    stage.fold_all().await;
    let total = stage.total().await;
    assert_eq!((total.calls, stage.folded().await), (200, 200));
    assert_eq!((total.cost, total.input_tokens), (dec("2"), 600));
    stage.assert_sound().await;
}

/// Numbers of transactions begin anew on another server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_copied_from_another_server_goes_on_folding() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    stage.write(&run, "0.25").await;
    stage.postgres.fold().await.unwrap();
    stage.execute("UPDATE usage_mark SET drawn_before = '123456789012'").await;
    stage.write(&run, "0.25").await;
    stage.fold_all().await;
    assert_eq!(stage.folded().await, 2);
    stage.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_finds_a_day_that_is_not_the_sum_of_its_calls() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    stage.write(&run, "0.25").await;
    stage.fold_all().await;
    assert_eq!(stage.all(UsageBy::Model).await[0].group, "p/m");
    for wrong in ["UPDATE usage_days SET calls = calls + 1", "DELETE FROM usage_days"] {
        stage.execute(wrong).await;
        let report = rungate::ledger::postgres::check(stage.postgres.pool()).await.unwrap();
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert!(report.findings[0].0.contains("but its calls are 1 for 0.25"), "{report:?}");
    }
}
