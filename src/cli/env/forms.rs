//! The three ways to say it: lines for a shell, flags for docker, one object for a program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::ser::{SerializeMap as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use crate::config::Config;

use super::super::exit::{Exit, Failure};
use super::codex;
use super::host::{self, NewFile, PRIVATE, SHARED};
use super::variables::Sandbox;

/// A way to say it.
pub(super) enum Form {
    /// Lines for a shell.
    Export,
    /// Flags for docker, the variables in this file or among them.
    Docker { env_file: Option<PathBuf> },
    /// One object.
    Json,
}

/// Whatever can fail has been done.
pub(super) struct Prepared {
    form: Ready,
    codex: String,
}

enum Ready {
    Export,
    Docker { codex_file: PathBuf, env_file: Option<(NewFile, PathBuf)> },
    Json,
}

impl Form {
    /// Writes what is no secret, and checks that the rest can be said in this way.
    ///
    /// # Errors
    /// If it cannot, or a file cannot be written.
    pub(super) fn prepare(self, sandbox: &Sandbox, config: &Config) -> anyhow::Result<Prepared> {
        let codex = codex::config(sandbox)?;
        let form = match self {
            Self::Export => Ready::Export,
            Self::Json => Ready::Json,
            Self::Docker { env_file } => {
                let folder = host::folder(&config.data_dir, sandbox.run).with_context(|| {
                    format!("DATA_DIR ({}) cannot keep Codex's file", config.data_dir.display())
                })?;
                let codex_file = folder.join("config.toml");
                let env_file = env_file.map(begin).transpose()?;
                let flags =
                    flags(sandbox, &codex_file, env_file.as_ref().map(|(_, path)| &**path))?;
                flags.iter().flatten().try_for_each(|word| can_be_carried(word))?;
                NewFile::begin(&codex_file)
                    .and_then(|file| file.finish(&codex, SHARED))
                    .with_context(|| format!("{} cannot be written", codex_file.display()))?;
                Ready::Docker { codex_file, env_file }
            }
        };
        Ok(Prepared { form, codex })
    }
}

/// A file for the variables, and its path from the root.
fn begin(path: PathBuf) -> anyhow::Result<(NewFile, PathBuf)> {
    let absolute = std::path::absolute(&path)?;
    let file = NewFile::begin(&absolute)
        .with_context(|| format!("--env-file {} cannot be written", path.display()))?;
    Ok((file, absolute))
}

impl Prepared {
    /// What is to be printed.
    ///
    /// # Errors
    /// If a file for the variables cannot be written.
    pub(super) fn finish(self, sandbox: &Sandbox) -> anyhow::Result<String> {
        match self.form {
            Ready::Export => export(sandbox, &self.codex),
            Ready::Json => {
                Ok(serde_json::to_string_pretty(&Injected { sandbox, codex: &self.codex })?)
            }
            Ready::Docker { codex_file, env_file } => {
                let path = env_file.as_ref().map(|(_, path)| path.clone());
                if let Some((file, path)) = env_file {
                    let lines = sandbox.variables().into_iter();
                    let lines: String =
                        lines.map(|(name, value)| format!("{name}={value}\n")).collect();
                    file.finish(&lines, PRIVATE)
                        .with_context(|| format!("{} cannot be written", path.display()))?;
                }
                let flags = flags(sandbox, &codex_file, path.as_deref())?;
                let lines: Vec<String> = flags.iter().map(|words| words.join(" ")).collect();
                Ok(lines.join("\n"))
            }
        }
    }
}

/// Lines that a POSIX shell takes, each value quoted where it has to be.
fn export(sandbox: &Sandbox, codex: &str) -> anyhow::Result<String> {
    let mut lines = String::new();
    for (name, value) in sandbox.variables() {
        writeln!(lines, "export {name}={}", shlex::try_quote(&value)?)?;
    }
    let folder = shlex::try_quote(&sandbox.codex_home)?;
    let file = sandbox.codex_file();
    let (file, codex) = (shlex::try_quote(&file)?, shlex::try_quote(codex)?);
    write!(lines, "mkdir -p {folder} && printf %s {codex} > {file}")?;
    Ok(lines)
}

/// What `docker run` takes, a flag with its value each.
fn flags(
    sandbox: &Sandbox,
    codex_file: &Path,
    env_file: Option<&Path>,
) -> anyhow::Result<Vec<[String; 2]>> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let mut flags = Vec::new();
    match env_file {
        Some(path) => flags.push(["--env-file".to_owned(), text(path)?]),
        None => flags.extend(
            sandbox
                .variables()
                .into_iter()
                .map(|(name, value)| ["-e".to_owned(), format!("{name}={value}")]),
        ),
    }
    let (here, there) = (text(codex_file)?, sandbox.codex_file());
    if here.contains(':') || there.contains(':') {
        let what = "DATA_DIR and --codex-home may hold no colon for --format docker";
        return Err(Failure::new(Exit::Usage, what).into());
    }
    flags.push(["-v".to_owned(), format!("{here}:{there}:ro")]);
    if sandbox.gateway.is_docker_host() {
        let host = format!("{}:host-gateway", sandbox.gateway.host);
        flags.push(["--add-host".to_owned(), host]);
    }
    Ok(flags)
}

/// The words of `$(…)` are split at blanks and globbed, and quotes in them mean nothing; pasted,
/// they go through a shell. So only characters are taken that mean nothing to any of these.
fn can_be_carried(word: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,~^[]".contains(c);
    if word.chars().all(is_plain) {
        return Ok(());
    }
    // The word may be a variable with its value; its name says enough.
    let name = word.split('=').next().unwrap_or(word);
    let what = format!(
        "{name:?} holds a character that `docker run $(…)` cannot carry; use --env-file or \
         --format json"
    );
    Err(Failure::new(Exit::Failed, what))
}

/// Everything as one object.
struct Injected<'a> {
    sandbox: &'a Sandbox,
    codex: &'a str,
}

impl Serialize for Injected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Injected", 2)?;
        object.serialize_field("env", &InOrder(self.sandbox.variables()))?;
        let path = self.sandbox.codex_file();
        let mode = format!("{SHARED:04o}");
        object.serialize_field("files", &[InjectedFile { path, content: self.codex, mode }])?;
        object.end()
    }
}

#[derive(Serialize)]
struct InjectedFile<'a> {
    path: String,
    content: &'a str,
    mode: String,
}

/// An object whose members keep their order.
struct InOrder(Vec<(&'static str, String)>);

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
