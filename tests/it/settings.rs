//! Settings at the edges: where they come from, what is reported, and with which exit code.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output};

use rungate::gateway::Mode;
use rungate::server::access;
use secrecy::ExposeSecret as _;

use crate::support::gateway::config;
use crate::support::watch;

/// The program in a folder, with no environment but this.
fn rungate(folder: &Path, command: &str, settings: &[(&str, &[u8])]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rungate"))
        .arg(command)
        .current_dir(folder)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (*name, OsStr::from_bytes(value))))
        .output()
        .unwrap();
    watch::output(&output);
    watch::look("standard output", &output.stdout);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that refused its settings wrote on standard error.
#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    text(&output.stderr)
}

#[test]
fn everything_that_is_wrong_is_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "WORKERS=4\nsecret-without-name\nMAX_BODY_BYTES=x\n")
        .unwrap();
    let settings: [(&str, &[u8]); 5] = [
        ("RUST_LOG", b"rungate=loud"),
        ("DATA_DIR", b"/tmp/\xff"),
        ("OPENAI_API_KEY", b"sk-\xff"),
        ("DATABASE_URL", b"mysql://user:hunter2@host/db"),
        ("LISTEN_ADDR", b"here"),
    ];
    for command in ["check-config", "serve", "dev", "simulate"] {
        let said = refused(&rungate(folder.path(), command, &settings));
        for line in [
            ".env: holds a line that is not NAME=value (line 2)",
            "DATA_DIR: is not UTF-8",
            "OPENAI_API_KEY: is not UTF-8",
            "LISTEN_ADDR: \"here\" is not an address such as 127.0.0.1:8080",
            "MAX_BODY_BYTES: \"x\" is not a whole number from 1024 to 4294967296",
            "DATABASE_URL: does not begin with postgres:// or postgresql://",
            "RUST_LOG: \"rungate=loud\" is not a filter such as `info` or `rungate=debug,warn`",
        ] {
            let times = said.lines().filter(|said| *said == line).count();
            assert_eq!(times, 1, "{command}: {line}\n{said}");
        }
        assert_eq!(said.lines().count(), 8, "{said}");
        assert!(!said.contains("hunter2") && !said.contains("secret-without-name"), "{said}");
    }
}

#[test]
fn calls_are_kept_for_a_month_at_least_or_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    for (days, wrong) in [("0", false), ("31", false), ("30", true), ("36501", true), ("-1", true)]
    {
        let settings = [("CALLS_RETENTION_DAYS", days.as_bytes())];
        let output = rungate(folder.path(), "check-config", &settings);
        let says = format!(
            "CALLS_RETENTION_DAYS: \"{days}\" is not 0, or a whole number from 31 to 36500\n"
        );
        assert_eq!(text(&output.stderr).contains(&says), wrong, "{output:?}");
        assert_eq!(output.status.success(), !wrong, "{output:?}");
    }
}

#[test]
fn a_file_of_settings_is_read_from_the_working_directory_alone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join(".env"), "\u{feff}WORKERS=7\nFROB=1\n").unwrap();
    let here = rungate(folder.path(), "check-config", &[]);
    assert!(here.status.success(), "{here:?}");
    assert!(text(&here.stdout).contains("\nWORKERS=7\n"), "{here:?}");
    let warning = "warning: .env sets FROB, which is no setting of rungate\n";
    assert_eq!(text(&here.stderr), warning);
    let below = rungate(&inner, "check-config", &[]);
    assert!(text(&below.stdout).contains("\nWORKERS=number of CPUs (default)\n"), "{below:?}");
    assert_eq!(text(&below.stderr), "");
    let unreadable = inner.join(".env");
    fs::create_dir(&unreadable).unwrap();
    assert!(refused(&rungate(&inner, "check-config", &[])).starts_with(".env: cannot be read ("));
    fs::remove_dir(&unreadable).unwrap();
    fs::write(&unreadable, b"WORKERS=\xff").unwrap();
    assert!(refused(&rungate(&inner, "check-config", &[])).starts_with(".env: is not UTF-8\n"));
}

#[test]
fn a_catalogue_or_a_database_url_that_cannot_be_used_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("models.toml"), "[[models]]\nfrob = 1\n").unwrap();
    let vocabulary = "[[models]]\nname = \"m\"\nprovider = \"chutes\"\ncontext_window = 1\n\
                      max_output_tokens = 1\ntokenizer_file = \"lost.json\"\n";
    fs::write(folder.path().join("vocabulary.toml"), vocabulary).unwrap();
    let lost: (&str, &[u8]) = ("MODELS_FILE", b"vocabulary.toml");
    let names_it =
        "vocabulary.toml:6: model \"m\": `tokenizer_file` = \"lost.json\" cannot be used";
    let ports: [(&str, &[u8]); 3] = [
        ("LISTEN_ADDR", b"127.0.0.1:0"),
        ("ADMIN_LISTEN_ADDR", b"127.0.0.1:0"),
        ("SIMULATE_PROVIDERS", b"true"),
    ];
    let url: (&str, &[u8]) = ("DATABASE_URL", b"postgres://user:hunter2@host:port/db");
    let missing: (&str, &[u8]) = ("MODELS_FILE", b"nowhere.toml");
    let broken: (&str, &[u8]) = ("MODELS_FILE", b"models.toml");
    let base: (&str, &[u8]) = ("OPENAI_BASE_URL", b"http://user:hunter2@:1");
    for (commands, wrong, says) in [
        (&["check-config", "serve", "dev"][..], missing, "nowhere.toml cannot be read"),
        (&["check-config", "serve", "dev"], broken, "models.toml:"),
        (&["check-config", "serve", "dev"], lost, names_it),
        (&["check-config", "serve"], url, "DATABASE_URL is not a Postgres URL"),
        (&["check-config"], base, "OPENAI_BASE_URL is not a usable URL"),
    ] {
        for command in commands {
            let mut settings = ports.to_vec();
            settings.push(wrong);
            let said = refused(&rungate(folder.path(), command, &settings));
            assert!(said.contains(says), "{command}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let said = refused(&rungate(folder.path(), "dev", &[("LISTEN_ADDR", b"0.0.0.0:0")]));
    assert!(said.contains("set DEV_ALLOW_REMOTE=true"), "{said}");
}

#[test]
fn what_is_shown_of_the_settings_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let output = rungate(
        folder.path(),
        "check-config",
        &[
            ("OPENAI_API_KEY", b"hunter2"),
            ("ADMIN_TOKEN", b"hunter2"),
            ("DATABASE_URL", b"postgres://user:hunter2@host/db"),
            ("OPENAI_BASE_URL", b"https://user:hunter2@proxy.example/v1"),
            ("GROQ_BASE_URL", b"https://user:hunter2@hunter2@proxy.example/v1"),
            ("MISTRAL_BASE_URL", b"https://proxy.example/v1"),
            ("RUNGATE_URL", b"http://user:hunt/er2@hunter2@127.0.0.1:8081"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    for line in [
        "OPENAI_API_KEY=(set, redacted)",
        "DATABASE_URL=(set, redacted)",
        "OPENAI_BASE_URL=https://(redacted)@proxy.example/v1",
        "GROQ_BASE_URL=https://(redacted)@proxy.example/v1",
        "MISTRAL_BASE_URL=https://proxy.example/v1",
        "RUNGATE_URL=http://(redacted)@127.0.0.1:8081",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!shown.contains("hunt") && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    for (name, text) in [
        ("url", "postgres://user:hunter2@host/db\n"),
        ("token", "hunter2"),
        ("key", "hunter2\r\n"),
        ("broken-url", "mysql://user:hunter2@host/db\n"),
    ] {
        fs::write(folder.path().join("secrets").join(name), text).unwrap();
    }
    fs::write(folder.path().join(".env"), "GROQ_API_KEY_FILE=secrets/key\nGROQ_API_KEY=\n")
        .unwrap();
    let settings: [(&str, &[u8]); 3] = [
        ("DATABASE_URL_FILE", b"secrets/url"),
        ("ADMIN_TOKEN_FILE", b"secrets/token"),
        ("DATABASE_URL", b""),
    ];
    let output = rungate(folder.path(), "check-config", &settings);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let shown = text(&output.stdout);
    for line in [
        "DATABASE_URL=(from the file secrets/url, redacted)",
        "ADMIN_TOKEN=(from the file secrets/token, redacted)",
        "GROQ_API_KEY=(from the file secrets/key, redacted)",
        "OPENAI_API_KEY=not set (default)",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    let broken: [(&str, &[u8]); 1] = [("DATABASE_URL_FILE", b"secrets/broken-url")];
    let said = refused(&rungate(folder.path(), "check-config", &broken));
    assert!(said.starts_with("DATABASE_URL: does not begin with postgres://"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn files_of_secrets_that_cannot_be_used_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 5] = [
        ("good", b"hunter2"),
        ("empty", b" \n"),
        ("lines", b"hunter2\nhunter2\n"),
        ("bytes", b"hunter2\xff"),
        ("large", &[b'x'; 65_537]),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let settings: [(&str, &[u8]); 9] = [
        ("WORKERS", b"x"),
        ("DATABASE_URL", b"postgres://user:hunter2@host/db"),
        ("DATABASE_URL_FILE", b"good"),
        // Somebody took the setting for the secret itself.
        ("ADMIN_TOKEN_FILE", b"hunter2-itself"),
        ("OPENAI_API_KEY_FILE", b"empty"),
        ("ANTHROPIC_API_KEY_FILE", b"lines"),
        ("MISTRAL_API_KEY_FILE", b"bytes"),
        ("GROQ_API_KEY_FILE", b"large"),
        ("CHUTES_API_KEY_FILE", b"./good-\xff"),
    ];
    for command in ["check-config", "serve", "health"] {
        let output = rungate(folder.path(), command, &settings);
        let said = refused(&output);
        for line in [
            "WORKERS: \"x\" is not a whole number from 1 to 512",
            "DATABASE_URL: is set, and so is DATABASE_URL_FILE; set one of the two",
            "ADMIN_TOKEN_FILE: names a file that cannot be read (entity not found)",
            "OPENAI_API_KEY_FILE: names a file that holds nothing",
            "ANTHROPIC_API_KEY_FILE: names a file that holds more than one line",
            "MISTRAL_API_KEY_FILE: names a file that is not UTF-8",
            "GROQ_API_KEY_FILE: names a file that is larger than 65536 bytes",
            "CHUTES_API_KEY_FILE: is not UTF-8",
        ] {
            assert!(said.lines().any(|said| said == line), "{command}: {line}\n{said}");
        }
        assert_eq!(said.lines().count(), 9, "{said}");
        let shown = text(&output.stdout);
        assert!(!said.contains("hunter2") && !shown.contains("hunter2"), "{said}\n{shown}");
    }
}

/// The key and the base URL that a gateway would use for OpenAI.
fn in_force(mode: Mode, key: &str, url: &str) -> Option<(bool, bool)> {
    let settings = [
        ("LISTEN_ADDR", "127.0.0.1:8080"),
        ("ADMIN_LISTEN_ADDR", "192.168.7.7:8081"),
        ("DEV_LIVE", "true"),
        ("OPENAI_API_KEY", key),
        ("OPENAI_BASE_URL", url),
    ];
    let found = access::of(&config(&settings), mode, None).unwrap();
    let secrets = found.first()?.secrets().iter();
    let secrets: Vec<&str> = secrets.map(|secret| secret.expose_secret()).collect();
    Some((secrets.contains(&key), secrets.contains(&url)))
}

#[test]
fn a_developers_gateway_ignores_its_own_keys_and_addresses_and_nothing_else() {
    let (key, url) = ("sk-real", "https://proxy.example/v1");
    for (key, url, expected) in [
        (key, url, Some((true, true))),
        ("rg-run-abc", url, Some((false, true))),
        ("11111111-2222-4333-8444-555555555555", url, Some((false, true))),
        ("rg-run-abc", "http://localhost:8080/v1", None),
        (key, "http://127.0.0.1:8080/v1", Some((true, false))),
        (key, "http://127.0.0.9:8080", Some((true, false))),
        (key, "http://LOCALHOST.:8080/v1", Some((true, false))),
        (key, "http://user@[::1]:8080/v1", Some((true, false))),
        (key, "http://[::ffff:127.0.0.1]:8080/v1", Some((true, false))),
        (key, "http://0.0.0.0:8080/v1", Some((true, false))),
        (key, "http://127.0.0.1:8081/v1", Some((true, false))),
        (key, "http://192.168.7.7:8081/v1", Some((true, false))),
        (key, "http://127.0.0.1:8090/v1", Some((true, true))),
        (key, "http://127.0.0.1:18080/v1", Some((true, true))),
        (key, "https://proxy.example:8080/v1", Some((true, true))),
        (key, "https://proxy.example/?to=//127.0.0.1:8080", Some((true, true))),
        (key, "http://localhost.example:8080/v1", Some((true, true))),
    ] {
        assert_eq!(in_force(Mode::Dev, key, url), expected, "{key} {url}");
        let serve = in_force(Mode::Serve, key, url);
        assert_eq!(serve, Some((true, true)), "serve takes what it is told: {key} {url}");
    }
}
