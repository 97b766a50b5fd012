//! What cannot be done is told in one line on standard error, with an exit code that says why;
//! nothing is printed and nothing is half done.

use serde_json::json;

use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::provider::{ScriptedProvider, Then, response};

use super::shell::Shell;

/// A run that nobody registered.
const NOBODY: &str = "22222222-2222-4333-8444-555555555555";

/// Every command that asks the control plane about one run.
const OF_A_RUN: [&str; 9] = [
    "runs show ID",
    "runs show ID --watch",
    "runs patch ID --cost-limit 1",
    "runs close ID",
    "runs attempt ID",
    "runs token ID",
    "runs usage ID",
    "runs calls ID",
    "runs calls ID --json",
];

/// The other commands that ask the control plane.
const OTHERS: [&str; 4] = ["runs create --cost-limit 1", "runs list", "models", "usage"];

/// Commands that make no sense, and what is said of them.
const WRONG: [(&str, &str); 17] = [
    (
        "rusn list",
        "unrecognized subcommand 'rusn'; a similar subcommand exists: 'runs'; see `rungate --help`",
    ),
    (
        "runs lst",
        "unrecognized subcommand 'lst'; a similar subcommand exists: 'list'; see `rungate runs --help`",
    ),
    (
        "runs list --jsn",
        "unexpected argument '--jsn' found; a similar argument exists: '--json'; see `rungate runs list --help`",
    ),
    (
        "runs create",
        "the following required arguments were not provided: --cost-limit <USD>; see `rungate runs create --help`",
    ),
    (
        "runs create --cost-limit $1",
        "invalid value '$1' for '--cost-limit <USD>': is not an amount of dollars such as 0.25; see `rungate runs create --help`",
    ),
    (
        "runs create --cost-limit 1 --on-cap clmp",
        "invalid value 'clmp' for '--on-cap <ON_CAP>' [possible values: clamp, refuse]; a similar value exists: 'clamp'; see `rungate runs create --help`",
    ),
    (
        "runs create --cost-limit 1 --fallback --provider openai",
        "the argument '--fallback' cannot be used with '--provider <PROVIDER>'; see `rungate runs create --help`",
    ),
    (
        "runs list --limit 0",
        "invalid value '0' for '--limit <LIMIT>': 0 is not in 1..=1000; see `rungate runs list --help`",
    ),
    (
        "usage --from yesterday",
        "invalid value 'yesterday' for '--from <WHEN>': is neither a day such as 2026-01-31 nor an instant such as 2026-01-31T12:00:00Z; see `rungate usage --help`",
    ),
    (
        "env",
        "the following required arguments were not provided: --run <ID>; see `rungate env --help`",
    ),
    (
        "env --run ID --gateway http://gw/v1",
        "invalid value 'http://gw/v1' for '--gateway <URL>': ends in /v1, which the variables add where it belongs; leave it out; see `rungate env --help`",
    ),
    (
        "env --run ID --gateway http://u:p@gw",
        "invalid value 'http://u:p@gw' for '--gateway <URL>': is not a URL such as http://gateway:8080; see `rungate env --help`",
    ),
    (
        "env --run ID --codex-home here",
        "invalid value 'here' for '--codex-home <PATH>': is not an absolute path such as /run/gateway/codex; see `rungate env --help`",
    ),
    ("env --run ID --env-file x", "--env-file goes with --format docker; see `rungate env --help`"),
    ("env --run ID --token rg-adm-secret", "--token is no run's token; one begins with rg-run-"),
    (
        "env --run ID rg-run-secret",
        "unexpected argument (redacted) found; see `rungate env --help`",
    ),
    (
        "completions tcsh",
        "invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]; a similar value exists: 'zsh'; see `rungate completions --help`",
    ),
];

fn env_commands() -> [String; 3] {
    ["export", "docker --new-token", "json"].map(|format| format!("env --run ID --format {format}"))
}

fn everything() -> Vec<String> {
    let all = OF_A_RUN.iter().chain(&OTHERS).map(|command| (*command).to_owned());
    all.chain(env_commands()).map(|command| command.replace("ID", NOBODY)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_control_plane_is_69() {
    let shell = Shell::at("http://operator:hunter2@127.0.0.1:1");
    for command in everything() {
        assert_eq!(
            shell.types(&command).await.failed(69),
            "the control plane at http://127.0.0.1:1 cannot be reached; start `rungate serve`, or \
             set RUNGATE_URL to where it runs",
            "{command}"
        );
        assert!(!shell.path("rungate-data").exists(), "{command} wrote something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_missing_or_refused_is_4() {
    let gateway = TestGateway::serve(&postgres::database().await, &[]).await;
    let without = Shell::before(&gateway);
    let wrong = Shell::before(&gateway).with("ADMIN_TOKEN", "rg-adm-wrong");
    for command in everything() {
        for (shell, does) in [(&without, "wants a token"), (&wrong, "refused the token")] {
            let line = format!(
                "the control plane at {} {does}; set ADMIN_TOKEN to the one that `rungate serve` \
                 was given or keeps in its DATA_DIR",
                gateway.client.admin
            );
            assert_eq!(shell.types(&command).await.failed(4), line, "{command}");
        }
    }
    let unusable = Shell::before(&gateway).with("ADMIN_TOKEN", "two\u{7f}lines");
    let line = unusable.types("runs list").await.failed(64);
    assert_eq!(line, "ADMIN_TOKEN holds characters that no HTTP header can carry");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_there_is_3() {
    let gateway = TestGateway::dev(&[]).await;
    let shell = Shell::before(&gateway);
    for command in OF_A_RUN.map(str::to_owned).into_iter().chain(env_commands()) {
        assert_eq!(
            shell.types(&command.replace("ID", NOBODY)).await.failed(3),
            "There is no run of this id. Check the id, or have the run registered first \
             (run_not_found); `rungate runs list` shows the runs that there are",
            "{command}"
        );
    }
    assert!(!shell.path("rungate-data").exists());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_make_no_sense_are_2_and_named_before_anything_is_asked() {
    let shell = Shell::at("http://127.0.0.1:1");
    let id = "is not a run's id, a UUID such as 11111111-2222-4333-8444-555555555555";
    for command in OF_A_RUN {
        let words = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(
            shell.types(&command.replace("ID", "42")).await.failed(2),
            format!("invalid value '42' for '<ID>': {id}; see `rungate {words} --help`")
        );
        let said = shell.types(&format!("{command} --frob").replace("ID", NOBODY)).await.failed(2);
        let line = "unexpected argument '--frob' found";
        assert!(said.starts_with(line) && said.ends_with(&format!("`rungate {words} --help`")));
    }
    for (command, says) in WRONG {
        assert_eq!(shell.types(&command.replace("ID", NOBODY)).await.failed(2), says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_control_plane_refuses_is_1_with_its_reason_and_changes_nothing() {
    let gateway = TestGateway::dev(&[]).await;
    let shell = Shell::before(&gateway);
    let id = "33333333-2222-4333-8444-555555555555";
    let create = format!("runs create --id {id} --cost-limit 0.25");
    shell.types(&create).await.ok();
    let before = shell.types("runs list --json").await.ok();
    for (command, says) in [
        (
            format!("runs create --id {id} --cost-limit 1"),
            "(run_conflict); `rungate runs show` shows what is registered",
        ),
        (
            "runs create --cost-limit 1 --model gpt-0".to_owned(),
            "(invalid_model); `rungate models` lists them",
        ),
        ("runs create --cost-limit 1 --ttl 0".to_owned(), "(invalid_request)"),
        (format!("runs attempt {id} --status finished"), "(invalid_transition)"),
        (format!("runs close {id} --status running"), "(invalid_transition)"),
    ] {
        let line = shell.types(&command).await.failed(1);
        assert!(line.ends_with(says), "{command}: {line}");
    }
    assert_eq!(shell.types("runs list --json").await.ok(), before);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_at_the_address_is_told_as_such() {
    let check =
        async |status: &str, kind: &str, body: &str, command: &str, code: i32, says: &str| {
            let answer = response(status, kind, body);
            let other = ScriptedProvider::answering(answer, Then::Close).await;
            let shell = Shell::at(&format!("http://{}", other.address));
            let line = shell.types(&command.replace("ID", NOBODY)).await.failed(code);
            assert!(line.contains(says), "{command}: {line}");
        };
    let (html, page) = ("text/html", "<h1>It works</h1>");
    let foreign = "and not as a control plane does; set RUNGATE_URL";
    check("404 Not Found", html, page, "runs list", 69, foreign).await;
    check("502 Bad Gateway", html, page, "runs calls ID --json", 69, foreign).await;
    check("200 OK", html, page, "runs list", 69, "the answer is not in JSON").await;
    check("200 OK", html, page, "usage", 69, "the answer is not in JSON").await;
    check("200 OK", html, page, "models", 1, "the answer is no list of models").await;
    let refusal =
        json!({"error": {"message": "Wait.\u{1b}[2J", "code": "unavailable"}}).to_string();
    check(
        "503 Service Unavailable",
        "application/json",
        &refusal,
        "runs list",
        69,
        "Wait.?[2J (unavailable)",
    )
    .await;
    let shell = Shell::at("gopher://control");
    let line = shell.types("runs list").await.failed(64);
    assert_eq!(line, "RUNGATE_URL is not a URL such as http://127.0.0.1:8081");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_is_a_failure_and_its_rows_are_whole() {
    let rows = "{\"id\":1}\n{\"id\":2}\n";
    let fault = r#"{"error":{"message":"The ledger is gone.","code":"unavailable"}}"#;
    let command = format!("runs calls {NOBODY} --json");
    for (body, says) in [
        (format!("{rows}{fault}\n"), "The ledger is gone (unavailable)"),
        (format!("{rows}{{\"id\":"), "broke off; try again"),
    ] {
        let answer = response("200 OK", "application/x-ndjson", &body);
        let other = ScriptedProvider::answering(answer, Then::Close).await;
        let said = Shell::at(&format!("http://{}", other.address)).types(&command).await;
        assert_eq!((said.code, said.out.as_str()), (69, rows), "{said:?}");
        assert!(said.err.contains(says), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_typed_shows_what_there_is() {
    let shell = Shell::at("http://127.0.0.1:1");
    let said = shell.run(&[]).await;
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    for command in [
        "dev",
        "serve",
        "runs",
        "env",
        "models",
        "usage",
        "orgs",
        "keys",
        "credits",
        "providers",
        "completions",
    ] {
        assert!(said.err.contains(&format!("\n  {command} ")), "{}", said.err);
    }
    assert!(said.err.contains("To begin: `rungate dev`"), "{}", said.err);
    let help = shell.run(&["help"]).await.ok();
    assert_eq!(shell.run(&["--help"]).await.ok(), help);
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    let codes: Vec<&str> =
        codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "64", "69", "130"]);
}
