//! Whoever cannot wait for the grace asks again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use sqlx::Connection as _;

use super::books::{assert_sound, call, charges, stream, until_in_flight, until_said};
use crate::support::client::{Client, Run};
use crate::support::postgres;
use crate::support::process::{Ended, GatewayProcess};

const PATIENT: (&str, &str) = ("SHUTDOWN_GRACE_SECONDS", "600");

async fn run(client: &Client) -> Run {
    client.register(json!({"cost_limit_usd": "1"})).await
}

/// Asks to stop a second time once the first was heard.
async fn ask_twice(gateway: &GatewayProcess) {
    gateway.ask_to_stop();
    until_said(|| gateway.said().out, "stopping: ").await;
    gateway.ask_to_stop();
}

async fn ended(gateway: GatewayProcess) -> Ended {
    tokio::task::spawn_blocking(move || gateway.ended()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_cuts_and_books_at_once_and_exits_with_130() {
    let database = postgres::database().await;
    let gateway = GatewayProcess::serve(&database, &[PATIENT]);
    let client = gateway.client.clone();
    let run = run(&client).await;
    let stream = stream(&client, &run, "tokens=1900 chunk_delay_ms=50").await;
    let call = call(&client, &run, "stall=head");
    until_in_flight(&client, &run, 2).await;

    ask_twice(&gateway).await;
    assert!(stream.await.unwrap().contains(r#""code":"unavailable""#));
    assert_eq!(call.await.unwrap().status, 503);
    let ended = ended(gateway).await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(
        ended.said.out.contains("stopping at once; the calls in flight are cut\n"),
        "{ended:?}"
    );
    assert!(ended.said.out.ends_with("2 calls cut because a second signal came\n"), "{ended:?}");
    // Its own bookings, not those of another gateway that found it dead.
    assert_sound(&database).await;
    assert_eq!(charges(&database).await, [("worst_case".to_owned(), 2)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_sigterm_ends_it_at_once_and_another_gateway_books_what_it_left() {
    let database = postgres::database().await;
    let lease = ("LEASE_SECONDS", "2");
    let gateway = GatewayProcess::serve(&database, &[PATIENT, lease]);
    let other = GatewayProcess::serve(&database, &[lease]);
    let run = run(&gateway.client).await;
    let calls: Vec<_> = (0..2).map(|_| call(&gateway.client, &run, "stall=head")).collect();
    until_in_flight(&gateway.client, &run, 2).await;
    // While this lock is held, nothing can be booked.
    let mut operator = postgres::connect(&database).await;
    let mut lock = operator.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM budgets FOR UPDATE").execute(&mut *lock).await.unwrap();

    ask_twice(&gateway).await;
    until_said(|| gateway.said().out, "stopping at once").await;
    gateway.ask_to_stop();
    let ended = ended(gateway).await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(!ended.said.err.contains("shutdown.done"), "{ended:?}");
    lock.rollback().await.unwrap();
    for call in calls {
        call.abort();
    }

    other.client.settled(&run).await;
    assert_eq!(other.terminate(), Some(0));
    assert_sound(&database).await;
    let worst = charges(&database).await;
    let booked = |name: &str| worst.get(name).copied().unwrap_or_default();
    // What was sent off before the third signal may have reached the database after all.
    assert_eq!(booked("worst_case gateway_lost") + booked("worst_case"), 2, "{worst:?}");
}

/// A folder that the account of a private Postgres can reach.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_ends_with_its_gateway_however_often_that_is_asked() {
    let folder = open_folder();
    let data_dir = folder.path().join("data");
    let settings = [PATIENT, ("DATABASE_URL", ""), ("DATA_DIR", data_dir.to_str().unwrap())];
    let postmaster = || {
        let file = data_dir.join("postgres/pgdata/postmaster.pid");
        let pid = std::fs::read_to_string(file).unwrap();
        PathBuf::from("/proc").join(pid.lines().next().unwrap())
    };
    let gateway = GatewayProcess::serve("", &settings);
    let client = gateway.client.clone();
    let run = run(&client).await;
    let cut = call(&client, &run, "stall=head");
    until_in_flight(&client, &run, 1).await;
    let process = postmaster();
    assert!(process.exists());
    ask_twice(&gateway).await;
    let ended = ended(gateway).await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(!process.exists(), "it ended before its gateway did");
    assert_eq!(cut.await.unwrap().status, 503);

    let gateway = GatewayProcess::serve("", &settings);
    let usage = gateway.client.usage(&run).await;
    assert_eq!(usage["in_flight"], 0, "{usage}");
    assert_eq!(usage["models"][0]["cost_sources"], json!({"worst_case": 1}));
    let process = postmaster();
    assert_eq!(gateway.terminate(), Some(0));
    assert!(!process.exists());
}
