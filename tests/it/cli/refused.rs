//! What commands about organizations cannot do is told as it is of others.

use crate::support::client::Answer;
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::provider::{ScriptedProvider, Then, response};

use super::orgs::LAB;
use super::shell::Shell;

/// Every command that asks the control plane about one organization.
const OF_AN_ORGANIZATION: [&str; 25] = [
    "orgs show ORG",
    "orgs set ORG --eu-only true",
    "orgs set ORG --rate-limit-rpm 3",
    "orgs members list --org ORG",
    "orgs members add ada --role viewer --password-file password --org ORG",
    "orgs members remove ada --org ORG",
    "orgs orchestrator-keys list --org ORG",
    "orgs orchestrator-keys create nightly --org ORG",
    "orgs orchestrator-keys revoke ID --org ORG",
    "orgs audit --org ORG",
    "keys create ci --monthly-token-limit 1 --org ORG",
    "keys list --org ORG",
    "keys show ID --org ORG",
    "keys update ID --rate-limit-rpm 3 --org ORG",
    "keys suspend ID --org ORG",
    "keys resume ID --org ORG",
    "keys rotate ID --org ORG",
    "keys revoke ID --org ORG",
    "credits --org ORG",
    "credits add 1 --org ORG",
    "credits history --org ORG",
    "providers list --org ORG",
    "providers put openai --api-key-file password --org ORG",
    "providers delete openai --org ORG",
    "usage --org ORG",
];

/// The others that ask it.
const OTHERS: [&str; 4] =
    ["orgs create lab", "orgs list", "orgs audit --all", "usage --org ORG --csv"];

/// A folder with a file for every command that reads one.
fn prepared(shell: Shell) -> Shell {
    std::fs::write(shell.path("password"), "hunter2-and-hunter2").unwrap();
    shell
}

fn words(command: &str, org: &str) -> String {
    command.replace("ORG", org).replace("ID", LAB)
}

fn everything() -> impl Iterator<Item = &'static str> {
    OF_AN_ORGANIZATION.into_iter().chain(OTHERS)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_control_plane_is_69() {
    let shell = prepared(Shell::at("http://operator:hunter2@127.0.0.1:1"));
    for command in everything() {
        for org in ["default", "lab"] {
            assert_eq!(
                shell.types(&words(command, org)).await.failed(69),
                "the control plane at http://127.0.0.1:1 cannot be reached; start `rungate serve`, \
                 or set RUNGATE_URL to where it runs",
                "{command}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_missing_is_4_and_nobody_of_that_name_or_id_is_3() {
    let gateway = TestGateway::serve(&postgres::database().await, &[]).await;
    let without = prepared(Shell::before(&gateway));
    for command in everything() {
        let line = without.types(&words(command, "default")).await.failed(4);
        assert!(line.contains(" wants a token; set ADMIN_TOKEN "), "{command}: {line}");
    }
    let operator = prepared(Shell::operating(&gateway));
    for command in OF_AN_ORGANIZATION {
        let line = operator.types(&words(command, "nobody")).await.failed(3);
        assert_eq!(
            line,
            "there is no organization of the name or id 'nobody'; `rungate orgs list` shows those \
             that there are",
            "{command}"
        );
        let line = operator.types(&words(command, LAB)).await.failed(3);
        assert!(line.contains("(not_found); `rungate "), "{command}: {line}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_the_endpoint_is_told_from_a_key_that_is_not_there() {
    let gateway = TestGateway::serve(&postgres::database().await, &[]).await;
    let asked = gateway.client.operator(reqwest::Method::GET, "/organizations/default/nothing");
    let told = Answer::of(asked.send().await.unwrap()).await;
    gateway.stop().await;
    let answer = response("404 Not Found", "application/json", &told.text);
    let older = ScriptedProvider::answering(answer, Then::Close).await;
    let shell = Shell::at(&format!("http://{}", older.address));
    let line = shell.types(&format!("keys show {LAB}")).await.failed(1);
    assert!(line.ends_with("is RUNGATE_URL a control plane of this version?"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_make_no_sense_are_2() {
    let shell = Shell::at("http://127.0.0.1:1");
    for (command, says) in [
        (
            "keys show 42",
            "invalid value '42' for '<ID>': is not a key's id, a UUID; `rungate keys list` shows \
             them; see `rungate keys show --help`",
        ),
        (
            "keys create ci",
            "the following required arguments were not provided: --monthly-token-limit <N>; see \
             `rungate keys create --help`",
        ),
        (
            "keys update 42",
            "invalid value '42' for '<ID>': is not a key's id, a UUID; `rungate keys list` shows \
             them; see `rungate keys update --help`",
        ),
        (
            "keys create ci --monthly-token-limit 1 --expires-at tomorrow",
            "invalid value 'tomorrow' for '--expires-at <INSTANT>': is not an instant such as \
             2030-01-31T12:00:00Z; see `rungate keys create --help`",
        ),
        (
            "orgs set --monthly-limit 0.001",
            "invalid value '0.001' for '--monthly-limit <USD>': is not an amount of dollars in \
             whole cents such as 12.50; see `rungate orgs set --help`",
        ),
        (
            "orgs members remove a/b",
            "invalid value 'a/b' for '<NAME>': is no name: it may hold letters, digits and any of \
             . _ @ + -; see `rungate orgs members remove --help`",
        ),
        (
            "orgs members add ada --role king",
            "invalid value 'king' for '--role <ROLE>' [possible values: owner, admin, viewer]; see \
             `rungate orgs members add --help`",
        ),
        ("usage --group-by key", "--group-by key goes with --org; see `rungate usage --help`"),
    ] {
        assert_eq!(shell.types(command).await.failed(2), says);
    }
    for command in [
        "usage --csv",
        "usage --org lab --csv --json",
        "orgs set --monthly-limit 1 --monthly-limit-cents 100",
        "orgs show lab --org lab",
        "orgs audit --all --org lab",
        "providers put openai --base-url https://a.example --no-base-url",
    ] {
        shell.types(command).await.failed(2);
    }
}
