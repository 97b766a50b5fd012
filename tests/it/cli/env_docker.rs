//! `rungate env --format docker`: flags that a shell can split, and the files that they name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::Run;
use crate::support::gateway::TestGateway;

use super::shell::Shell;

const HIDDEN: &str = "note: LISTEN_ADDR is a loopback address; on Linux no container reaches it. Let \
    the gateway listen on 0.0.0.0:8080 or on the address of the docker bridge\n";

async fn running(gateway: &TestGateway) -> Run {
    let body = json!({"cost_limit_usd": "0.25", "allowed_models": ["gpt-4o-mini"]});
    gateway.client.register(body).await
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The words that a shell makes of `$(…)`, two by two.
async fn flags(shell: &Shell, output: &str) -> Vec<(String, String)> {
    fs::write(shell.path("flags"), output).unwrap();
    let script = "printf '%s\\0' $(cat flags)";
    let split = shell.command("sh", &["-c", script]).output().await.unwrap();
    let words = String::from_utf8(split.stdout).unwrap();
    let words: Vec<String> = words.split_terminator('\0').map(str::to_owned).collect();
    assert_eq!(words.len() % 2, 0, "{words:?}");
    words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn variables(lines: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flags_carry_the_variables_and_mount_the_file() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway).await;
    let shell = Shell::before(&gateway);
    let command = format!("env --run {} --token {}", run.id, run.token);
    let said = shell.types(&format!("{command} --format docker")).await;
    assert_eq!((said.code, said.err.as_str()), (0, HIDDEN));
    let flags = flags(&shell, &said.out).await;
    let given = flags.iter().filter(|(flag, _)| flag == "-e").map(|(_, value)| value.clone());
    let port = gateway.running.data_addr.port();
    let place = format!("http://host.docker.internal:{port}");
    let same = shell.types(&format!("{command} --format json --gateway {place}")).await.json();
    let env: BTreeMap<String, String> = serde_json::from_value(same["env"].clone()).unwrap();
    assert_eq!(variables(given), env);

    let rest: Vec<(&str, &str)> = flags
        .iter()
        .filter(|(flag, _)| flag != "-e")
        .map(|(flag, value)| (flag.as_str(), value.as_str()))
        .collect();
    let folder = shell.folder().canonicalize().unwrap().join("rungate-data/env").join(&run.id);
    let file = folder.join("config.toml");
    let mount = format!("{}:/run/gateway/codex/config.toml:ro", file.display());
    assert_eq!(rest, [("-v", mount.as_str()), ("--add-host", "host.docker.internal:host-gateway")]);
    assert_eq!(same["files"][0]["content"], fs::read_to_string(&file).unwrap());
    // Whoever runs in the container may read it; nobody else on this machine gets there.
    assert_eq!(mode(&file), 0o644);
    assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (0o700, 0o700));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left there");
    assert!(!fs::read_to_string(&file).unwrap().contains(&run.token));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_variables_keeps_the_token_out_of_the_flags() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway).await;
    let shell = Shell::before(&gateway);
    let command = format!("env --run {} --token {} --gateway http://gw:8080", run.id, run.token);
    fs::write(shell.path("run.env"), "of before").unwrap();
    let said = shell.types(&format!("{command} --format docker --env-file run.env")).await.ok();
    assert!(!said.contains(&run.token), "{said}");
    let flags = flags(&shell, &said).await;
    let (flag, path) = &flags[0];
    assert_eq!(flag, "--env-file");
    assert_eq!(flags.len(), 2, "a gateway of another name needs no host: {flags:?}");
    let path = Path::new(path);
    assert!(path.is_absolute() && path.ends_with("run.env"));
    assert_eq!(mode(path), 0o600);
    let lines = fs::read_to_string(path).unwrap();
    let given = variables(lines.lines().map(str::to_owned));
    let same = shell.types(&format!("{command} --format json")).await.json();
    assert_eq!(serde_json::to_value(given).unwrap(), same["env"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flags_cannot_carry_is_refused_before_the_token_is_replaced() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway).await;
    let shell = Shell::before(&gateway);
    let before = version(&gateway, &run).await;
    let docker = ["env", "--run", &run.id, "--format", "docker", "--new-token"];
    for model in ["two words", "star*", "$HOME", "quo'te", "semi;colon"] {
        let line = shell.run(&[&docker[..], &["--model", model]].concat()).await.failed(1);
        assert_eq!(
            line,
            "\"ANTHROPIC_MODEL\" holds a character that `docker run $(…)` cannot carry; use \
             --env-file or --format json"
        );
    }
    let line = shell.run(&[&docker[..], &["--codex-home", "/a:b"]].concat()).await.failed(2);
    assert_eq!(line, "DATA_DIR and --codex-home may hold no colon for --format docker");
    let line =
        shell.run(&[&docker[..], &["--env-file", "nowhere/run.env"]].concat()).await.failed(1);
    assert!(line.starts_with("--env-file nowhere/run.env cannot be written"), "{line}");
    fs::write(shell.path("file"), "").unwrap();
    let blocked = Shell::before(&gateway).with("DATA_DIR", shell.path("file").to_str().unwrap());
    let line = blocked.run(&docker).await.failed(1);
    assert!(line.contains("cannot keep Codex's file"), "{line}");
    assert_eq!(version(&gateway, &run).await, before, "the token was replaced");

    // A file of variables carries what flags cannot.
    let words = ["--model", "two words", "--env-file", "run.env"];
    let said = shell.run(&[&docker[..], &words].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines = fs::read_to_string(shell.path("run.env")).unwrap();
    assert!(lines.contains("\nANTHROPIC_MODEL=two words\n"), "{lines}");
    gateway.stop().await;
}

/// How often the run was changed.
async fn version(gateway: &TestGateway, run: &Run) -> Value {
    let id = rungate::domain::id::RunId::parse(&run.id).unwrap();
    let record = gateway.running.gateway.ledger.record(id).await.unwrap().unwrap();
    json!(record.run.standing.version)
}
