//! Nobody holds a call open: not a client that does not read, not one that leaves at a bad moment,
//! not a cut whose notification was lost.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::client::{Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::provider::{ScriptedProvider, Then};

/// Sends a call over a bare socket, and reads nothing.
fn send_bare(client: &Client, run: &Run, body: &Value) -> std::net::TcpStream {
    let address = client.data.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let body = body.to_string();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        run.token,
        body.len()
    )
    .unwrap();
    socket
}

/// Opens a stream, reads its head and then nothing more.
fn stop_reading(client: &Client, run: &Run, body: &Value) -> std::net::TcpStream {
    let mut socket = send_bare(client, run, body);
    socket.read_exact(&mut [0; 64]).unwrap();
    socket
}

async fn one_call(client: &Client, run: &Run) -> Value {
    client.settled(run).await;
    let calls = client.calls(run).await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut_and_charged_all_the_same() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "100"})).await;
    let mut body = prompt("[[sim endless]] never read");
    body["stream"] = json!(true);
    body["max_tokens"] = json!(16_000);
    let (reader, whose) = (client.clone(), run.clone());
    let socket = tokio::task::spawn_blocking(move || stop_reading(&reader, &whose, &body));
    let unread = socket.await.unwrap();

    let bill = client.close(&run, &json!({"mode": "abort", "wait_seconds": 30})).await;
    assert_eq!(bill.status, 200, "{}", bill.text);
    assert_eq!(bill.json()["settlement"], "final");
    let call = one_call(client, &run).await;
    assert_eq!(call["cost_source"], "estimate");
    drop(unread);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_cannot_outlast_the_deadline() {
    let database = postgres::database().await;
    let settings = [("UPSTREAM_TIMEOUT_SECONDS", "2")];
    let gateway = TestGateway::serve(&database, &settings).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "100"})).await;
    let mut body = prompt("[[sim endless]] never read");
    body["stream"] = json!(true);
    let (reader, whose) = (client.clone(), run.clone());
    let socket = tokio::task::spawn_blocking(move || stop_reading(&reader, &whose, &body));
    let unread = socket.await.unwrap();

    assert_eq!(one_call(client, &run).await["cost_source"], "worst_case");
    drop(unread);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_whose_notification_was_lost_is_heard_all_the_same() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "100"})).await;
    let mut body = prompt("[[sim tokens=5000 chunk_delay_ms=50]] long");
    body["stream"] = json!(true);
    let mut stream = client.chat(&run, &body).send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();

    let mut connection = postgres::connect(&database).await;
    sqlx::query("UPDATE runs SET state = 'cancelled', cut = true, version = version + 1")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut rest = String::new();
    while let Some(Ok(chunk)) = stream.next().await {
        rest.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(rest.contains("\"code\":\"run_closed\""), "{rest}");
    assert_eq!(one_call(client, &run).await["cost_source"], "estimate");
    gateway.stop().await;
}

/// A provider that answers `head` and then stalls; the client leaves meanwhile.
async fn leave_during(head: &str, streamed: bool) -> (Value, TestGateway) {
    let provider = ScriptedProvider::answering(head, Then::Stall).await;
    let database = postgres::database().await;
    let base = provider.base_url();
    let settings = [
        ("SIMULATE_PROVIDERS", "false"),
        ("OPENAI_BASE_URL", base.as_str()),
        ("UPSTREAM_IDLE_TIMEOUT_SECONDS", "1"),
    ];
    let gateway = TestGateway::serve(&database, &settings).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut body = prompt("hello");
    body["stream"] = json!(streamed);
    let call = tokio::spawn(gateway.client.chat(&run, &body).send());
    for _ in 0..400 {
        if !provider.seen().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    call.abort();
    (one_call(&gateway.client, &run).await, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_provider_costs_nothing_whenever_the_client_leaves() {
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n\
                content-length: 500\r\n\r\n{\"error\":";
    let (call, gateway) = leave_during(head, false).await;
    assert_eq!(call["cost_source"], "none");
    assert_eq!(call["cost_usd"], "0");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_says_that_the_gateway_and_not_the_run_is_at_its_end() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let mut body = prompt("[[sim stall=head]] never answered");
    body["max_tokens"] = json!(10);
    let call = tokio::spawn(client.chat(&run, &body).send());
    for _ in 0..400 {
        if client.usage(&run).await["in_flight"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = gateway.running.shutdown(Duration::ZERO).await;
    assert!(report.cut >= 1);
    assert!(!report.unwritten);
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");

    let options = rungate::ledger::postgres::connect_options(&database).unwrap();
    let pool = rungate::ledger::postgres::connect(options).await.unwrap();
    let report = rungate::ledger::postgres::check(&pool).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.reservations, 0, "the cut call was charged its worst case and written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cut_before_anything_was_sent_costs_nothing() {
    // It takes connections and never says a word, so no TLS session comes about.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1", silent.local_addr().unwrap());
    let database = postgres::database().await;
    let settings = [("SIMULATE_PROVIDERS", "false"), ("OPENAI_BASE_URL", base.as_str())];
    let gateway = TestGateway::serve(&database, &settings).await;
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let call = tokio::spawn(client.chat(&run, &prompt("hello")).send());
    for _ in 0..400 {
        if client.usage(&run).await["in_flight"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bill = client.close(&run, &json!({"mode": "abort"})).await.json();
    assert_eq!((&bill["settlement"], &bill["spent_usd"]), (&json!("final"), &json!("0")));
    assert_eq!(one_call(&client, &run).await["cost_source"], "none");
    assert_eq!(call.await.unwrap().unwrap().status(), 403);
    gateway.stop().await;
}

/// A process that goes down without waiting drops its calls where no task can be started any more.
#[test]
fn a_call_that_outlives_the_runtime_ends_by_being_dropped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateway = runtime.block_on(TestGateway::dev(&[]));
    let run = Run { id: String::new(), token: uuid::Uuid::new_v4().to_string() };
    let body = prompt("[[sim stall=head]] never answered");
    let socket = send_bare(&gateway.client, &run, &body);
    let shared = std::sync::Arc::clone(&gateway.running.gateway);
    let reaches = |calls: fn(usize) -> bool| {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            calls(shared.in_flight())
        })
    };
    // The request and the admitted call.
    assert!(reaches(|calls| calls == 2), "the call is under way");

    runtime.shutdown_background();
    drop(socket);
    assert!(reaches(|calls| calls == 0), "the call has ended");
}
