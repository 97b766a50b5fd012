//! What a word looks like: a key, a credential beside its name, an address.
//!
//! Words come in lower case.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How many bytes must follow the beginning of a key, so that ordinary words are not taken for one.
const KEY_BYTES: usize = 7;

/// What keys begin with.
const KEY_PREFIXES: [&str; 14] = [
    "sk-", "sk_", "pk-", "gsk_", "rg-", "cpk_", "xai-", "key-", "hf_", "ghp_", "aiza", "nvapi-",
    "eyj", "bearer",
];
/// What the names of credentials end with, after the beginning or a `_`.
const CREDENTIALS: [&str; 7] =
    ["api_key", "apikey", "secret", "password", "authorization", "secret_key", "access_key"];
/// Names that are a credential's only as a whole: `max_token` is none.
const WHOLE_CREDENTIALS: [&str; 8] = [
    "token",
    "access_token",
    "auth_token",
    "refresh_token",
    "id_token",
    "bearer",
    "passwd",
    "credentials",
];
/// The name that a word ends with: in `/x?api_key` what a URL calls it.
pub(super) fn last_name(word: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    word.get(word.trim_end_matches(is_name).len()..).unwrap_or_default()
}

/// Whether something of this name is kept from readers.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.replace('-', "_");
    let ends = |end: &str| {
        name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    WHOLE_CREDENTIALS.contains(&name.as_str()) || CREDENTIALS.iter().any(|end| ends(end))
}

/// Whether a key begins at any word within the word.
pub(super) fn holds_key(word: &str) -> bool {
    let is_key = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    word.split(|c: char| !is_key(c)).any(|part| {
        KEY_PREFIXES
            .iter()
            .any(|prefix| part.strip_prefix(prefix).is_some_and(|rest| rest.len() >= KEY_BYTES))
    })
}

/// Whether the name of a credential and its value stand in one word.
pub(super) fn holds_assignment(word: &str) -> bool {
    let mut parts = word.split([':', '=', '&', '?']).peekable();
    while let Some(part) = parts.next() {
        let has_value = parts.peek().is_some_and(|value| !value.is_empty());
        if has_value && is_credential(last_name(part)) {
            return true;
        }
    }
    false
}

/// Whether an IP address, or a host with its port, stands in the word.
pub(super) fn holds_address(word: &str) -> bool {
    let whole = word.trim_end_matches(['.', ':', '!', '?']);
    if whole.len() > 2 && whole.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    word.split(|c: char| !is_host(c) && c != ':').any(|run| {
        let mut host = "";
        run.split(':').any(|part| {
            let found = part.trim_end_matches('.').parse::<Ipv4Addr>().is_ok()
                || (is_port(part) && has_domain(host));
            host = part;
            found
        })
    })
}

fn is_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '.' || c == '-'
}

fn is_port(text: &str) -> bool {
    let digits = text.trim_end_matches('.');
    (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this is a host and neither a time nor a version: `localhost`, or a last label that
/// begins with a letter.
fn has_domain(host: &str) -> bool {
    let labels = host.trim_end_matches('.').rsplit_once('.');
    let domain = labels.is_some_and(|(name, last)| {
        !name.is_empty() && last.starts_with(|c: char| c.is_ascii_alphabetic())
    });
    domain || host == "localhost"
}

/// Whether a short secret stands in the word as a host does: by itself, before a port, or as
/// labels of a longer name.
pub(super) fn holds_short(word: &str, secret: &str) -> bool {
    let is_label = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let alone = secret.len() > 1;
    word.match_indices(secret).any(|(at, _)| {
        let before = word.get(..at).unwrap_or_default();
        let after = word.get(at + secret.len()..).unwrap_or_default();
        let port = after
            .strip_prefix(':')
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()));
        !before.ends_with(is_label) && (port || (alone && !after.starts_with(is_label)))
    })
}
