//! As whom the server runs, and whether that user can reach its files.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::ClusterError;

/// The user root drops to.
const SERVER_USER: &str = "postgres";

/// A user other than ours, which only root can become.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// As whom programs run and files are kept: ourselves, or `drop_to` when we are root.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) drop_to: Option<Account>,
}

impl Runner {
    /// Ourselves; for root the `postgres` user, as the server refuses to run as root.
    pub(super) fn detect() -> Result<Runner, ClusterError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Runner { drop_to: None });
        }
        let path = Path::new("/etc/passwd");
        let passwd = fs::read(path).map_err(ClusterError::file("read", path))?;
        let account = account_in(&String::from_utf8_lossy(&passwd), SERVER_USER)
            .ok_or(ClusterError::NoAccount)?;
        Ok(Runner { drop_to: Some(account) })
    }

    /// The uid of the server and of its files.
    pub(super) fn uid(&self) -> u32 {
        match &self.drop_to {
            Some(account) => account.uid,
            None => rustix::process::geteuid().as_raw(),
        }
    }

    /// The name for messages.
    pub(super) fn name(&self) -> &str {
        match &self.drop_to {
            Some(account) => &account.name,
            None => "of this process",
        }
    }

    /// A command in a group of its own, so that Ctrl-C in the terminal passes it by, with a
    /// clean environment: PG* variables would redirect it, and our secrets are none of its
    /// business. With `uid`, std drops root's supplementary groups as well.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        if let Some(account) = &self.drop_to {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Gives a file or folder to the server's user. Never follows a link, which that user could
    /// have put in the place of a file.
    pub(super) fn give(&self, path: &Path) -> Result<(), ClusterError> {
        let Some(account) = &self.drop_to else {
            return Ok(());
        };
        lchown(path, Some(account.uid), Some(account.gid))
            .map_err(ClusterError::file("change the owner of", path))
    }

    /// Errs with the first folder, from the root down to `path` itself, that stops the user.
    /// Ends that do not exist yet are left out.
    pub(super) fn check_reach(&self, path: &Path) -> Result<(), ClusterError> {
        let Some(account) = &self.drop_to else {
            return Ok(());
        };
        let blocked = blocking_folder(path, account).map_err(ClusterError::file("read", path))?;
        match blocked {
            Some(folder) => Err(ClusterError::Blocked { folder, user: account.name.clone() }),
            None => Ok(()),
        }
    }
}

/// The first folder on the way to `path` that `account` may not pass. Looks at the mode bits
/// only; an access list that says otherwise is not read.
fn blocking_folder(path: &Path, account: &Account) -> io::Result<Option<PathBuf>> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    // The links are resolved first: it is the folders behind them that must be passable.
    let real = existing.canonicalize()?;
    let mut folders: Vec<&Path> = real.ancestors().collect();
    folders.reverse();
    for folder in folders {
        let metadata = fs::metadata(folder)?;
        let pass_bit = if metadata.uid() == account.uid {
            0o100
        } else if metadata.gid() == account.gid {
            0o010
        } else {
            0o001
        };
        if metadata.is_dir() && metadata.mode() & pass_bit == 0 {
            return Ok(Some(folder.to_path_buf()));
        }
    }
    Ok(None)
}

/// Reads `name:password:uid:gid:...` lines.
fn account_in(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        // A "postgres" that is root in disguise would only be refused by the server.
        (uid != 0).then(|| Account { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn stranger() -> Account {
        Account { name: "stranger".to_owned(), uid: 64_999, gid: 64_999 }
    }

    #[test]
    fn the_folder_that_blocks_the_user_is_named() {
        let root = tempfile::tempdir().unwrap();
        let outer = root.path().canonicalize().unwrap();
        let closed = outer.join("closed");
        fs::create_dir_all(closed.join("open")).unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let wanted = closed.join("open/not/made/yet");

        assert_eq!(blocking_folder(&wanted, &stranger()).unwrap(), Some(closed.clone()));
        let runner = Runner { drop_to: Some(stranger()) };
        let message = runner.check_reach(&wanted).unwrap_err().to_string();
        assert!(message.contains(closed.to_str().unwrap()), "{message}");
        assert!(message.contains("chmod o+x"), "{message}");

        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(blocking_folder(&wanted, &stranger()).unwrap(), None);
    }

    #[test]
    fn a_link_does_not_hide_the_folder_that_blocks() {
        let root = tempfile::tempdir().unwrap();
        let outer = root.path().canonicalize().unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(outer.join("closed/inner")).unwrap();
        let closed = outer.join("closed");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(closed.join("inner"), outer.join("link")).unwrap();
        assert_eq!(blocking_folder(&outer.join("link"), &stranger()).unwrap(), Some(closed));
    }

    #[test]
    fn the_account_is_read_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        let account = account_in(passwd, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert!(account_in(passwd, "post").is_none());
        assert!(account_in("postgres:x:0:0:::\n", "postgres").is_none());
    }
}
