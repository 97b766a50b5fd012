//! The operator's token: given, or made on the first start and kept.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::domain::key::random_secret;

use super::StartError;

const FILE: &str = "admin-token";
const PREFIX: &str = "rg-adm-";

/// The token of the control plane.
pub enum AdminToken {
    /// `dev` asks for none.
    NotNeeded,
    /// The operator set it.
    Given(SecretString),
    /// It was made and is kept in this file.
    Kept(SecretString, PathBuf),
}

impl AdminToken {
    /// The token to ask for.
    pub fn secret(&self) -> Option<SecretString> {
        match self {
            Self::NotNeeded => None,
            Self::Given(secret) | Self::Kept(secret, _) => Some(secret.clone()),
        }
    }

    /// Where it is kept, if it was made.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::NotNeeded | Self::Given(_) => None,
            Self::Kept(_, file) => Some(file.clone()),
        }
    }
}

/// The token that a client on this machine can use: the one that is set, or the one that is kept.
pub fn known(config: &Config) -> Option<SecretString> {
    config.admin_token.clone().or_else(|| read(&config.data_dir.join(FILE)))
}

/// Takes the token that is set, or the one that is kept, or makes one and keeps it.
///
/// # Errors
/// If it cannot be kept.
pub fn load(config: &Config) -> Result<AdminToken, StartError> {
    if let Some(given) = &config.admin_token {
        return Ok(AdminToken::Given(given.clone()));
    }
    let path = config.data_dir.join(FILE);
    if let Some(kept) = read(&path) {
        return Ok(AdminToken::Kept(kept, path));
    }
    let secret = random_secret(PREFIX)?;
    let kept = keep(&config.data_dir, &path, secret.expose_secret());
    kept.map_err(|error| StartError::AdminToken(config.data_dir.clone(), error))?;
    // Another gateway that started at the same moment may have been faster; then its token holds.
    let secret = read(&path).unwrap_or(secret);
    Ok(AdminToken::Kept(secret, path))
}

fn read(path: &Path) -> Option<SecretString> {
    let mut text = Zeroizing::new(String::new());
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned().into())
}

/// Readable by its owner alone from the first moment on.
fn keep(folder: &Path, path: &Path, secret: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match opened {
        Ok(mut file) => writeln!(file, "{secret}"),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
