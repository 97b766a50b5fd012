//! A panic tells where it happened and nothing of what was being worked on.

use std::process::Command;

use rungate::config::LogFormat;
use serde_json::Value;

const NAME: &str = "running::panics::panics_with_a_secret";

/// Not a test of its own: the next one starts it in a process that logs as the program does.
#[test]
#[ignore = "started by the test below it"]
fn panics_with_a_secret() {
    rungate::telemetry::start_logging(LogFormat::Json, "info").unwrap();
    let secret = std::env::var("SECRET").unwrap();
    let panicking = std::thread::Builder::new().name("worker".to_owned());
    let panicked = panicking.spawn(move || panic!("while working on {secret}")).unwrap().join();
    assert!(panicked.is_err());
}

#[test]
fn a_panic_is_one_line_of_the_log_without_what_it_said() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--ignored", "--nocapture"])
        .env("SECRET", "a sentinel")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("sentinel") && err.lines().count() == 1, "{err}");
    let line: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["thread"], "worker");
    assert_eq!(line["message"], "panic: a bug; please report where");
    assert!(line["at"].as_str().unwrap().starts_with("tests/it/running/panics.rs:"), "{line}");
}
