//! Secrets that stand in files of their own, as container platforms hand them out.

use std::fs::File;
use std::io::{ErrorKind, Read};
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
pub fn secret_from_file(path: &Path) -> Result<SecretString, String> {
    let read = File::open(path).map_err(|error| unreadable(&error)).and_then(secret_from);
    read.map_err(|problem| format!("names a file that {problem}"))
}

/// The one line that is read to the end, without the space around it.
///
/// # Errors
/// What is wrong, in words that hold nothing of what was read.
pub fn secret_from(source: impl Read) -> Result<SecretString, String> {
    let mut text = Zeroizing::new(String::new());
    let read = source.take(LARGEST + 1).read_to_string(&mut text);
    if read.map_err(|error| unreadable(&error))? as u64 > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes"));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err("holds nothing".to_owned());
    }
    if secret.contains(['\n', '\r']) {
        return Err("holds more than one line".to_owned());
    }
    Ok(secret.to_owned().into())
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidData => "is not UTF-8".to_owned(),
        kind => format!("cannot be read ({kind})"),
    }
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
