//! `rungate health`, as a container platform runs it.

use std::net::{SocketAddr, TcpListener};
use std::process::Output;

use serde_json::json;

use crate::support::client::prompt;
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::process::GatewayProcess;
use crate::support::provider::{ScriptedProvider, Then};
use crate::support::watch;

/// The command, for the gateway of this LISTEN_ADDR.
async fn health(listen: &str, arguments: &[&str]) -> Output {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_rungate"))
        .arg("health")
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        // It asks its own machine, whatever stands between that and the world.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("LISTEN_ADDR", listen)
        .output()
        .await
        .unwrap();
    watch::output(&output);
    output
}

#[track_caller]
fn assert_said(output: &Output, code: i32, line: &str) {
    let said = if code == 0 { &output.stdout } else { &output.stderr };
    assert_eq!(String::from_utf8_lossy(said), format!("{line}\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(output.stdout.len() + output.stderr.len(), line.len() + 1, "{output:?}");
}

/// Whoever listens there, answering every request with these bytes.
async fn impostor(bytes: &str, then: Then) -> SocketAddr {
    ScriptedProvider::answering(bytes, then).await.address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_healthy_while_it_can_admit_calls() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let address = gateway.running.data_addr;
    let port = address.port();
    for listen in [address.to_string(), format!("0.0.0.0:{port}")] {
        let ready = format!("http://127.0.0.1:{port}/readyz: ready");
        assert_said(&health(&listen, &[]).await, 0, &ready);
        let alive = format!("http://127.0.0.1:{port}/healthz: ok");
        assert_said(&health(&listen, &["--live"]).await, 0, &alive);
    }
    gateway.running.gateway.drain();
    let drains = health(&address.to_string(), &[]).await;
    assert_eq!(drains.status.code(), Some(1), "{drains:?}");
    let said = String::from_utf8_lossy(&drains.stderr);
    let begins = format!("rungate: http://{address}/readyz answered 503 Service Unavailable: ");
    assert!(said.starts_with(&begins) && said.lines().count() == 1, "{said}");
    assert_eq!(health(&address.to_string(), &["--live"]).await.status.code(), Some(0));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_gives_notice_is_not_healthy_and_still_admits() {
    let database = postgres::database().await;
    let notice = ("SHUTDOWN_NOTICE_SECONDS", "86400");
    let gateway = GatewayProcess::serve(&database, &[notice]);
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let address = client.data.trim_start_matches("http://").to_owned();
    assert_eq!(health(&address, &[]).await.status.code(), Some(0));
    gateway.ask_to_stop();
    let mut polls = 0..400;
    while health(&address, &[]).await.status.code() == Some(0) {
        polls.next().expect("it is ready although it was asked to stop");
    }
    assert_eq!(health(&address, &["--live"]).await.status.code(), Some(0));
    let ready = client.http.get(format!("{}/readyz", client.admin)).send().await.unwrap();
    assert_eq!(ready.status(), 503, "the control plane says the same");
    let answer = client.chat(&run, &prompt("Hello")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.settled(&run).await["calls"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_else_listens_is_not_healthy_and_one_line_says_why() {
    let silent = impostor("", Then::Stall).await;
    let line = format!("rungate: http://{silent}/readyz did not answer in 2s");
    assert_said(&health(&silent.to_string(), &[]).await, 1, &line);

    let other = impostor("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Then::Close).await;
    let line = format!(
        "rungate: http://{other}/readyz answered 200 OK, and not as rungate does; check LISTEN_ADDR"
    );
    assert_said(&health(&other.to_string(), &[]).await, 1, &line);

    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: /healthz\r\ncontent-length: 0\r\n\r\n";
    let elsewhere = impostor(elsewhere, Then::Close).await;
    let line = format!("rungate: http://{elsewhere}/readyz answered 302 Found");
    assert_said(&health(&elsewhere.to_string(), &[]).await, 1, &line);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = format!(
        "rungate: http://{closed}/readyz cannot be reached; LISTEN_ADDR says where `rungate serve` \
         listens"
    );
    assert_said(&health(&closed.to_string(), &[]).await, 1, &line);

    let line = "rungate: LISTEN_ADDR has port 0, so nobody knows where the gateway listens; name \
                a port";
    assert_said(&health("[::]:0", &[]).await, 1, line);
}
