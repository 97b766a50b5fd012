//! What of a provider's words may be shown.

use secrecy::{ExposeSecret as _, SecretString};

/// Longest text of a provider that is shown, in bytes.
pub const MAX_SHOWN_BYTES: usize = 2048;

const HIDDEN: &str = "[redacted]";
/// Stands for a secret until words are looked at; the text itself has no control characters then.
const MARK: &str = "\u{1}";
/// Shortest secret that is looked for; a shorter one would redact ordinary words.
const SHORTEST_SECRET: usize = 6;

/// The text without secrets, without anything that looks like a key or an address, and cut.
pub fn scrub(text: &str, secrets: &[SecretString]) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    for secret in secrets {
        let secret = secret.expose_secret();
        if secret.len() >= SHORTEST_SECRET {
            shown = shown.replace(secret, MARK);
        }
    }
    let words: Vec<&str> = shown
        .split_inclusive(|c: char| c.is_whitespace() || "\"'`,;()<>[]{}".contains(c))
        .collect();
    let mut safe = String::with_capacity(shown.len());
    for word in words {
        let bare =
            word.trim_end_matches(|c: char| c.is_whitespace() || "\"'`,;()<>[]{}".contains(c));
        if is_telling(bare) {
            safe.push_str(HIDDEN);
            safe.push_str(word.get(bare.len()..).unwrap_or_default());
        } else {
            safe.push_str(word);
        }
    }
    cut(&safe).to_owned()
}

/// Words that hold a secret, or look like a credential or an address. They are hidden whole: what
/// stands around a host is its port and its path.
fn is_telling(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let address = lower.contains("://") || lower.starts_with("//");
    let key = ["sk-", "gsk_", "rg-", "cpk_", "xai-", "key-", "bearer"]
        .iter()
        .any(|prefix| lower.starts_with(prefix) && lower.len() > prefix.len() + 6);
    word.contains(MARK) || address || key
}

/// At most [`MAX_SHOWN_BYTES`], cut between characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_SHOWN_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_keys_nor_addresses_are_shown() {
        let secrets = ["sentinel-key".to_owned().into(), "internal.example".to_owned().into()];
        let shown = scrub(
            "bad key sentinel-key at https://internal.example/v1 (sk-abcdefghijkl), \
             internal.example",
            &secrets,
        );
        assert_eq!(shown, "bad key [redacted] at [redacted] ([redacted]), [redacted]");
    }

    #[test]
    fn what_stands_around_a_secret_host_is_hidden_with_it() {
        let secrets = ["10.1.2.3".to_owned().into()];
        let shown = scrub("see http://10.1.2.3:8080/v1/chat, or 10.1.2.3:9/x.", &secrets);
        assert_eq!(shown, "see [redacted], or [redacted]");
    }

    #[test]
    fn the_reason_still_reaches_its_reader() {
        let text = "This model's maximum context length is 8192 tokens.";
        assert_eq!(scrub(text, &[]), text);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(scrub(&"é".repeat(5000), &[]).len(), MAX_SHOWN_BYTES);
    }
}
