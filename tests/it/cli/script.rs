//! Shell completions, and what other scripts rely on.

use super::shell::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn each_shell_gets_a_script_that_knows_the_commands() {
    // Wrong settings are no reason not to complete.
    let shell = Shell::at("http://127.0.0.1:1").with("LISTEN_ADDR", "nonsense");
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.run(&["completions", name]).await.ok();
        for word in [
            "rungate",
            "check-config",
            "attempt",
            "new-token",
            "group-by",
            "orchestrator-keys",
            "api-key-file",
            "lifetime-limit",
            "history",
        ] {
            assert!(script.contains(word), "{name} does not know {word}");
        }
        // In fish, what is completed ends at the command below a command.
        assert!(name == "fish" || script.contains("password-file"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_commands_options_and_values() {
    let shell = Shell::at("http://127.0.0.1:1");
    let script = shell.run(&["completions", "bash"]).await.ok();
    std::fs::write(shell.path("complete.bash"), script).unwrap();
    let complete = async |words: &str, expected: &[&str]| {
        let count = words.split(' ').count() - 1;
        let asks = format!(
            "set -eu; . ./complete.bash; COMP_WORDS=({words}); COMP_CWORD={count}; \
             _rungate rungate '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.split(' ').next_back().unwrap(),
            words.split(' ').nth(count.saturating_sub(1)).unwrap(),
        );
        let output = shell.command("bash", &["-c", &asks]).output().await.unwrap();
        let replies = String::from_utf8(output.stdout.clone()).unwrap();
        for word in expected {
            assert!(replies.lines().any(|reply| reply == *word), "{words}: {output:?}");
        }
    };
    complete("rungate ru", &["runs"]).await;
    complete("rungate runs cr", &["create"]).await;
    complete("rungate env --n", &["--new-token"]).await;
    complete("rungate runs list --status ru", &["running"]).await;
    complete("rungate org", &["orgs"]).await;
    complete("rungate orgs me", &["members"]).await;
    complete("rungate orgs set --default-c", &["--default-cost-limit"]).await;
    complete("rungate orgs set --clear tok", &["tokens-per-minute"]).await;
    complete("rungate orgs members add --role a", &["admin"]).await;
    complete("rungate keys up", &["update"]).await;
    complete("rungate keys create --max", &["--max-concurrency"]).await;
    complete("rungate keys update --clear dai", &["daily-token-limit"]).await;
    complete("rungate credits add --kind to", &["top_up"]).await;
    complete("rungate providers put --ap", &["--api-key-file"]).await;
    complete("rungate usage --group-by ke", &["key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_ledger_can_be_read_by_a_program() {
    let database = crate::support::postgres::database().await;
    let shell = Shell::at("http://127.0.0.1:1").with("DATABASE_URL", &database);
    let report = shell.types("ledger check --json").await.json();
    let sums = ["runs", "budgets", "calls", "reservations", "unswept"];
    assert!(sums.iter().all(|name| report[name] == 0), "{report}");
    assert_eq!(report["findings"], serde_json::json!([]));
    let words = shell.types("ledger check").await.ok();
    assert!(words.ends_with("\nevery invariant holds\n"), "{words}");
    let nowhere = shell.with("DATABASE_URL", "mysql://user:hunter2@host/db");
    let said = nowhere.types("ledger check").await;
    assert_eq!((said.code, said.out.as_str()), (64, ""));
    assert!(
        said.err.starts_with("DATABASE_URL: does not begin with") && !said.err.contains("hunter")
    );
}
