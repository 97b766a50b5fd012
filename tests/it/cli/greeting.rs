//! What a newcomer sees of `rungate dev`, and that it is true.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::watch;

use super::shell::Shell;

const OTHER: &str = "11111111-2222-4333-8444-555555555555";

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dev_says_to_paste_works_and_its_lines_stand_in_columns() {
    let shell = Shell::at("http://127.0.0.1:1")
        .with("LISTEN_ADDR", "127.0.0.1:0")
        .with("ADMIN_LISTEN_ADDR", "127.0.0.1:0");
    let mut child = shell.start(&["dev"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut greeting = String::new();
    while !greeting.contains("Ctrl-C") {
        let line = lines.next_line().await.unwrap().unwrap();
        greeting.push_str(&format!("{line}\n"));
    }
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "");
    let find = |start: &str| {
        let line = greeting.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{greeting}")).trim_start().to_owned()
    };
    // The line for curl, its parts sent by another client; then as an SDK would send it.
    let line = greeting.split("curl -s ").nth(1).unwrap();
    let url = line.split_whitespace().next().unwrap();
    let quoted: Vec<&str> = line.split('\'').skip(1).step_by(2).take(2).collect();
    let (header, body) = (quoted[0].split_once(": ").unwrap(), quoted[1]);
    let post = |url: &str| client().post(url).header(header.0, header.1).body(body.to_owned());
    let value = |name: &str| find(name).split_once('=').unwrap().1.to_owned();
    let sdk = format!("{}/chat/completions", value("export OPENAI_BASE_URL"));
    let own = post(&sdk).bearer_auth(value("export OPENAI_API_KEY"));
    for call in [post(url), own] {
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["object"], "chat.completion", "{answer}");
    }
    let other = client().post(url).header("x-run-id", OTHER);
    let body = body.replace("gpt-4o-mini", "deepseek-reasoner");
    let other = other.header(header.0, header.1).body(body).send().await.unwrap();
    assert_eq!(other.status(), 200);

    let hint =
        find("RUNGATE_URL=").replace("rungate ", &format!("{} ", env!("CARGO_BIN_EXE_rungate")));
    let listed = shell.command("sh", &["-c", &hint]).output().await.unwrap();
    watch::output(&listed);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&format!("{OTHER}  running")), "{listed}");

    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(lines.next_line().await.unwrap().unwrap());
    }
    let columns = |line: &String| {
        [" in / ", " out ", "  $"].map(|mark| line.find(mark).unwrap_or_else(|| panic!("{line}")))
    };
    assert!(told.iter().all(|line| columns(line) == columns(&told[0])), "{told:#?}");
    assert!(
        told.iter().all(|line| line.starts_with("run ") && line.ends_with(" left")),
        "{told:#?}"
    );

    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut sums = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        sums.push(line);
    }
    assert!(
        sums.iter().any(|line| line.contains(": 2 calls, 16 in / 78 out, $0.0000492 of $1")),
        "{sums:#?}"
    );
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
