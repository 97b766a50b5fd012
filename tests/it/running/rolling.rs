//! Gateways are replaced one after the other while their clients go on calling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::books::{assert_sound, charges};
use super::proxy::{self, Backends};
use crate::support::client::{Client, Run, prompt};
use crate::support::postgres;
use crate::support::process::GatewayProcess;

/// Clients that call all the time, plain and streamed.
const CLIENTS: u64 = 6;
const SETTINGS: [(&str, &str); 2] =
    [("SHUTDOWN_NOTICE_SECONDS", "1"), ("SHUTDOWN_GRACE_SECONDS", "60")];

/// Calls until it is told to stop; whatever fails fails the test.
async fn keep_calling(client: Client, run: Run, streamed: bool, stop: Arc<AtomicBool>) -> u64 {
    let mut calls = 0;
    while !stop.load(Ordering::Acquire) {
        let mut body = prompt("[[sim tokens=20 chunk_delay_ms=10 delay_ms=20]] sentinel");
        body["max_tokens"] = json!(100);
        body["stream"] = json!(streamed);
        let answer = client.chat(&run, &body).send().await.expect("an answer begins");
        let status = answer.status();
        let text = answer.text().await.expect("an answer ends");
        assert_eq!(status, 200, "{text}");
        if streamed {
            assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        }
        calls += 1;
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    let database = postgres::database().await;
    let start = |database: &str| GatewayProcess::serve(database, &SETTINGS);
    let mut gateways = [start(&database), start(&database)];
    let address = |gateway: &GatewayProcess| {
        gateway.client.data.strip_prefix("http://").unwrap().parse().unwrap()
    };
    let backends = Backends::new([address(&gateways[0]), address(&gateways[1])]);
    let proxy = proxy::start(backends.clone()).await;
    let run = gateways[0].client.register(json!({"cost_limit_usd": "10"})).await;
    let through = Client { data: format!("http://{proxy}"), ..gateways[0].client.clone() };
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CLIENTS)
        .map(|place| {
            let (client, run, stop) = (through.clone(), run.clone(), Arc::clone(&stop));
            tokio::spawn(keep_calling(client, run, place % 2 == 0, stop))
        })
        .collect();

    for restart in 0..4 {
        let place = restart % 2;
        let other = database.clone();
        gateways[place].ask_to_stop();
        let next = tokio::task::spawn_blocking(move || GatewayProcess::serve(&other, &SETTINGS));
        let old = std::mem::replace(&mut gateways[place], next.await.unwrap());
        let ended = tokio::task::spawn_blocking(move || old.ended()).await.unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.said.err.contains("shutdown.cut"), "{ended:?}");
        backends.replace(place, address(&gateways[place]));
        while !backends.is_ready(place) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::Release);
    for caller in callers {
        answered.fetch_add(caller.await.unwrap(), Ordering::AcqRel);
    }

    for gateway in gateways {
        let ended = tokio::task::spawn_blocking(move || gateway.terminate()).await.unwrap();
        assert_eq!(ended, Some(0));
    }
    assert_sound(&database).await;
    let calls = i64::try_from(answered.load(Ordering::Acquire)).unwrap();
    assert!(calls > 50, "{calls} calls");
    assert_eq!(charges(&database).await, [("usage".to_owned(), calls)].into());
}
