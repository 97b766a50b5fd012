//! Processes die and databases go away; no call is lost and none is charged a wrong amount.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{Connection as _, Row as _};

use crate::support::client::{Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::process::GatewayProcess;

/// A short lease, so that a sweep comes soon.
const LEASE: (&str, &str) = ("LEASE_SECONDS", "2");

async fn assert_sound(database: &str) {
    let options = rungate::ledger::postgres::connect_options(database).unwrap();
    let pool = rungate::ledger::postgres::connect(options).await.unwrap();
    let report = rungate::ledger::postgres::check(&pool).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.reservations, 0);
}

/// A call that the provider answers after so many milliseconds, under way.
fn slow_call(client: &Client, run: &Run, delay_ms: u32) -> tokio::task::JoinHandle<Option<u16>> {
    let mut body = prompt(&format!("[[sim tokens=33 delay_ms={delay_ms}]] a slow one"));
    body["max_tokens"] = json!(500);
    let request = client.chat(run, &body);
    tokio::spawn(async move { request.send().await.ok().map(|answer| answer.status().as_u16()) })
}

async fn until_in_flight(client: &Client, run: &Run) {
    for _ in 0..400 {
        if client.usage(run).await["in_flight"] == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the call was never admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateways_call_is_charged_its_worst_case_once_by_another() {
    let database = postgres::database().await;
    let doomed = GatewayProcess::serve(&database, &[LEASE]);
    let other = GatewayProcess::serve(&database, &[LEASE]);
    let run = other.client.register(json!({"cost_limit_usd": "1"})).await;
    let call = slow_call(&doomed.client, &run, 60_000);
    until_in_flight(&other.client, &run).await;
    let reserved = other.client.usage(&run).await["reserved_usd"].clone();

    doomed.kill();
    assert_eq!(call.await.unwrap(), None, "the client's connection breaks");
    let usage = other.client.settled(&run).await;

    assert_eq!(usage["spent_usd"], reserved);
    assert_eq!(usage["models"][0]["cost_sources"], json!({"worst_case": 1}));
    let calls = other.client.calls(&run).await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["flag"], "gateway_lost");
    assert_sound(&database).await;
}

/// `outage` is how long the database is away, in milliseconds.
async fn check_outage(outage: u64) {
    let folder = std::env::temp_dir().join(format!("rungate-it-{}", uuid::Uuid::new_v4()));
    let cluster = postgres::cluster(&folder);
    let gateway = TestGateway::serve(&cluster.url(), &[LEASE]).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let call = slow_call(client, &run, 500);
    until_in_flight(client, &run).await;

    cluster.stop_immediate().unwrap();
    let refused = client.ask(&run, &prompt("while it is away")).await;
    assert_eq!((refused.status, refused.code()), (503, "unavailable".to_owned()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(call.await.unwrap(), Some(200), "a call under way is answered all the same");
    tokio::time::sleep(Duration::from_millis(outage)).await;
    cluster.restart().unwrap();

    let usage = client.settled(&run).await;
    let model = &usage["models"][0];
    assert_eq!(model["cost_sources"], json!({"usage": 1}));
    assert_eq!(model["output_tokens"], 33);
    // gpt-4o-mini: $0.15 and $0.60 for a million tokens.
    let nanos = model["input_tokens"].as_u64().unwrap() * 150 + 33 * 600;
    let exact = Decimal::new(i64::try_from(nanos).unwrap(), 9).normalize();
    assert_eq!(usage["spent_usd"], exact.to_string());
    let answer = client.ask(&run, &prompt("back again")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    client.settled(&run).await;
    assert_sound(&cluster.url()).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_a_crash_of_postgres_is_settled_exactly() {
    check_outage(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_the_lease_costs_no_live_call_its_exact_bill() {
    check_outage(3_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_whose_answer_was_lost_is_released() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[LEASE]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    // What a lost answer leaves behind: a reservation in the gateway's name that it does not know.
    let mut connection = postgres::connect(&database).await;
    let row = sqlx::query("SELECT id FROM gateways").fetch_one(&mut connection).await.unwrap();
    let owner: uuid::Uuid = row.get(0);
    sqlx::query(
        "WITH b AS (UPDATE budgets SET reserved = 0.5 WHERE scope_id = $1::uuid RETURNING id) \
         INSERT INTO reservations (organization_id, id, gateway_id, run_id, attempt, budget_ids, \
         usd, tokens, request_id, model, provider, endpoint, price_version, input_bound, \
         output_bound, created_at) SELECT '00000000-0000-0000-0000-000000000001', \
         gen_random_uuid(), $2, $1::uuid, 1, array_agg(id), 0.5, 10, 'lost', 'gpt-4o-mini', \
         'openai', '/v1/chat/completions', 'test', 5, 5, now() - interval '1 minute' FROM b",
    )
    .bind(&run.id)
    .bind(owner)
    .execute(&mut connection)
    .await
    .unwrap();

    let usage = gateway.client.settled(&run).await;
    assert_eq!(usage["spent_usd"], "0");
    assert_eq!(usage["reserved_usd"], "0");
    assert_eq!(gateway.client.calls(&run).await[0]["flag"], "orphaned");
    assert_sound(&database).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_stream_end_and_exits_with_0() {
    let database = postgres::database().await;
    let gateway = GatewayProcess::serve(&database, &[("SHUTDOWN_GRACE_SECONDS", "20")]);
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let mut body = prompt("[[sim tokens=40 chunk_delay_ms=25]] stream");
    body["stream"] = json!(true);
    let mut stream = client.chat(&run, &body).send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();

    let ending = tokio::task::spawn_blocking(move || gateway.terminate());
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
    }
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(ending.await.unwrap(), Some(0));
    assert_sound(&database).await;
}

/// A folder that the account of a private Postgres can reach.
fn open_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rungate-it-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgres_outlives_its_gateway_in_data_only() {
    let folder = open_folder();
    let data_dir = folder.to_str().unwrap();
    let settings = [("DATABASE_URL", ""), ("DATA_DIR", data_dir)];
    let gateway = GatewayProcess::serve("", &settings);
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    let before = gateway.client.settled(&run).await;
    let pid_file = folder.join("postgres/pgdata/postmaster.pid");
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let process = PathBuf::from("/proc").join(pid.lines().next().unwrap());
    assert!(process.exists());

    gateway.kill();
    for _ in 0..500 {
        if !process.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!process.exists(), "a killed gateway leaves no Postgres behind");

    let gateway = GatewayProcess::serve("", &settings);
    assert_eq!(gateway.client.usage(&run).await, before, "what was spent is still known");
    assert_eq!(gateway.terminate(), Some(0));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_budget_holds_up_the_settlements_of_its_own_run_alone() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let client = &gateway.client;
    let locked = client.register(json!({"cost_limit_usd": "1"})).await;
    // Enough others that some share the locked run's lane.
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(client.register(json!({"cost_limit_usd": "1"})).await);
    }
    // The locked run's call ends first, so that the others' settlements find it in the way.
    let mut calls = vec![slow_call(client, &locked, 1_500)];
    calls.extend(others.iter().map(|run| slow_call(client, run, 2_200)));
    for run in std::iter::once(&locked).chain(&others) {
        until_in_flight(client, run).await;
    }
    let mut operator = postgres::connect(&database).await;
    let mut lock = operator.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM budgets WHERE scope_id = $1::uuid FOR UPDATE")
        .bind(&locked.id)
        .execute(&mut *lock)
        .await
        .unwrap();

    for call in calls {
        assert_eq!(call.await.unwrap(), Some(200));
    }
    for run in &others {
        client.settled(run).await;
    }
    assert_eq!(client.usage(&locked).await["in_flight"], 1, "its budget is locked");
    lock.rollback().await.unwrap();
    let usage = client.settled(&locked).await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 1}));
    assert_sound(&database).await;
    gateway.stop().await;
}
