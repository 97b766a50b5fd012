//! `--watch`: a line for each change, until the bill is final.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::client::prompt;
use crate::support::gateway::TestGateway;
use crate::support::watch;

use super::shell::Shell;

/// Starts to watch, and reads along.
fn watch(shell: &Shell, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = shell.start(args);
    let out = child.stdout.take().unwrap();
    (child, BufReader::new(out).lines())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_spends_is_a_line_for_each_change_until_it_is_final() {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "0.25"})).await;
    let shell = Shell::before(&gateway);
    let (mut people, mut lines) = watch(&shell, &["runs", "usage", &run.id, "--watch"]);
    let (mut program, mut objects) = watch(&shell, &["runs", "show", &run.id, "--watch", "--json"]);

    let first = lines.next_line().await.unwrap().unwrap();
    assert_eq!(
        first,
        "running (provisional)  $0.00 of $0.25 spent, $0.00 reserved, 0 calls, 0 in flight"
    );
    let object: Value = serde_json::from_str(&objects.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&object["id"], &object["calls"]), (&json!(run.id), &json!(0)));

    client.ask(&run, &prompt("[[sim usage=1000:200]] Hello")).await;
    let second = lines.next_line().await.unwrap().unwrap();
    assert_eq!(
        second,
        "running (provisional)  $0.00027 of $0.25 spent, $0.00 reserved, 1 calls, 0 in flight"
    );
    let object: Value = serde_json::from_str(&objects.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&object["spent_usd"], &object["settlement"]),
        (&json!("0.00027"), &json!("provisional"))
    );

    client.close(&run, &json!({})).await;
    let third = lines.next_line().await.unwrap().unwrap();
    assert_eq!(
        third,
        "finished (final)  $0.00027 of $0.25 spent, $0.00 reserved, 1 calls, 0 in flight"
    );
    let object: Value = serde_json::from_str(&objects.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(object["settlement"], "final");
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(people.wait().await.unwrap().code(), Some(0));
    assert_eq!(program.wait().await.unwrap().code(), Some(0));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_out_and_told_once() {
    let gateway = TestGateway::dev(&[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "0.25"})).await;
    let shell = Shell::before(&gateway);
    let (mut child, mut lines) = watch(&shell, &["runs", "usage", &run.id, "--watch"]);
    lines.next_line().await.unwrap().unwrap();
    let admin = gateway.client.admin.clone();
    let address = admin.trim_start_matches("http://").to_owned();
    gateway.stop().await;
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = errors.next_line().await.unwrap().unwrap();
    assert_eq!(
        told,
        format!(
            "rungate: the control plane at {admin} cannot be reached; start `rungate serve`, or set \
             RUNGATE_URL to where it runs; still trying"
        )
    );
    // Another gateway in its place, which has never heard of the run.
    let next = TestGateway::dev(&[("ADMIN_LISTEN_ADDR", &address)]).await;
    let told = errors.next_line().await.unwrap().unwrap();
    assert!(told.starts_with("rungate: There is no run of this id."), "{told}");
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_with_130_and_a_closed_pipe_with_0() {
    let gateway = TestGateway::dev(&[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "0.25"})).await;
    let shell = Shell::before(&gateway);
    let args = ["runs", "usage", &run.id, "--watch"];
    let (mut child, mut lines) = watch(&shell, &args);
    lines.next_line().await.unwrap().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(130));

    let (mut child, mut lines) = watch(&shell, &args);
    lines.next_line().await.unwrap().unwrap();
    drop(lines);
    gateway.client.ask(&run, &prompt("Hello")).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_read_enough_is_no_failure() {
    let gateway = TestGateway::dev(&[]).await;
    let shell = Shell::before(&gateway);
    for args in
        [&["models", "--local"][..], &["completions", "bash"], &["runs", "list"], &["--help"]]
    {
        let mut command = shell.command(env!("CARGO_BIN_EXE_rungate"), args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command.stdout(Stdio::from(writer)).spawn().unwrap();
        let output = child.wait_with_output().await.unwrap();
        watch::output(&output);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
    }
    gateway.stop().await;
}
