//! Files on this machine that a container gets to see.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::id::RunId;
pub(super) use crate::storage::new_file::{NewFile, PRIVATE, SHARED};

/// The folder of a run's files below `DATA_DIR`, which nobody else on this machine can enter.
///
/// # Errors
/// If it cannot be made.
pub(super) fn folder(data_dir: &Path, run: RunId) -> io::Result<PathBuf> {
    // Not private itself: the private Postgres may run as another user.
    fs::create_dir_all(data_dir)?;
    let mut folder = fs::canonicalize(data_dir)?;
    for name in ["env".to_owned(), run.to_string()] {
        folder.push(name);
        let made = DirBuilder::new().mode(0o700).create(&folder);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => fs::set_permissions(&folder, Permissions::from_mode(0o700))?,
        }
    }
    Ok(folder)
}
