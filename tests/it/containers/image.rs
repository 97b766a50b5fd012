//! The Dockerfile and what it is given.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use rungate::config::{Config, SETTINGS, secret_settings};

use crate::support::watch;

use super::{root, text};

/// The instructions of the Dockerfile, each with its arguments on one line.
pub(super) fn instructions() -> Vec<(String, String)> {
    let text = text("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), arguments.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().filter(|line| !line.trim().is_empty()).map(split).collect()
}

/// Those of the image that is kept: what follows the last FROM.
fn last_stage() -> Vec<(String, String)> {
    let all = instructions();
    let from = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    all[from..].to_vec()
}

/// The arguments of the one instruction of this name in the image.
#[track_caller]
fn only(name: &str) -> String {
    let stage = last_stage();
    let mut found = stage.iter().filter(|(known, _)| known == name);
    let (_, arguments) = found.next().unwrap_or_else(|| panic!("no {name} in the image"));
    assert!(found.next().is_none(), "more than one {name} in the image");
    arguments.clone()
}

/// The image's settings.
pub(super) fn settings() -> Vec<(String, String)> {
    let assigned = only("ENV");
    let pairs = assigned.split(' ').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The command that an instruction gives in JSON.
fn command(arguments: &str) -> Vec<String> {
    serde_json::from_str(arguments).unwrap_or_else(|_| panic!("not the JSON form: {arguments}"))
}

/// What of the project a build of the image sees.
fn let_in() -> Vec<String> {
    let ignored = text(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "everything is kept out first");
    rules.map(|rule| rule.strip_prefix('!').unwrap().to_owned()).collect()
}

fn files(below: &Path) -> Vec<PathBuf> {
    if !below.is_dir() {
        return if below.exists() { vec![below.to_owned()] } else { Vec::new() };
    }
    let entries = fs::read_dir(below).unwrap();
    entries.flat_map(|entry| files(&entry.unwrap().path())).collect()
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
        path
    })
}

#[test]
fn cargo_finds_everything_in_what_the_image_is_built_of() {
    let folder = tempfile::tempdir().unwrap();
    for path in let_in().iter().flat_map(|name| files(&root().join(name))) {
        let copy = folder.path().join(path.strip_prefix(root()).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }
    assert!(folder.path().join("Cargo.lock").exists(), "--locked needs it");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_file_that_the_code_takes_in_reaches_the_build() {
    let allowed = let_in();
    let mut taken = 0;
    for source in files(&root().join("src")) {
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = fs::read_to_string(&source).unwrap();
        for (mark, from) in [
            ("include_str!(\"", source.parent().unwrap().to_owned()),
            ("include_bytes!(\"", source.parent().unwrap().to_owned()),
            ("migrate!(\"", root()),
        ] {
            for (at, _) in code.match_indices(mark) {
                let name = code[at + mark.len()..].split('"').next().unwrap();
                let path = plain(&from.join(name));
                let inner = path.strip_prefix(root()).unwrap();
                let reaches = allowed.iter().any(|name| inner.starts_with(name));
                assert!(reaches && path.exists(), "{}: {name}", source.display());
                taken += 1;
            }
        }
    }
    assert!(taken > 2, "the catalogue, the migrations and the map are taken in");
    assert!(allowed.iter().all(|name| !name.contains("secret") && !name.contains(".env")));
}

#[test]
fn the_image_is_built_by_the_compiler_that_the_project_names() {
    let manifest = text("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let all = instructions();
    let (name, from) = &all[0];
    assert_eq!(name, "FROM");
    assert!(from.starts_with(&format!("rust:{}-", wanted.trim_matches('"'))), "{from}");
    let builds = all.iter().any(|(name, arguments)| {
        name == "RUN" && arguments.contains("cargo build --release --locked --bin rungate")
    });
    assert!(builds, "{all:?}");
}

#[test]
fn the_image_serves_both_planes_as_nobody_in_particular() {
    let user = only("USER");
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id >= 10_000), "{user}");

    let settings = settings();
    let secrets: Vec<String> = secret_settings().collect();
    for (name, _) in &settings {
        assert!(SETTINGS.iter().any(|setting| setting.name == *name), "{name} is no setting");
        assert!(!secrets.contains(name), "{name} is a secret");
    }
    let get = |name: &str| {
        settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let config = Config::read(&get).unwrap();
    let listens = [config.listen_addr, config.admin_listen_addr];
    assert!(listens.iter().all(|address| address.ip().is_unspecified()), "{listens:?}");
    let ports: Vec<String> = listens.iter().map(|address| address.port().to_string()).collect();
    assert_eq!(only("EXPOSE"), ports.join(" "));
    assert_eq!(only("STOPSIGNAL"), "SIGTERM");
}

#[test]
fn the_commands_of_the_image_are_commands_of_the_program() {
    let mut serve = command(&only("ENTRYPOINT"));
    serve.extend(command(&only("CMD")));
    assert_eq!(serve, ["rungate", "serve"]);
    let check = only("HEALTHCHECK");
    let check = command(check.split_once("CMD ").unwrap().1);
    assert_eq!(check, ["rungate", "health"]);
    for line in [serve, check] {
        let output = Command::new(env!("CARGO_BIN_EXE_rungate"))
            .args(&line[1..])
            .arg("--help")
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        watch::output(&output);
        assert!(output.status.success(), "{line:?}: {output:?}");
    }
    let copied = only("COPY");
    assert!(copied.ends_with("/usr/local/bin/rungate"), "{copied}");
}
