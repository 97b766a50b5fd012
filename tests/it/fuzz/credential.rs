//! Credentials: only what has the form of one of ours is taken for one, whatever the bytes.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::domain::id::RunId;
use rungate::domain::key::{Credential, TokenHash};

use super::mutate::damaged;
use super::{cases, corpus, fuzz};

const KIND: &str = "credential";

pub(super) const WORDS: &[&str] = &[
    "rg-run-",
    "rg-key-",
    "RG-RUN-",
    "rg-orc-",
    "Bearer ",
    "bearer\t",
    "Basic ",
    "sk-",
    " ",
    "\t",
    "00000000-0000-0000-0000-000000000000",
    "{",
    "}",
    "urn:uuid:",
    "-",
    "%2e",
    "%00",
    "%2f",
    "/",
    "..",
    ";",
    "?",
    "#",
    "\r\n",
    "\u{0}",
    "é",
    "\u{feff}",
    "A",
    "=",
    ",",
    "'",
    "\"",
    "$1",
    "--",
];

pub(super) fn credentials() -> impl Strategy<Value = Vec<u8>> {
    let kept: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, bytes)| bytes).collect();
    let source = prop_oneof![
        2 => prop::sample::select(kept),
        1 => "rg-run-[A-Za-z0-9_-]{43}".prop_map(String::into_bytes),
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"
            .prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    damaged(source, WORDS)
}

#[test]
fn no_bytes_are_taken_for_a_credential_that_they_are_not() {
    fuzz(KIND, cases(3_000), &credentials(), check);
}

fn check(bytes: &[u8]) -> TestCaseResult {
    let text = String::from_utf8_lossy(bytes);
    let run = RunId::parse(&text);
    match Credential::parse(&text) {
        Credential::RunToken(hash) => {
            prop_assert!(text.starts_with("rg-run-") && text.len() <= 256);
            prop_assert_eq!(hash, TokenHash::of(&text));
        }
        Credential::InferenceKey(hash) => {
            prop_assert!(text.starts_with("rg-key-") && text.len() <= 256);
            prop_assert_eq!(hash, TokenHash::of(&text));
        }
        Credential::RunId(id) => {
            prop_assert_eq!(Some(id), run);
            let digits = |text: &str| -> String {
                text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase()
            };
            // `urn:uuid:` may be written in any case, and has one letter that is a digit too.
            let plain = text.to_lowercase().replacen("urn:uuid:", "", 1);
            prop_assert_eq!(digits(&plain), digits(&id.to_string()));
        }
        Credential::Signed(hash) => {
            prop_assert_eq!(text.matches('.').count(), 2);
            prop_assert!(text.len() <= 8192 && run.is_none());
            prop_assert_eq!(hash, TokenHash::of(&text));
        }
        Credential::Foreign(_) => {
            prop_assert!(run.is_none() || text.len() > 256, "{}", text);
            let ours = text.starts_with("rg-run-") || text.starts_with("rg-key-");
            prop_assert!(!ours || text.len() > 256, "{}", text);
        }
    }
    // Two that differ are never the same, however alike they look.
    let mut other = bytes.to_vec();
    other.push(b' ');
    let other = Credential::parse(&String::from_utf8_lossy(&other));
    prop_assert_ne!(other, Credential::parse(&text));
    Ok(())
}
