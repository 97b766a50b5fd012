//! Files on this machine that a container gets to see.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::id::RunId;

/// For its owner alone.
pub(super) const PRIVATE: u32 = 0o600;
/// For whoever gets to see it, who may be any user of a container.
pub(super) const SHARED: u32 = 0o644;

/// A file that comes to be whole or not at all.
pub(super) struct NewFile {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Makes sure that a file can be written there, and leaves what is there as it is.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&beside)?;
        Ok(Self { file, beside, path: path.to_owned() })
    }

    /// Writes it and puts it in its place.
    ///
    /// # Errors
    /// If that fails; nothing has changed then.
    pub(super) fn finish(mut self, text: &str, mode: u32) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(&self.beside, &self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Nothing is there any more once it has its place.
        let _in_its_place = fs::remove_file(&self.beside);
    }
}

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
