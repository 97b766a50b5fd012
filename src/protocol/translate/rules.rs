//! What happens to a field when its request is translated.

use std::cmp::Ordering;
use std::fmt::Write;

use crate::protocol::json;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It has a counterpart.
    Translated,
    /// It is left out: it says nothing to the model, or nothing that could be kept.
    Dropped,
    /// The request is refused, unless the value is the neutral one.
    Refused(Neutral),
}

/// A value that asks for what the other side does anyway. `null` is always one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Neutral {
    /// No other.
    Null,
    /// This number.
    Number(f64),
    /// This flag.
    Flag(bool),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An empty array or object.
    Empty,
}

impl Neutral {
    /// Whether a raw JSON value is neutral.
    pub(super) fn is(self, raw: &str) -> bool {
        let same = |a: f64, b: f64| matches!(a.partial_cmp(&b), Some(Ordering::Equal));
        match self {
            Self::Null => raw == "null",
            Self::Number(neutral) => raw.parse().is_ok_and(|number| same(number, neutral)),
            Self::Flag(neutral) => raw == if neutral { "true" } else { "false" },
            Self::Word(words) => json::text(raw).is_some_and(|word| words.contains(&word.as_ref())),
            Self::Empty => {
                let mut bytes = raw.bytes().filter(|byte| !byte.is_ascii_whitespace());
                let ends = (bytes.next(), bytes.next(), bytes.next());
                matches!(ends, (Some(b'['), Some(b']'), None) | (Some(b'{'), Some(b'}'), None))
            }
        }
    }

    /// What a refusal adds about it.
    fn says(self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Number(number) => format!(" unless {number}"),
            Self::Flag(flag) => format!(" unless {flag}"),
            Self::Word(words) => format!(" unless {}", words.join(" or ")),
            Self::Empty => " unless empty".to_owned(),
        }
    }
}

/// One row: a member of an object of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The path of the object, as `messages[].`; empty at the top.
    pub at: &'static str,
    /// The member's name.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// What it becomes, or why it does not.
    pub note: &'static str,
}

impl Rule {
    /// The whole path, as `messages[].content`.
    pub fn path(&self) -> String {
        format!("{}{}", self.at, self.name)
    }
}

pub(super) const fn into(at: &'static str, name: &'static str, note: &'static str) -> Rule {
    Rule { at, name, fate: Fate::Translated, note }
}

pub(super) const fn drop(at: &'static str, name: &'static str, note: &'static str) -> Rule {
    Rule { at, name, fate: Fate::Dropped, note }
}

pub(super) const fn no(
    at: &'static str,
    name: &'static str,
    neutral: Neutral,
    note: &'static str,
) -> Rule {
    Rule { at, name, fate: Fate::Refused(neutral), note }
}

/// The rows of a translation for its documentation.
pub fn markdown(rules: &[&[Rule]]) -> String {
    let mut text = String::from("| field | | what it becomes, or why not |\n|---|---|---|\n");
    for rule in rules.iter().copied().flatten() {
        let fate = match rule.fate {
            Fate::Translated => "translated".to_owned(),
            Fate::Dropped => "dropped".to_owned(),
            Fate::Refused(neutral) => format!("refused{}", neutral.says()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | {fate} | {} |", rule.path(), rule.note);
    }
    text
}
