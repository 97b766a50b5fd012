//! Files that come to be whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// For its owner alone.
pub const PRIVATE: u32 = 0o600;
/// For whoever gets to see it, who may be any user of a container.
pub const SHARED: u32 = 0o644;

/// A file that comes to be whole or not at all.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Makes sure that a file can be written there, and leaves what is there as it is.
    ///
    /// # Errors
    /// If it cannot.
    pub fn begin(path: &Path) -> io::Result<Self> {
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
    pub fn finish(mut self, text: &str, mode: u32) -> io::Result<()> {
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
