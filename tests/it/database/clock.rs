//! A gateway whose clock is hours off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;

use super::stage::{assert_sound, execute};
use crate::support::client::prompt;
use crate::support::postgres;
use crate::support::process::GatewayProcess;

const LEASE: (&str, &str) = ("LEASE_SECONDS", "2");

/// Where Debian keeps it, on any of its architectures.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut candidates = folders.map(|it| it.path().join("faketime/libfaketime.so.1"));
    candidates.find(|path| path.exists()).expect("the package `libfaketime` is to be installed")
}

/// A gateway with a clock of its own, which `offset` sets, again and again.
fn gateway_with_clock(database: &str, offset: &Path) -> GatewayProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rungate"));
    command.arg("serve").env("LD_PRELOAD", libfaketime());
    command.env("FAKETIME_TIMESTAMP_FILE", offset).env("FAKETIME_NO_CACHE", "1");
    command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    GatewayProcess::start(&mut command, database, &[LEASE]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_by_hours_costs_nobody_a_lease_or_a_call() {
    let database = postgres::database().await;
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let jumping = gateway_with_clock(&database, &offset);
    let steady = GatewayProcess::serve(&database, &[LEASE]);
    let run = steady.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut operator = postgres::connect(&database).await;
    let slow = prompt("[[sim tokens=20 delay_ms=2500]] over all jumps");
    let call = tokio::spawn(jumping.client.chat(&run, &slow).send());

    for jump in ["+7h", "-9h", "+30d", "+0"] {
        std::fs::write(&offset, jump).unwrap();
        for _ in 0..5 {
            for gateway in [&jumping, &steady] {
                let answer = gateway.client.ask(&run, &prompt("hello")).await;
                assert_eq!(answer.status, 200, "{jump}: {}", answer.text);
            }
        }
        // Long enough for a lease to lapse, were it by this clock.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let dead = sqlx::query("SELECT count(*) FROM gateways WHERE dead").fetch_one(&mut operator);
        assert_eq!(dead.await.unwrap().get::<i64, _>(0), 0, "{jump}: nobody is declared dead");
    }
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    let usage = steady.client.settled(&run).await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 41}), "ids are unique");
    // The clock was in fact off: ids tell the gateway's time, `created_at` the database's.
    let apart = "DO $$ BEGIN ASSERT (SELECT count(*) FROM calls WHERE abs(extract(epoch FROM \
        created_at) - ('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000) \
        > 3600) >= 10; END $$";
    execute(&mut operator, apart).await;
    assert_eq!(jumping.terminate(), Some(0));
    assert_eq!(steady.terminate(), Some(0));
    assert_sound(&database).await;
}
