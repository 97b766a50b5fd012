//! The members of a JSON object, read strictly and one by one, so that every refusal names one.
//!
//! Numbers are looked at as the text that they are in the body: none goes through a float.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Deserializer as _;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::fault::{Code, Fault};
use crate::domain::money::Usd;
use crate::domain::run::RunState;
use crate::protocol::json;

use super::members::{Kind, Member, Range};

/// The largest count that is accepted: what any JSON reader can tell exactly is larger.
pub(super) const MAX_COUNT: u64 = 2_147_483_647;

/// The members of one object, each at most once and each among the known ones.
pub(super) struct Fields<'a> {
    known: &'static [Member],
    members: Vec<(&'static str, &'a RawValue)>,
    prefix: String,
}

impl<'a> Fields<'a> {
    /// Reads an object. `prefix` goes before the names of its members in faults.
    pub(super) fn read(
        text: &'a str,
        known: &'static [Member],
        prefix: String,
    ) -> Result<Self, Fault> {
        let mut reader = Reader { known, members: Vec::new(), wrong: None };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = deserializer.deserialize_map(&mut reader);
        match read.and_then(|()| deserializer.end()) {
            Ok(()) => Ok(Self { known, members: reader.members, prefix }),
            Err(error) => Err(match reader.wrong {
                Some(Wrong { key, says }) => {
                    let shown = json::Path::default().to_foreign(&key);
                    invalid(format!("{prefix}{shown}"), says)
                }
                None if error.is_data() && !prefix.is_empty() => Fault::new(
                    Code::InvalidRequest,
                    format!("{} must be an object.", prefix.trim_end_matches('.')),
                )
                .param(prefix.trim_end_matches('.')),
                None => json::syntax_fault(&error),
            }),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A fault about one of the members.
    pub(super) fn wrong(&self, name: &str, says: impl fmt::Display) -> Fault {
        invalid(self.name(name), says)
    }

    /// The member as it stands, `null` included.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, raw)| raw.get())
    }

    /// The member, unless it is absent or `null`.
    pub(super) fn given(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(raw) = self.given(name) else { return Ok(None) };
        json::text(raw).map(Some).ok_or_else(|| self.wrong(name, "must be a string"))
    }

    /// A string that Postgres can keep, of at most `most` bytes.
    pub(super) fn storable(&self, name: &str, most: usize) -> Result<Option<String>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if text.len() > most || text.contains('\0') {
            let says = format!("must be at most {most} bytes long, without NUL characters");
            return Err(self.wrong(name, says));
        }
        Ok(Some(text.into_owned()))
    }

    /// A whole number.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(raw) = self.given(name) else { return Ok(None) };
        let Range { least, most } = self.range(name);
        // JSON knows no leading zeros or plus signs, so this is every way to write one.
        let number = raw.parse().ok().filter(|n| (least..=most).contains(n));
        number.map(Some).ok_or_else(|| {
            self.wrong(name, format!("must be a whole number from {least} to {most}"))
        })
    }

    /// The same, where it fits 32 bits.
    pub(super) fn small_count(&self, name: &str) -> Result<Option<u32>, Fault> {
        let count = self.count(name)?;
        let narrow = count.map(u32::try_from).transpose();
        narrow.map_err(|_| self.wrong(name, format!("must be at most {}", u32::MAX)))
    }

    /// What the table says of a number. Of a member that is none, no number is right.
    fn range(&self, name: &str) -> Range {
        let kind = self.known.iter().find(|known| known.name == name).map(|known| known.kind);
        match kind {
            Some(Kind::Count(range)) => range,
            _ => Range::new(1, 0),
        }
    }

    /// True or false.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.given(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// Dollars, as a string or as a number. `null` is neither.
    pub(super) fn usd(&self, name: &str) -> Result<Option<Usd>, Fault> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let text = if raw.starts_with('"') { json::text(raw) } else { Some(raw.into()) };
        let parsed = text.as_deref().map(Usd::parse);
        match parsed {
            Some(Ok(amount)) => Ok(Some(amount)),
            Some(Err(error)) => Err(self.wrong(name, error)),
            None => Err(self.wrong(name, "is not a decimal number such as \"0.25\"")),
        }
    }

    /// The members of an object.
    pub(super) fn object(
        &self,
        name: &str,
        known: &'static [Member],
    ) -> Result<Option<Fields<'a>>, Fault> {
        let Some(raw) = self.given(name) else { return Ok(None) };
        Fields::read(raw, known, self.name(&format!("{name}."))).map(Some)
    }

    /// The members of each object of an array of at most `most`.
    pub(super) fn objects(
        &self,
        name: &str,
        known: &'static [Member],
        most: usize,
    ) -> Result<Option<Vec<Fields<'a>>>, Fault> {
        let Some(raw) = self.given(name) else { return Ok(None) };
        let elements: Vec<&RawValue> =
            serde_json::from_str(raw).map_err(|_| self.wrong(name, "must be an array"))?;
        if elements.len() > most {
            return Err(self.wrong(name, format!("must have at most {most} elements")));
        }
        let read = |(index, raw): (usize, &&'a RawValue)| {
            Fields::read(raw.get(), known, self.name(&format!("{name}[{index}].")))
        };
        elements.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// A text that says what something is called: not empty, and without characters that a
    /// terminal obeys.
    pub(super) fn label(&self, name: &str, most: usize) -> Result<Option<String>, Fault> {
        let Some(text) = self.storable(name, most)? else { return Ok(None) };
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(self.wrong(name, "must not be empty or hold control characters"));
        }
        Ok(Some(text))
    }

    /// A member that must be there.
    pub(super) fn required<T>(&self, name: &str, read: Option<T>) -> Result<T, Fault> {
        read.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// A state, by any of its names.
    pub(super) fn state(&self, name: &str) -> Result<Option<RunState>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        RunState::parse(&text).map(Some).ok_or_else(|| self.wrong(name, STATES))
    }

    /// An instant, as precise as it is stored.
    pub(super) fn instant(&self, name: &str) -> Result<Option<DateTime<Utc>>, Fault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let instant = DateTime::parse_from_rfc3339(&text).map_err(|_| {
            self.wrong(name, "must be an RFC 3339 instant such as \"2030-01-31T12:00:00Z\"")
        })?;
        Ok(Some(instant.with_timezone(&Utc).trunc_subsecs(6)))
    }

    /// Refuses a `null` where it could be misread as a wish.
    pub(super) fn not_null(&self, name: &str) -> Result<(), Fault> {
        match self.raw(name) {
            Some("null") => Err(self.wrong(name, "must not be null; leave it out to keep it")),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a state must be, to follow its name.
pub(super) const STATES: &str = "must be one of pending, initializing, running, scoring, \
    finished, failed and cancelled";

/// A fault about one field.
pub(super) fn invalid(name: String, says: impl fmt::Display) -> Fault {
    Fault::new(Code::InvalidRequest, format!("{name} {says}.")).param(name)
}

struct Wrong {
    key: String,
    says: &'static str,
}

struct Reader<'a> {
    known: &'static [Member],
    members: Vec<(&'static str, &'a RawValue)>,
    wrong: Option<Wrong>,
}

impl<'de> Visitor<'de> for &mut Reader<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let known = self.known.iter().map(|known| known.name).find(|known| *known == key);
            let says = match known {
                None => "is not a field of this request; leave it out",
                Some(known) if self.members.iter().any(|(seen, _)| *seen == known) => {
                    "is given twice; give it once"
                }
                Some(known) => {
                    self.members.push((known, map.next_value()?));
                    continue;
                }
            };
            self.wrong = Some(Wrong { key: key.into_owned(), says });
            return Err(de::Error::custom("refused"));
        }
        Ok(())
    }
}
