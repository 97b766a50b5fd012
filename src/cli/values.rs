//! Values of options, read as they were typed.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use secrecy::SecretString;
use serde_json::value::RawValue;

use crate::config::{secret_from, secret_from_file};
use crate::domain::money::Usd;

use super::exit::{Exit, Failure};

/// What stands for standard input where a file is named.
const STANDARD_INPUT: &str = "-";

/// An amount, as it was typed.
pub(super) fn usd(text: &str) -> Result<String, String> {
    match Usd::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is not an amount of dollars such as 0.25".to_owned()),
    }
}

/// An amount of dollars, in cents.
pub(super) fn cents(text: &str) -> Result<u64, String> {
    let cents = Usd::parse(text).ok().and_then(|usd| {
        let cents = usd.decimal().checked_mul(Decimal::ONE_HUNDRED)?.normalize();
        cents.is_integer().then(|| cents.to_u64()).flatten()
    });
    cents.ok_or_else(|| "is not an amount of dollars in whole cents such as 12.50".to_owned())
}

/// JSON, as it was typed.
pub(super) fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())
}

/// An instant, as it was typed.
pub(super) fn instant(text: &str) -> Result<String, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is not an instant such as 2030-01-31T12:00:00Z".to_owned()),
    }
}

/// A name that can stand in a path as it is.
pub(super) fn path_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    if text.is_empty() || matches!(text, "." | "..") || !text.chars().all(plain) {
        return Err("is no name: it may hold letters, digits and any of . _ @ + -".to_owned());
    }
    Ok(text.to_owned())
}

/// A secret from a file, or from standard input for `-`. It is never an argument, which every list
/// of processes shows.
///
/// # Errors
/// What is wrong with it. The name of the file is not told: it may be the secret itself.
pub(super) fn secret(option: &str, file: &Path) -> Result<SecretString, Failure> {
    if file != Path::new(STANDARD_INPUT) {
        return secret_from_file(file)
            .map_err(|problem| Failure::new(Exit::Usage, format!("{option} {problem}")));
    }
    if std::io::stdin().is_terminal() {
        let what = format!(
            "{option} is to be read from standard input, which is a terminal and would show it: \
             redirect a file, or name one with {option}"
        );
        return Err(Failure::new(Exit::Usage, what));
    }
    secret_from(std::io::stdin().lock()).map_err(|problem| {
        let what = format!("{option} is read from standard input, which {problem}");
        Failure::new(Exit::Usage, what)
    })
}

/// Where a secret comes from that is not given otherwise.
pub(super) fn standard_input() -> PathBuf {
    PathBuf::from(STANDARD_INPUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_cents_exactly_or_not_at_all() {
        for (text, expected) in [
            ("0", Some(0)),
            ("50", Some(5_000)),
            ("12.5", Some(1_250)),
            ("12.500", Some(1_250)),
            ("0.01", Some(1)),
            ("9999999999.99", Some(999_999_999_999)),
            ("0.001", None),
            ("-1", None),
            ("$1", None),
            ("", None),
            ("10000000000", None),
        ] {
            assert_eq!(cents(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for name in ["ada", "ada.l@example.org", "azure_openai", "...", "a+b-c"] {
            assert_eq!(path_name(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "a/b", "a b", "ä", "a?b", "a%2e"] {
            assert!(path_name(name).is_err(), "{name}");
        }
    }
}
