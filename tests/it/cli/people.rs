//! `rungate orgs members` and `orchestrator-keys`: who may enter, and that no password is shown.

use crate::support::client::Answer;

use super::orgs::{LAB, lab};
use super::shell::{Said, Shell, without_the_moment};

const PASSWORD: &str = "hunter2-and-hunter2";

/// What a member is answered who signs in with this password.
async fn signs_in(admin: &str, name: &str) -> u16 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{admin}/organizations/{LAB}");
    let request = http.get(url).basic_auth(name, Some(PASSWORD));
    Answer::of(request.send().await.unwrap()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_with_a_password_from_a_file_or_standard_input() {
    let (gateway, shell) = lab().await;
    std::fs::write(shell.path("secret"), format!("{PASSWORD}\n")).unwrap();
    let ada = "orgs members add ada --role owner --org lab --password-file secret";
    insta::assert_snapshot!(shell.types(ada).await.ok(), @r"
    ✓ Member added

      Name: ada
      Role: owner
    ");
    let bob: Vec<&str> = "orgs members add bob --role viewer --org lab".split(' ').collect();
    shell.given(&bob, PASSWORD).await.ok();
    let eve = "orgs members add eve --role admin --org lab --password-file -";
    let eve: Vec<&str> = eve.split(' ').collect();
    shell.given(&eve, &format!("{PASSWORD}\n")).await.ok();
    for name in ["ada", "bob", "eve"] {
        assert_eq!(signs_in(&gateway.client.admin, name).await, 200, "{name}");
    }
    let list = shell.types("orgs members list --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&list), @r"
    NAME  ROLE    ADDED
    ada   owner   2026-11-21T12:00:00Z
    bob   viewer  2026-11-21T12:00:00Z
    eve   admin   2026-11-21T12:00:00Z
    ");
    shell.types("orgs members remove bob --org lab").await.ok();
    assert_eq!(signs_in(&gateway.client.admin, "bob").await, 401);
    let line = shell.types("orgs members remove bob --org lab").await.failed(3);
    assert!(line.ends_with("`rungate orgs members list --org ORG` shows its members"), "{line}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_or_a_key_in_the_wrong_place_is_told_without_it() {
    let shell = Shell::at("http://127.0.0.1:1");
    std::fs::write(shell.path("lines"), format!("{PASSWORD}\n{PASSWORD}\n")).unwrap();
    std::fs::write(shell.path("empty"), "\n").unwrap();
    let add = "orgs members add ada --role owner";
    let put = "providers put openai";
    for (command, says) in [
        (format!("{add} {PASSWORD}"), "unexpected argument (redacted) found"),
        (format!("{put} {PASSWORD}"), "unexpected argument (redacted) found"),
        (format!("{add} -p{PASSWORD}"), "unexpected argument (redacted) found"),
        (format!("{add} --password {PASSWORD}"), "unexpected argument '--password' found"),
        (format!("{add} --password={PASSWORD}"), "unexpected argument '--password' found"),
        (format!("{put} --api-key={PASSWORD}"), "unexpected argument '--api-key' found"),
        (
            format!("{add} --password-file {PASSWORD}"),
            "--password-file names a file that cannot be read (entity not found)",
        ),
        (
            format!("{put} --api-key-file {PASSWORD}"),
            "--api-key-file names a file that cannot be read (entity not found)",
        ),
        (
            format!("{add} --password-file lines"),
            "--password-file names a file that holds more than one line",
        ),
        (format!("{put} --api-key-file empty"), "--api-key-file names a file that holds nothing"),
        (add.to_owned(), "--password-file is read from standard input, which holds nothing"),
    ] {
        let line = shell.types(&command).await.failed(2);
        assert!(line.starts_with(says) && !line.contains(PASSWORD), "{command}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_a_password_does_not_repeat_it() {
    let (gateway, shell) = lab().await;
    let add: Vec<&str> = "orgs members add ada --role owner --org lab".split(' ').collect();
    let Said { code, out, err } = shell.given(&add, "hunter2").await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("must have at least 12 characters") && !err.contains("hunter2"), "{err}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_key_registers_runs_until_it_is_revoked() {
    let (gateway, shell) = lab().await;
    shell.types("orgs set lab --monthly-limit 5").await.ok();
    let made = shell.types("orgs orchestrator-keys create nightly --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&made), @r"
    ✓ Orchestrator key created

      Key: rg-orc-…
      Name: nightly

      ⚠ Store this key securely. It will not be shown again.
    ");
    let secret = made.split_whitespace().find(|word| word.starts_with("rg-orc-")).unwrap();
    let orchestrator = Shell::before(&gateway).with("ADMIN_TOKEN", secret);
    let run = orchestrator.types("runs create --cost-limit 1 --json").await.json();
    assert_eq!(run["organization_id"], LAB);
    let list = shell.types("orgs orchestrator-keys list --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&list), @r"
    ID                                    NAME     KEY          STATUS  CREATED
    0195a1b2-c3d4-7e5f-8a9b-000000000001  nightly  rg-orc-3f4a  active  2026-11-21T12:00:00Z
    ");
    let id = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    let revoked = shell.types(&format!("orgs orchestrator-keys revoke {id} --org lab")).await.ok();
    assert!(revoked.contains("\nstatus      revoked\n"), "{revoked}");
    orchestrator.types("runs list").await.failed(4);
    let line = shell.types(&format!("orgs orchestrator-keys revoke {LAB}")).await.failed(3);
    assert!(line.ends_with("`rungate orgs orchestrator-keys list --org ORG` shows them"), "{line}");
    gateway.stop().await;
}
