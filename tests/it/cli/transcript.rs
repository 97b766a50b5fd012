//! The session at a shell that the README shows, typed line by line before a real gateway.

use std::fs;

use crate::docs::{assert_written, root, with_table};
use crate::support::client::Answer;
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::watch;

use super::shell::{Shell, ended, without_the_moment};

/// Between which marks the session stands.
const NAME: &str = "shell transcript";
/// What stands before what is typed.
const PROMPT: &str = "$ ";
/// The line in which a reader keeps the key that he was shown.
const KEEP: &str = "export KEY=rg-key-…";
/// What the README calls the data plane.
const DATA_PLANE: &str = "localhost:8080/";

/// What is typed, a line after the other; a line that ends in a backslash goes on.
fn typed(block: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        match line.strip_prefix(PROMPT) {
            Some(line) => lines.push(line.to_owned()),
            None if goes_on => lines.last_mut().unwrap().push_str(&format!("\n{line}")),
            None => {}
        }
        goes_on = lines.last().is_some_and(|typed| typed.ends_with('\\'));
    }
    lines
}

/// The words of a line as a shell makes them, except the pipe at its end.
async fn words(shell: &Shell, line: &str) -> Vec<String> {
    let asks = format!("curl() {{ printf '%s\\0' \"$@\"; }}; {line}");
    let output = shell.command("sh", &["-c", &asks]).output().await.unwrap();
    watch::output(&output);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Calls as curl would, and takes out of the answer what the pipe asks for.
async fn call(gateway: &TestGateway, shell: &Shell, line: &str) -> String {
    let (curl, member) = line.split_once("| jq ").unwrap();
    let words = words(shell, curl.trim_end_matches(['\\', '\n', ' '])).await;
    let mut request = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let client = &gateway.client;
        request = Some(match word.as_str() {
            "-s" => continue,
            "-H" => {
                let (name, value) = words.next().unwrap().split_once(": ").unwrap();
                let request: reqwest::RequestBuilder = request.unwrap();
                request.header(name, value)
            }
            "-d" => request.unwrap().body(words.next().unwrap().clone()),
            url => client.http.post(format!(
                "{}/{}",
                client.data,
                url.strip_prefix(DATA_PLANE).unwrap()
            )),
        });
    }
    let answer = Answer::of(request.unwrap().send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let path = member.replace('.', "/");
    format!("{}\n", answer.json().pointer(&path).unwrap())
}

/// Until nothing of the organization is under way, and something was spent.
async fn settled(shell: &Shell) {
    for _ in 0..1200 {
        let shown = shell.types("orgs show lab --json").await.json();
        let is = |name: &str| shown["settings"][name].as_str().map(|text| text == "0");
        if (is("month_reserved_usd"), is("month_spent_usd")) == (Some(true), Some(false)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the call is never settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_the_readme_is_what_is_printed() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let begin = format!("<!-- {NAME}:begin -->\n```console\n");
    let block = readme.split(&begin).nth(1).unwrap().split("```").next().unwrap();
    let gateway = TestGateway::serve(&database().await, &[]).await;
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_rungate"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let mut shell = Shell::operating(&gateway).with("PATH", &path);
    let mut session = String::new();
    let mut key = None;
    let lines = typed(block);
    assert!(lines.len() >= 6 && lines.iter().any(|line| line.starts_with("curl ")), "{lines:?}");
    for line in lines {
        session.push_str(&format!("{PROMPT}{line}\n"));
        if line == KEEP {
            shell = shell.with("KEY", key.as_deref().unwrap());
        } else if line.starts_with("curl ") {
            session.push_str(&call(&gateway, &shell, &line).await);
            settled(&shell).await;
        } else {
            let typed = shell.command("sh", &["-c", &line]).spawn().unwrap();
            let printed = ended(typed).await.ok();
            let shown = printed.split_whitespace().find(|word| word.starts_with("rg-key-"));
            key = key.or(shown.filter(|word| word.len() > 11).map(str::to_owned));
            session.push_str(&printed);
        }
    }
    gateway.stop().await;
    let right = format!("```console\n{}\n```\n", without_the_moment(&session));
    assert_written("README.md", &with_table(&readme, NAME, &right), &right);
}
