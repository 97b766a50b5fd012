//! Where settings come from: the process's environment first, then `.env`.

use std::collections::HashMap;
use std::env::VarError;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{
    ConfigError, SETTINGS, provider_settings, secret_file, secret_settings, unknown_names,
};

/// The environment of the process and the file `.env` of its working directory.
#[derive(Debug, Default)]
pub struct Environment {
    file: HashMap<String, SecretString>,
    errors: Vec<ConfigError>,
}

impl Environment {
    /// Reads both. What cannot be read is remembered among the errors.
    pub fn read() -> Self {
        // Not the file of a folder above: it may belong to another project.
        let mut environment = Self::of_file(Path::new("./.env"));
        let settings = SETTINGS.iter().map(|setting| setting.name.to_owned());
        let files = secret_settings().map(|name| secret_file(&name));
        for name in settings.chain(provider_settings()).chain(files) {
            if matches!(std::env::var(&name), Err(VarError::NotUnicode(_))) {
                environment.wrong(&name, "is not UTF-8".to_owned());
            }
        }
        environment
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<String> {
        match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => {
                self.file.get(name).map(|value| value.expose_secret().to_owned())
            }
            Err(VarError::NotUnicode(_)) => None,
        }
    }

    /// What could not be read. It holds no values.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// Names in `.env` that mean nothing here, in order.
    pub fn unknown_names(&self) -> Vec<&str> {
        let mut unknown = unknown_names(self.file.keys().map(String::as_str));
        unknown.sort_unstable();
        unknown
    }

    fn of_file(path: &Path) -> Self {
        let mut environment = Self::default();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return environment,
            Err(error) => {
                environment.wrong(".env", format!("cannot be read ({})", error.kind()));
                return environment;
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => environment.take_in(text.trim_start_matches('\u{feff}')),
            Err(_) => environment.wrong(".env", "is not UTF-8".to_owned()),
        }
        environment
    }

    fn take_in(&mut self, text: &str) {
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            match entry {
                Ok((name, value)) => {
                    self.file.insert(name, value.into());
                }
                Err(dotenvy::Error::LineParse(broken, _)) => {
                    // The line may hold a secret, so only its number is told.
                    let first = broken.lines().next().unwrap_or_default();
                    let line = text.lines().position(|line| line.trim() == first.trim());
                    let place =
                        line.map_or(String::new(), |index| format!(" (line {})", index + 1));
                    self.wrong(".env", format!("holds a line that is not NAME=value{place}"));
                }
                Err(_) => self.wrong(".env", "cannot be understood".to_owned()),
            }
        }
    }

    fn wrong(&mut self, name: &str, problem: String) {
        self.errors.push(ConfigError { name: name.to_owned(), problem });
    }
}
