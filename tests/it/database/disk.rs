//! The disk of Postgres is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::stage::{Stage, execute};
use crate::support::postgres;

/// A small file system in memory, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("rungate-disk-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let disk = Self(folder);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs"]).arg(&disk.0);
        mount.output().is_ok_and(|done| done.status.success()).then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).output();
        let _removed = std::fs::remove_dir(&self.0);
    }
}

/// Writes until nothing fits any more.
fn fill(file: &Path) {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(file).unwrap();
    for size in [1 << 20, 4 << 10, 1] {
        let zeros = vec![0_u8; size];
        while filler.write_all(&zeros).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_calls_and_loses_none() {
    let Some(disk) = Disk::mount() else {
        println!("a full disk is not tested: no file system can be mounted here");
        assert!(!may_mount(), "who may mount can mount a tmpfs");
        return;
    };
    let data = disk.0.join("data");
    let cluster = tokio::task::spawn_blocking(move || postgres::cluster(&data)).await.unwrap();
    let stage = Stage::on(cluster.url(), &cluster.url()).await;
    let call = stage.under_way().await;

    let mut operator = stage.operator().await;
    execute(&mut operator, "CREATE TABLE junk (line text)").await;
    fill(&disk.0.join("filler"));
    // The log of changes is written on until it, too, finds no place.
    let write = "INSERT INTO junk SELECT repeat('x', 1000) FROM generate_series(1, 2000); \
        SELECT pg_switch_wal()";
    while sqlx::raw_sql(write).execute(&mut operator).await.is_ok() {}
    let switch = "SELECT pg_switch_wal(), pg_logical_emit_message(false, '', repeat('x', 9000))";
    while sqlx::raw_sql(switch).execute(&mut operator).await.is_ok() {}
    stage.assert_refused().await;
    stage.answer();
    assert_eq!(call.await.unwrap().status, 200, "the client has its answer all the same");

    std::fs::remove_file(disk.0.join("filler")).unwrap();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.restart().unwrap();
        cluster
    });
    let cluster = cluster.await.unwrap();
    stage.until_served().await;
    let usage = stage.end().await;
    assert_eq!(usage["models"][0]["cost_sources"], json!({"usage": 2}));
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// Whether this process has CAP_SYS_ADMIN; root in a container often has not.
fn may_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << 21) != 0
}
