//! Secrets that stand in files of their own, as container platforms hand them out.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

/// Largest file of a secret, in bytes.
const LARGEST: u64 = 65_536;

/// The setting that names the file of a secret.
pub fn secret_file(name: &str) -> String {
    format!("{name}_FILE")
}

/// The one line that the file holds, without the space around it.
///
/// # Errors
/// What is wrong, in words that hold nothing of the file, nor its name: somebody may have put the
/// secret itself there.
pub(super) fn read(path: &str) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidData => "names a file that is not UTF-8".to_owned(),
        kind => format!("names a file that cannot be read ({kind})"),
    };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(unreadable)?;
    let length = file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > LARGEST {
        return Err(format!("names a file of more than {LARGEST} bytes"));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err("names a file that holds nothing".to_owned());
    }
    if secret.contains(['\n', '\r']) {
        return Err("names a file that holds more than one line".to_owned());
    }
    Ok(secret.to_owned().into())
}

/// What may be shown of where a secret comes from. A name that is no file's may be the secret
/// itself, put in the wrong place.
pub(super) fn shown(path: &str) -> String {
    if Path::new(path).is_file() {
        format!("(from the file {path}, redacted)")
    } else {
        "(from a file, redacted)".to_owned()
    }
}
