//! Whoever types commands.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::support::gateway::{ADMIN_TOKEN, TestGateway};
use crate::support::watch;

/// A folder to type commands in, and what the environment says there.
pub(super) struct Shell {
    folder: TempDir,
    settings: Vec<(String, String)>,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// Standard output of a command that had nothing else to say.
    #[track_caller]
    pub(super) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    pub(super) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// The one line of a command that failed and printed nothing.
    #[track_caller]
    pub(super) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap_or_else(|| panic!("{self:?}"));
        assert!(!line.contains('\n') && line.starts_with("rungate: "), "{self:?}");
        line.trim_start_matches("rungate: ").to_owned()
    }
}

impl Shell {
    /// Before the control plane at this URL.
    pub(super) fn at(url: &str) -> Self {
        let settings = vec![
            ("RUNGATE_URL".to_owned(), url.to_owned()),
            ("LISTEN_ADDR".to_owned(), "127.0.0.1:18080".to_owned()),
        ];
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    /// Before this gateway.
    pub(super) fn before(gateway: &TestGateway) -> Self {
        let data = gateway.client.data.trim_start_matches("http://").to_owned();
        Self::at(&gateway.client.admin).with("LISTEN_ADDR", &data)
    }

    /// The operator of this gateway.
    pub(super) fn operating(gateway: &TestGateway) -> Self {
        Self::before(gateway).with("ADMIN_TOKEN", ADMIN_TOKEN)
    }

    /// With a setting more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that was not started yet.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts `rungate` with these words.
    pub(super) fn start(&self, args: &[&str]) -> Child {
        self.command(env!("CARGO_BIN_EXE_rungate"), args).spawn().unwrap()
    }

    /// Types `rungate` and these words.
    pub(super) async fn run(&self, args: &[&str]) -> Said {
        ended(self.start(args)).await
    }

    /// Types `rungate` and these words, and gives it this to read.
    pub(super) async fn given(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_rungate"), args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        ended(child).await
    }

    /// Types the words of a line that has no blanks within words.
    pub(super) async fn types(&self, line: &str) -> Said {
        self.run(&line.split_whitespace().collect::<Vec<_>>()).await
    }
}

/// What differs from one time to the next is blanked where it stands, each by a text of its length:
/// times, days, ids in the order in which they appear, keys by their beginning.
pub(super) fn without_the_moment(text: &str) -> String {
    let mut ids: Vec<String> = Vec::new();
    let mut blank = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_day =
            bare.len() == 10 && chrono::NaiveDate::parse_from_str(bare, "%Y-%m-%d").is_ok();
        let blanked = if uuid::Uuid::try_parse(bare).is_ok() {
            let known = ids.iter().position(|id| id == bare).unwrap_or(ids.len());
            if known == ids.len() {
                ids.push(bare.to_owned());
            }
            format!("0195a1b2-c3d4-7e5f-8a9b-{:012}", known + 1)
        } else if chrono::DateTime::parse_from_rfc3339(bare).is_ok() {
            "2026-11-21T12:00:00Z".to_owned()
        } else if is_day {
            "2026-11-01".to_owned()
        } else if let Some(kind) =
            ["rg-key-", "rg-orc-"].iter().find(|kind| bare.starts_with(**kind))
        {
            let rest = if bare.len() > 11 { "…" } else { "3f4a" };
            // The rest of a secret may end in a sign that was taken for the end of the word.
            return format!("{kind}{rest}");
        } else {
            return word.to_owned();
        };
        word.replace(bare, &blanked)
    };
    let lines =
        text.lines().map(|line| line.split(' ').map(&mut blank).collect::<Vec<_>>().join(" "));
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Waits for the end of a command.
pub(super) async fn ended(child: Child) -> Said {
    let output = child.wait_with_output().await.unwrap();
    watch::output(&output);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{:?}", output.status));
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}
