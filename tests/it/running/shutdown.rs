//! SIGTERM while there is work.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::json;

use super::books::{assert_sound, call, charges, stream, until_in_flight, until_said};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::postgres;
use crate::support::process::{Ended, GatewayProcess};
use crate::support::provider::ScriptedProvider;

/// Waits for a process's end without holding up whoever else works here.
async fn ended(gateway: GatewayProcess) -> Ended {
    tokio::task::spawn_blocking(move || gateway.ended()).await.unwrap()
}

/// A connection that has made a call and stays open.
async fn idle_connection(client: &Client, run: &Run) -> std::net::TcpStream {
    let address = client.data.strip_prefix("http://").unwrap().to_owned();
    let token = run.token.clone();
    let connected = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        write!(
            socket,
            "GET /v1/models/gpt-4o-mini HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
        socket
    });
    connected.await.unwrap()
}

async fn get(client: &Client, path: &str) -> Answer {
    Answer::of(client.http.get(format!("{}{path}", client.data)).send().await.unwrap()).await
}

/// That a gateway which drains did not take a call.
fn assert_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-error-origin"), Some("gateway"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_refuses_what_comes_after() {
    let database = postgres::database().await;
    let settings = [("SHUTDOWN_GRACE_SECONDS", "60"), ("ACTIVATION_WAIT_SECONDS", "60")];
    let gateway = GatewayProcess::serve(&database, &settings);
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let pending = client.register(json!({"cost_limit_usd": "1", "status": "pending"})).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(stream(&client, &run, "tokens=40 chunk_delay_ms=40").await);
    }
    let calls: Vec<_> = (0..6).map(|_| call(&client, &run, "tokens=7 delay_ms=1500")).collect();
    // Its client leaves, and the answer is still read to its usage.
    stream(&client, &run, "tokens=40 chunk_delay_ms=40").await.abort();
    until_in_flight(&client, &run, 15).await;
    // One call of a small cap is under way, and the next waits for its money.
    let poor = client.register(json!({"cost_limit_usd": "0.0001"})).await;
    let spends = call(&client, &poor, "tokens=7 delay_ms=1500");
    until_in_flight(&client, &poor, 1).await;
    let waits_for_money = call(&client, &poor, "tokens=7");
    let waits_for_its_run = call(&client, &pending, "tokens=7");
    let mut idle = idle_connection(&client, &run).await;
    tokio::time::sleep(Duration::from_millis(100)).await;

    gateway.ask_to_stop();
    let said = || gateway.said().out;
    until_said(said, "stopping: 16 calls in flight may take 60 s to end").await;
    assert_refused(&get(&client, "/readyz").await);
    assert_refused(&client.ask(&run, &prompt("too late")).await);
    assert_eq!(get(&client, "/healthz").await.status, 200);
    assert_refused(&waits_for_money.await.unwrap());
    assert_refused(&waits_for_its_run.await.unwrap());
    for stream in streams {
        let text = stream.await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    for call in calls.into_iter().chain([spends]) {
        assert_eq!(call.await.unwrap().status, 200);
    }

    let ended = ended(gateway).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.said.err.contains("shutdown.done") && !ended.said.err.contains("shutdown.cut"));
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0, "an idle connection is closed in order");
    assert_sound(&database).await;
    assert_eq!(charges(&database).await, [("usage".to_owned(), 16)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_cut_booked_and_said() {
    let database = postgres::database().await;
    let gateway = GatewayProcess::serve(&database, &[("SHUTDOWN_GRACE_SECONDS", "1")]);
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let stream = stream(&client, &run, "tokens=1900 chunk_delay_ms=50").await;
    let call = call(&client, &run, "stall=head");
    until_in_flight(&client, &run, 2).await;

    gateway.ask_to_stop();
    let text = stream.await.unwrap();
    assert!(text.contains(r#""code":"unavailable""#) && !text.contains("(broken)"), "{text}");
    assert_refused(&call.await.unwrap());
    let ended = ended(gateway).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.said.out.ends_with("\n2 calls cut after 1 s\n"), "{ended:?}");
    assert!(ended.said.err.contains("shutdown.cut"), "{ended:?}");
    assert_sound(&database).await;
    assert_eq!(charges(&database).await, [("worst_case".to_owned(), 2)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_its_whole_answer_within_the_grace() {
    let database = postgres::database().await;
    // More than the sockets' buffers hold, so that the gateway still has some of it.
    let text = "x".repeat(24 << 20);
    let body = json!({
        "id": "1", "object": "chat.completion", "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    });
    let provider = ScriptedProvider::json(&body.to_string()).await;
    let base = provider.base_url();
    let settings = [
        ("SHUTDOWN_GRACE_SECONDS", "60"),
        ("SIMULATE_PROVIDERS", "false"),
        ("OPENAI_BASE_URL", base.as_str()),
    ];
    let gateway = GatewayProcess::serve(&database, &settings);
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let answer = client.chat(&run, &prompt("tell me everything")).send().await.unwrap();
    client.settled(&run).await;

    gateway.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let read = answer.bytes().await.unwrap();
    assert!(read.len() > text.len(), "{} bytes", read.len());
    assert_eq!(ended(gateway).await.code, Some(0));
    assert_sound(&database).await;
}
