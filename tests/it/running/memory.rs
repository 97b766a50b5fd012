//! What a gateway holds goes when its calls go.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::books::{assert_sound, charges, stream, until_in_flight};
use crate::support::client::Answer;
use crate::support::postgres;
use crate::support::process::GatewayProcess;

const STREAMS: usize = 500;
/// The first rounds fill pools and caches; growth is looked for after them.
const ROUNDS: usize = 4;
/// What the allocator may keep from one round to the other, in kilobytes; what one stream holds
/// while it is open, left behind by 500, would be five times as much.
const SLACK_KB: u64 = 8_192;

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// 500 connections here, and their other ends there.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// The value of a gauge without labels.
fn gauge(metrics: &str, name: &str) -> Option<String> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_leave_nothing_behind() {
    raise_file_limit();
    let database = postgres::database().await;
    let gateway = GatewayProcess::serve(&database, &[("RUST_LOG", "warn")]);
    let client = gateway.client.clone();
    let run = json!({"cost_limit_usd": "100", "max_concurrency": STREAMS});
    let run = client.register(run).await;
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        let open = (0..STREAMS).map(|place| {
            // Half of them end; the clients of the others leave.
            let directive = if place % 2 == 0 { "tokens=6 chunk_delay_ms=50" } else { "tokens=9" };
            stream(&client, &run, directive)
        });
        for (place, stream) in join_all(open).await.into_iter().enumerate() {
            match place % 4 {
                1 => stream.abort(),
                _ => assert!(stream.await.unwrap().ends_with("data: [DONE]\n\n"), "{round}"),
            }
        }
        until_in_flight(&client, &run, 0).await;
        held.push(resident_kb(gateway.pid()));
    }
    // What is left behind stays, so the lower of two rounds tells it; peaks come and go.
    let (early, late) = (held[0].max(held[1]), held[2].min(held[3]));
    assert!(late <= early + SLACK_KB, "kilobytes after each round: {held:?}");

    // The gauges are written once a second, the lease's more rarely.
    let empty = ["rungate_calls_in_flight", "rungate_calls_waiting", "rungate_tasks"];
    let mut metrics = String::new();
    for _ in 0..100 {
        let request = client.operator(reqwest::Method::GET, "/metrics");
        metrics = Answer::of(request.send().await.unwrap()).await.text;
        if empty.iter().all(|name| gauge(&metrics, name).as_deref() == Some("0")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for name in empty {
        assert_eq!(gauge(&metrics, name).as_deref(), Some("0"), "{name}: {metrics}");
    }
    assert_eq!(gauge(&metrics, "rungate_runs_known").as_deref(), Some("1"));
    let ended = tokio::task::spawn_blocking(move || gateway.terminate()).await.unwrap();
    assert_eq!(ended, Some(0));
    assert_sound(&database).await;
    let all = i64::try_from(STREAMS * ROUNDS).unwrap();
    assert_eq!(charges(&database).await.values().sum::<i64>(), all);
}
