//! Where the server's programs are.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Runner;
use super::error::ClusterError;

/// Where Debian and Ubuntu keep one folder per major version, none of them on PATH.
const VERSIONED_FOLDERS: &str = "/usr/lib/postgresql";

/// A folder that holds all three programs.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The first folder whose major version is `wanted`, or simply the first.
    pub(super) fn find(
        runner: &Runner,
        wanted: Option<&str>,
        pgdata: &Path,
    ) -> Result<Binaries, ClusterError> {
        let path = std::env::var_os("PATH");
        let folders = candidates(path.as_deref(), Path::new(VERSIONED_FOLDERS));
        let mut reachable = folders.into_iter().filter(|one| runner.check_reach(one).is_ok());
        let Some(made_by) = wanted else {
            let folder = reachable.next().ok_or(ClusterError::NotInstalled)?;
            return Ok(Binaries { folder });
        };
        let mut found = Vec::new();
        for folder in reachable {
            let version = major_version(&folder)?;
            if version == made_by {
                return Ok(Binaries { folder });
            }
            if !found.contains(&version) {
                found.push(version);
            }
        }
        if found.is_empty() {
            return Err(ClusterError::NotInstalled);
        }
        Err(ClusterError::WrongVersion {
            pgdata: pgdata.to_path_buf(),
            made_by: made_by.to_owned(),
            found: found.join(", "),
        })
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(super) fn pg_ctl(&self) -> PathBuf {
        self.folder.join("pg_ctl")
    }
}

/// The folders that hold all three programs: those of PATH in its order, then those of
/// `versioned`, the highest version first.
fn candidates(path: Option<&OsStr>, versioned: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path.map(std::env::split_paths).into_iter().flatten().collect();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(versioned)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    // A relative entry of PATH would mean another folder to the server, which runs in "/".
    folders.retain(|folder| folder.is_absolute() && has_all(folder));
    folders
}

fn has_all(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"].iter().all(|name| {
        fs::metadata(folder.join(name))
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// "15" from "postgres (PostgreSQL) 15.13 (Debian 15.13-0)".
fn major_version(folder: &Path) -> Result<String, ClusterError> {
    let program = folder.join("postgres");
    let output =
        Command::new(&program).arg("--version").output().map_err(ClusterError::run(&program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2).unwrap_or("of an unknown version");
    Ok(version.chars().take_while(char::is_ascii_digit).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn install(folder: &Path, names: &[&str]) {
        fs::create_dir_all(folder).unwrap();
        for name in names {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn the_path_comes_first_then_the_highest_version() {
        let root = tempfile::tempdir().unwrap();
        let all = ["initdb", "postgres", "pg_ctl"];
        let (half, own) = (root.path().join("half"), root.path().join("own"));
        install(&half, &["postgres", "pg_ctl"]);
        install(&own, &all);
        let versioned = root.path().join("lib");
        install(&versioned.join("9/bin"), &all);
        install(&versioned.join("17/bin"), &all);
        install(&versioned.join("18/bin"), &["postgres"]);
        let path = std::env::join_paths([&half, &own]).unwrap();
        assert_eq!(
            candidates(Some(&path), &versioned),
            [own, versioned.join("17/bin"), versioned.join("9/bin")]
        );
        assert!(candidates(None, &root.path().join("none")).is_empty());
    }

    #[test]
    fn a_missing_server_is_reported_with_what_to_install() {
        let message = ClusterError::NotInstalled.to_string();
        assert!(message.contains("apt-get install postgresql"), "{message}");
        assert!(message.contains("DATABASE_URL"), "{message}");
    }
}
