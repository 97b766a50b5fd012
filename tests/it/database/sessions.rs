//! The database takes the gateway's sessions away: it only reads, it knows the gateway's role no
//! longer, it has no connection left.

use sqlx::Connection as _;
use uuid::Uuid;

use super::stage::{COST, Stage, execute};
use crate::support::postgres;

/// Breaks the role that a gateway connects as by `breaking`, ends its sessions, and mends it.
async fn check_role(breaking: &str, mending: &str) {
    let database = postgres::database().await;
    let role = format!("role_{}", Uuid::new_v4().simple());
    let mut operator = postgres::connect(&database).await;
    let create = format!(
        "DO $$ BEGIN EXECUTE format('CREATE ROLE {role} LOGIN IN ROLE %I', current_user); END $$; \
         GRANT ALL ON SCHEMA public TO {role}"
    );
    execute(&mut operator, &create).await;
    let reached = postgres::as_role(&database, &role);
    let stage = Stage::on(database, &reached).await;
    let call = stage.under_way().await;

    execute(&mut operator, &breaking.replace("$role", &role)).await;
    let terminate =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    execute(&mut operator, &terminate).await;
    stage.assert_refused().await;
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200, "a call under way is answered all the same");
    for _ in 0..100 {
        if !stage.is_ready().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!stage.is_ready().await, "readiness says so");
    stage.assert_refused().await;

    // Nobody ends the sessions that were made meanwhile: the gateway does.
    execute(&mut operator, &mending.replace("$role", &role)).await;
    stage.until_served().await;
    let usage = stage.client.settled(&stage.run).await;
    assert_eq!(usage["models"][0]["cost_sources"], serde_json::json!({"usage": 2}));
    assert_ne!(usage["spent_usd"], COST);
    let changed = stage.client.close(&stage.run, &serde_json::json!({"mode": "drain"})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    stage.end().await;
    operator.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_only_reads_is_left_for_one_that_writes() {
    let mend = "ALTER ROLE $role RESET default_transaction_read_only";
    check_role("ALTER ROLE $role SET default_transaction_read_only = on", mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_the_database_refuses_is_waited_for() {
    check_role("ALTER ROLE $role NOLOGIN", "ALTER ROLE $role LOGIN").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_connection_left_is_waited_for() {
    let mend = "ALTER ROLE $role CONNECTION LIMIT -1";
    check_role("ALTER ROLE $role CONNECTION LIMIT 0", mend).await;
}
