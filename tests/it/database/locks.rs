//! Somebody with psql holds a lock, or a statement takes too long.

use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;

use super::stage::{COST, Stage, assert_unavailable, execute};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_locked_budget_are_refused_and_hold_up_nobody_else() {
    let stage = Stage::new().await;
    let mut others = Vec::new();
    // Enough that some share the locked run's lane.
    for _ in 0..8 {
        others.push(stage.client.register(json!({"cost_limit_usd": "1"})).await);
    }
    let mut operator = stage.operator().await;
    let lock = format!(
        "BEGIN; SELECT 1 FROM budgets WHERE scope_id = '{}' ORDER BY id FOR UPDATE",
        stage.run.id
    );
    execute(&mut operator, &lock).await;
    let stuck: Vec<_> = (0..20).map(|_| stage.start(&stage.run)).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        let served: Vec<_> = others.iter().map(|run| stage.start(run)).collect();
        for call in served {
            assert_eq!(call.await.unwrap().status, 200, "it has nothing to do with the lock");
        }
    }
    assert_eq!(stage.provider.seen().len(), 16, "nothing of the locked run is forwarded");
    for call in stuck {
        assert_unavailable(&call.await.unwrap());
    }

    execute(&mut operator, "ROLLBACK").await;
    stage.until_served().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_run_refuses_changes_and_still_serves() {
    let stage = Stage::new().await;
    let mut operator = stage.operator().await;
    let lock = format!("BEGIN; SELECT 1 FROM runs WHERE id = '{}' FOR UPDATE", stage.run.id);
    execute(&mut operator, &lock).await;
    assert_eq!(stage.ask().await.status, 200, "an admission reads the run and locks it not");
    let refused = stage.client.close(&stage.run, &json!({"mode": "drain"})).await;
    assert_unavailable(&refused);
    execute(&mut operator, "ROLLBACK").await;
    let bill = stage.client.close(&stage.run, &json!({"mode": "drain"})).await.json();
    assert_eq!((&bill["spent_usd"], &bill["settlement"]), (&json!(COST), &json!("final")));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_refuses_calls_and_settles_the_one_under_way_later() {
    let stage = Stage::new().await;
    let call = stage.under_way().await;
    let mut operator = stage.operator().await;
    execute(&mut operator, "BEGIN; LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE").await;
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200, "the client has its answer all the same");
    stage.assert_refused().await;
    execute(&mut operator, "ROLLBACK").await;
    let usage = stage.end().await;
    assert_eq!(usage["spent_usd"], COST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_that_somebody_provokes_costs_a_moment_and_no_call() {
    let mut stage = Stage::new().await;
    stage.run = stage.client.register(json!({"cost_limit_usd": "1", "call_limit": 9})).await;
    let mut operator = stage.operator().await;
    // Against the order that everybody keeps: the gateway holds the first and waits for the last.
    let lock = |order: &str| {
        let run = &stage.run.id;
        format!(
            "SELECT 1 FROM (SELECT id FROM budgets WHERE scope_id = '{run}' \
             ORDER BY id {order} LIMIT 1) AS b JOIN budgets USING (id) FOR UPDATE OF budgets"
        )
    };
    // The gateway is the one that finds the circle.
    execute(&mut operator, "BEGIN; SET LOCAL deadlock_timeout = '10s'").await;
    execute(&mut operator, &lock("DESC")).await;
    let call = stage.start(&stage.run);
    tokio::time::sleep(Duration::from_millis(200)).await;
    execute(&mut operator, &lock("ASC")).await;
    execute(&mut operator, "COMMIT").await;
    assert_eq!(call.await.unwrap().status, 200);
    let usage = stage.end().await;
    assert_eq!(usage["spent_usd"], COST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_admits_nothing() {
    let stage = Stage::new().await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; \
        CREATE TRIGGER slow BEFORE INSERT ON reservations FOR EACH ROW EXECUTE FUNCTION slow()";
    stage.execute(slow).await;
    // What the server does by itself after its time, at once.
    let database = stage.database.clone();
    let cancelling = tokio::spawn(async move {
        let mut operator = crate::support::postgres::connect(&database).await;
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let mut cancelled = 0_i64;
        loop {
            let row = sqlx::query(cancel).fetch_one(&mut operator).await.unwrap();
            cancelled += row.get::<i64, _>(0);
            if cancelled >= 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    stage.assert_refused().await;
    cancelling.await.unwrap();
    stage.execute("DROP TRIGGER slow ON reservations").await;
    stage.until_served().await;
    assert_eq!(stage.end().await["spent_usd"], COST);
}
