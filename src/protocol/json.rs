//! Strict JSON on top of `serde_json`: what two parsers might read differently is refused.
//!
//! Knows no wire format. Values are looked at as the raw slices of the body, so that what was
//! checked is, byte for byte, what is sent.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::{memchr, memmem};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::fault::{Code, Fault};

/// How deep a free-form value (a tool's schema) may be nested.
pub const MAX_DEPTH: usize = 64;

/// How many values the free-form parts of one body may hold together.
pub const MAX_NODES: usize = 65_536;

/// How much of an unknown key a message repeats, in characters.
const MAX_KEY_SHOWN: usize = 64;

/// Beyond this a float is no longer exact, so somebody's number may have been rounded.
const MAX_EXACT: u64 = 1 << 53;

/// Below this a search is not worth setting up.
const SHORT_BYTES: usize = 256;

/// Why a free-form value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// An object has the same key twice, perhaps differently escaped.
    DuplicateKey,
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More than [`MAX_NODES`] values.
    TooMany,
    /// A number out of range, half a surrogate pair, or no JSON at all.
    Unreadable,
}

impl Flaw {
    /// What is wrong, to follow the name of the value.
    pub const fn says(self) -> &'static str {
        match self {
            Self::DuplicateKey => "has an object with the same key twice; give each key once",
            Self::TooDeep => "is nested deeper than 64 levels; flatten it",
            Self::TooMany => "makes more than 65536 free-form values in one request; shorten it",
            Self::Unreadable => {
                "has a number out of range or half of a surrogate pair; use finite numbers and \
                 whole characters"
            }
        }
    }
}

/// Checks a whole free-form JSON value: no key twice in any object (compared after unescaping),
/// bounded depth, finite numbers, whole characters, nothing after its end.
///
/// `nodes` is what is left of [`MAX_NODES`]; it is shared by all values of one body.
pub fn check(raw: &str, nodes: &mut usize) -> Result<(), Flaw> {
    let mut state = State { nodes, flaw: None };
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let read = Check { depth: 0, state: &mut state }.deserialize(&mut deserializer);
    match read.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(()),
        Err(_) => Err(state.flaw.unwrap_or(Flaw::Unreadable)),
    }
}

/// The text of a raw JSON string, borrowed where nothing is escaped; `None` if it is no string or
/// has half of a surrogate pair.
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

/// Whether a raw JSON string, whose syntax has been checked, decodes to whole characters.
///
/// `serde_json` leaves surrogates unchecked in raw values, since only a decoder can tell. Parsers
/// disagree on half a pair (an error, U+FFFD, or the half), so it may not pass.
pub fn has_whole_characters(raw: &str) -> bool {
    let Some(first) = memchr(b'\\', raw.as_bytes()) else {
        return true;
    };
    let mut rest = raw.as_bytes().get(first..).unwrap_or_default();
    // Long texts are full of `\n` and rarely hold a `\u`: one fast search spares many steps.
    if rest.len() > SHORT_BYTES && memmem::find(rest, b"\\u").is_none() {
        return true;
    }
    while let Some(at) = memchr(b'\\', rest) {
        let escape = rest.get(at..).unwrap_or_default();
        let width = match surrogate(escape) {
            Some(0xD800..=0xDBFF) => {
                let low = surrogate(escape.get(6..).unwrap_or_default());
                if !matches!(low, Some(0xDC00..=0xDFFF)) {
                    return false;
                }
                12
            }
            Some(_) => return false,
            // Four digits hold no backslash, so they need not be skipped.
            None => 2,
        };
        rest = escape.get(width..).unwrap_or_default();
    }
    true
}

/// The surrogate that a `\uXXXX` escape at the start of `bytes` stands for, if it does.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    let hex = bytes.strip_prefix(b"\\u")?.get(..4)?;
    if !matches!(hex.first(), Some(b'd' | b'D')) {
        return None;
    }
    let unit = u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    matches!(unit, 0xD800..=0xDFFF).then_some(unit)
}

/// A fault for a body that is no JSON. Repeats nothing of the body.
pub fn syntax_fault(error: &serde_json::Error) -> Fault {
    let message = match error.classify() {
        // These texts are constants of serde_json with a position.
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            format!("The body is not valid JSON: {error}. Send one JSON object.")
        }
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            "The body must be one JSON object.".to_owned()
        }
    };
    Fault::new(Code::InvalidRequest, message)
}

/// Where in a body the parser is.
#[derive(Debug, Default)]
pub struct Path(Vec<Step>);

#[derive(Clone, Copy, Debug)]
enum Step {
    Key(&'static str),
    Index(usize),
}

impl Path {
    /// Goes to a member.
    pub fn enter_key(&mut self, key: &'static str) {
        self.0.push(Step::Key(key));
    }

    /// Goes to an element.
    pub fn enter_index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    /// Goes back up.
    pub fn leave(&mut self) {
        self.0.pop();
    }

    /// The path to a member of where the parser is, whose name the client chose: shortened, and
    /// without control characters.
    pub fn to_foreign(&self, key: &str) -> String {
        let mut shown: String =
            key.chars().take(MAX_KEY_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
        if key.chars().nth(MAX_KEY_SHOWN).is_some() {
            shown.push('…');
        }
        if self.0.is_empty() { shown } else { format!("{self}.{shown}") }
    }
}

impl fmt::Display for Path {
    /// As in `messages[3].content`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

struct State<'n> {
    nodes: &'n mut usize,
    flaw: Option<Flaw>,
}

impl State<'_> {
    fn stop<E: de::Error>(&mut self, flaw: Flaw) -> E {
        self.flaw = Some(flaw);
        E::custom("refused")
    }
}

/// Reads any value and keeps nothing of it.
struct Check<'a, 'n> {
    depth: usize,
    state: &'a mut State<'n>,
}

impl<'de> DeserializeSeed<'de> for Check<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.state.nodes.checked_sub(1) {
            Some(left) => *self.state.nodes = left,
            None => return Err(self.state.stop(Flaw::TooMany)),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { depth, state } = self;
        if depth >= MAX_DEPTH {
            return Err(state.stop(Flaw::TooDeep));
        }
        while seq.next_element_seed(Check { depth: depth + 1, state })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { depth, state } = self;
        if depth >= MAX_DEPTH {
            return Err(state.stop(Flaw::TooDeep));
        }
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if !keys.insert(key) {
                return Err(state.stop(Flaw::DuplicateKey));
            }
            map.next_value_seed(Check { depth: depth + 1, state })?;
        }
        Ok(())
    }
}

/// Reads a key, borrowed where it can be. (`Cow` itself would always copy.)
pub(crate) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Not a count.
pub(in crate::protocol) struct Absurd;

/// A count, read as the digits that stand there: never through a float.
pub(in crate::protocol) fn count(raw: Option<&RawValue>) -> Result<Option<u64>, Absurd> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    match raw.get().parse() {
        Ok(number) if number <= MAX_EXACT => Ok(Some(number)),
        _ => Err(Absurd),
    }
}
