//! What of a provider's words may be shown.
//!
//! The text is looked at whole, before it is cut, in a few passes of linear time. When in doubt a
//! word is hidden: a reader can do without an address, and without a word beside `token:`.

mod telling;

use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString};

use telling::{holds_address, holds_assignment, holds_key, holds_short, is_credential, last_name};

/// Longest text of a provider that is shown, in bytes.
pub const MAX_SHOWN_BYTES: usize = 2048;

const HIDDEN: &str = "[redacted]";
/// Stands for a secret until words are looked at; the text itself has no control characters then.
const MARK: &str = "\u{1}";
/// Shortest secret that is looked for within words; a shorter one would redact ordinary words.
const SHORTEST_SECRET: usize = 6;
/// From so many bytes on what follows `Bearer` is a token and no ordinary word.
const LONG_WORD: usize = 16;

/// What stands between the name of a credential and its value.
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "apikey"];

/// The text without secrets, without anything that looks like a key or an address, and cut.
pub fn scrub(text: &str, secrets: &[SecretString]) -> String {
    let mut shown = plain(text);
    let mut short = Vec::new();
    for secret in secrets {
        let secret = secret.expose_secret().to_ascii_lowercase();
        if secret.len() >= SHORTEST_SECRET {
            shown = marked(&shown, &secret);
        } else if !secret.is_empty() {
            short.push(secret);
        }
    }
    let mut words = Words { before: Before::Nothing, after_backslash: false, short };
    let mut safe = String::with_capacity(shown.len());
    for piece in shown.split_inclusive(separates) {
        let word = piece.trim_end_matches(separates);
        let separator = piece.get(word.len()..).unwrap_or_default();
        safe.push_str(if words.hides(word, separator) { HIDDEN } else { word });
        safe.push_str(separator);
    }
    cut(&safe).to_owned()
}

/// The text without control characters, and with slashes as they are: JSON may escape them.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' => {
                plain.truncate(plain.trim_end_matches('\\').len());
                plain.push('/');
            }
            '\n' => plain.push('\n'),
            '\t' | '\r' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// The text with marks in the place of a secret, given in lower case, and of as much of it as a
/// text that was broken off ends with.
fn marked(text: &str, secret: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut marked = String::with_capacity(text.len());
    let mut done = 0;
    for at in memmem::find_iter(lower.as_bytes(), secret) {
        marked.push_str(text.get(done..at).unwrap_or_default());
        marked.push_str(MARK);
        done = at + secret.len();
    }
    let rest = text.get(done..).unwrap_or_default();
    let end = lower.get(done..).unwrap_or_default().as_bytes();
    let begun = (SHORTEST_SECRET..secret.len())
        .rev()
        .find(|length| secret.as_bytes().get(..*length).is_some_and(|begun| end.ends_with(begun)));
    match begun.and_then(|length| rest.get(..rest.len() - length)) {
        Some(rest) => {
            marked.push_str(rest);
            marked.push_str(MARK);
        }
        None => marked.push_str(rest),
    }
    marked
}

fn separates(c: char) -> bool {
    c.is_whitespace() || "\"'`,;()<>[]{}\\|".contains(c)
}

/// What the words before say of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// `api`, which may begin the name of a credential.
    Api,
    /// The name of a credential.
    Name,
    /// `bearer`: a token may follow, or an ordinary word.
    Scheme,
    /// The name of a credential and a `:` or `=`: its value follows.
    Assigned,
}

struct Words {
    before: Before,
    after_backslash: bool,
    /// Secrets that are too short to be looked for within words.
    short: Vec<String>,
}

impl Words {
    /// Whether a word must not be shown. Words are hidden whole: what stands around a host is its
    /// port and its path.
    fn hides(&mut self, word: &str, separator: &str) -> bool {
        let escaped = std::mem::replace(&mut self.after_backslash, separator == "\\");
        if word.is_empty() {
            if matches!(separator, "," | ";" | "}" | "]" | ")") {
                self.before = Before::Nothing;
            }
            return false;
        }
        let lower = word.to_ascii_lowercase();
        let before = std::mem::replace(&mut self.before, Before::Nothing);
        let value = match before {
            Before::Name | Before::Scheme => {
                lower.strip_prefix([':', '=']).map(|rest| rest.trim_matches([':', '=']))
            }
            Before::Assigned => Some(lower.trim_matches([':', '='])),
            Before::Nothing | Before::Api => None,
        };
        if let Some(value) = value {
            let names_more = value.is_empty() || SCHEMES.contains(&value);
            self.before = if names_more { Before::Assigned } else { Before::Nothing };
            return !names_more;
        }
        self.before = self.after(&lower, before);
        // `\n` is a line's end before the word, not its first letter.
        let unescaped = if escaped { lower.strip_prefix(['n', 'r', 't']) } else { None };
        let token = before == Before::Scheme
            && (lower.len() >= LONG_WORD || lower.contains(|c: char| c.is_ascii_digit()));
        token || self.tells(&lower) || unescaped.is_some_and(|word| self.tells(word))
    }

    fn after(&self, lower: &str, before: Before) -> Before {
        let name = lower.trim_end_matches([':', '=']);
        // `authorization:bearer`, and the token is the next word.
        let scheme = name.rsplit_once([':', '=']).filter(|(_, last)| SCHEMES.contains(last));
        if scheme.is_some_and(|(name, _)| is_credential(last_name(name))) {
            return Before::Assigned;
        }
        let (tail, assigns) = (last_name(name), name.len() < lower.len());
        let names = is_credential(tail) || (before == Before::Api && tail == "key");
        match (names, assigns) {
            (true, true) => Before::Assigned,
            (true, false) if name == "bearer" => Before::Scheme,
            (true, false) => Before::Name,
            (false, _) if name == "api" => Before::Api,
            (false, _) => Before::Nothing,
        }
    }

    /// Whether a word, in lower case, holds a secret or looks like a credential or an address.
    fn tells(&self, word: &str) -> bool {
        word.contains(MARK)
            || word.contains("://")
            || word.starts_with("//")
            || holds_key(word)
            || holds_assignment(word)
            || holds_address(word)
            || self.short.iter().any(|secret| holds_short(word, secret))
    }
}

/// At most [`MAX_SHOWN_BYTES`], cut between characters.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_SHOWN_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secrets: &[&str], cases: &[(&str, &str)]) {
        let secrets: Vec<SecretString> =
            secrets.iter().map(|secret| (*secret).to_owned().into()).collect();
        for (text, shown) in cases {
            assert_eq!(scrub(text, &secrets), *shown, "{text}");
        }
    }

    #[test]
    fn neither_keys_nor_addresses_are_shown() {
        let text = "bad key sentinel-key at https://internal.example/v1 (sk-abcdefghijkl), \
                    internal.example";
        let shown = "bad key [redacted] at [redacted] ([redacted]), [redacted]";
        check(&["sentinel-key", "internal.example"], &[(text, shown)]);
    }

    #[test]
    fn what_stands_around_a_secret_host_is_hidden_with_it() {
        let text = "see http://10.1.2.3:8080/v1/chat, or 10.1.2.3:9/x.";
        check(&["10.1.2.3"], &[(text, "see [redacted], or [redacted]")]);
    }

    #[test]
    fn the_reason_still_reaches_its_reader() {
        for text in [
            "This model's maximum context length is 8192 tokens.",
            "max_tokens: 5 is too small",
            "max_tokens=5, temperature=0.5, top_p:1 and max_token: 7",
            "Stopped at token 42. Try again at 12:30, or 2026-01-02T12:30:59.123Z.",
            "`messages[0].content` must be a string: got 5",
            "The request token limit is 4096; a secret is kept by its bearer",
            "model gpt-4.1-mini:2024 and claude-3.5-sonnet:20240620 in v1.2.3",
            "Rate limit: 10 requests per 1:00 minute; ratio 3:2 (task-management, risk-averse)",
            "Use https or the API. Your api key is missing.",
            "{\"error\":{\"code\":503,\"message\":\"Overloaded\"}}",
        ] {
            check(
                &["sentinel-key", "https://api.example/v1", "api.example", "llm"],
                &[(text, text)],
            );
        }
    }

    #[test]
    fn credentials_beside_their_names_are_hidden() {
        check(
            &[],
            &[
                ("api_key=sk-abc was wrong", "[redacted] was wrong"),
                ("OPENAI_API_KEY=abc", "[redacted]"),
                ("Authorization:Bearer abc", "[redacted] [redacted]"),
                ("Authorization: Bearer abc, then", "Authorization: Bearer [redacted], then"),
                ("authorization: Basic dTpw", "authorization: Basic [redacted]"),
                ("Bearer abc123 is expired", "Bearer [redacted] is expired"),
                ("token: xyz is bad", "token: [redacted] is bad"),
                ("token = xyz", "token = [redacted]"),
                ("x-api-key: 'abc'", "x-api-key: '[redacted]'"),
                ("API key: abc", "API key: [redacted]"),
                (r#"{"api_key": "abc", "a": "b"}"#, r#"{"api_key": "[redacted]", "a": "b"}"#),
                (r#"{\"token\":\"abc\"}"#, r#"{\"token\":\"[redacted]\"}"#),
                ("/v1/x?a=b&api_key=abc", "[redacted]"),
                (r"line\nsk-abcdefgh", r"line\[redacted]"),
                ("id=sk-abcdefgh", "[redacted]"),
                ("a\tsk-abcdefgh", "a [redacted]"),
            ],
        );
    }

    #[test]
    fn addresses_are_hidden_in_every_spelling() {
        check(
            &["gpu1", "x", "https://Internal.Example/v1"],
            &[
                ("at internal-llm.corp:8000 today", "at [redacted] today"),
                ("at user@llm.corp:80/v1.", "at [redacted]"),
                ("localhost:8000 refused", "[redacted] refused"),
                ("10.0.0.7 and 10.0.0.7:80.", "[redacted] and [redacted]"),
                ("host=10.0.0.7", "[redacted]"),
                ("[fe80::1]:80", "[[redacted]]:80"),
                (r"http:\/\/internal.corp\/x failed", "[redacted] failed"),
                (r"http:\\/\\/internal.corp\\/x", "[redacted]"),
                ("HTTPS:\\/\\/internal.EXAMPLE\\/v1\\/chat", "[redacted]"),
                (
                    "gpu1 is down: GPU1:80, gpu1.corp, gpu12",
                    "[redacted] is down: [redacted], [redacted], gpu12",
                ),
                ("x marks x:80", "x marks [redacted]"),
            ],
        );
    }

    #[test]
    fn secrets_are_found_in_any_case() {
        check(
            &["Sentinel-Key"],
            &[("SENTINEL-KEY and sentinel-keys", "[redacted] and [redacted]")],
        );
    }

    #[test]
    fn the_beginning_of_a_secret_at_the_end_of_a_broken_text_is_hidden() {
        let text = "refused: sentinel-k";
        check(&["sentinel-key"], &[(text, "refused: [redacted]"), ("a senti", "a senti")]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(scrub(&"é".repeat(5000), &[]).len(), MAX_SHOWN_BYTES);
    }

    #[test]
    fn a_secret_across_the_cut_is_hidden_before_it() {
        let secrets = ["sentinel-key".to_owned().into()];
        for before in MAX_SHOWN_BYTES - 20..MAX_SHOWN_BYTES + 5 {
            let shown = scrub(&format!("{} sentinel-key", "a".repeat(before)), &secrets);
            assert!(!shown.contains("sent"), "{before}");
        }
    }

    #[test]
    fn no_text_takes_long() {
        let secrets = ["a".repeat(100).into(), "aaa".to_owned().into()];
        for piece in ["a", "a.", ":a", "token:", "1.", "\\/", "sk-", "?a=", "a b "] {
            let text = piece.repeat((64 << 10) / piece.len());
            assert!(scrub(&text, &secrets).len() <= MAX_SHOWN_BYTES);
        }
    }
}
