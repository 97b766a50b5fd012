//! Objects of a request, read through the rows of the translation.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::rules::{Fate, Rule};
use super::write::inner;
use crate::domain::fault::{Code, Fault};
use crate::protocol::json::{self, Key, Path};

/// Where a body of either format has its conversation.
const MESSAGES: &str = "messages";

/// Reads raw values, and knows where in the request it is.
pub(super) struct Reader {
    pub(super) path: Path,
    /// The side that it is translated for, as a refusal names it.
    target: &'static str,
    /// What is left of the limit on values that were strings.
    nodes: usize,
}

/// The members of an object that have a counterpart and are not null.
pub(super) struct Members<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Members<'a> {
    /// The raw value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, raw)| *raw)
    }

    /// Whether a member is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

impl Reader {
    pub(super) fn new(target: &'static str) -> Self {
        Self { path: Path::default(), target, nodes: json::MAX_NODES }
    }

    /// The members of the object at hand; `rules` are the rows that it may have.
    ///
    /// # Errors
    /// At the first member that is refused or has no row, by its name.
    pub(super) fn members<'a>(
        &self,
        raw: &'a str,
        rules: &[&'static [Rule]],
    ) -> Result<Members<'a>, Fault> {
        self.kept(serde_json::from_str(raw).ok(), rules)
    }

    /// The members of a whole body without its messages, and these. What they say is scanned once,
    /// not once for each level that it lies beneath.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub(super) fn body<'a>(
        &self,
        raw: &'a str,
        rules: &[&'static [Rule]],
    ) -> Result<(Members<'a>, Option<Messages<'a>>), Fault> {
        if let Ok(Body { others, messages }) = serde_json::from_str::<Body<'a>>(raw) {
            return Ok((self.kept(Some(others), rules)?, messages.map(Messages::Read)));
        }
        let members = self.members(raw, rules)?;
        let messages = members.get(MESSAGES).map(Messages::Raw);
        Ok((members, messages))
    }

    /// The messages of a body, which must be there.
    pub(super) fn messages<'a>(
        &mut self,
        messages: Option<Messages<'a>>,
    ) -> Result<Vec<Option<Object<'a>>>, Fault> {
        match messages {
            Some(Messages::Read(read)) => Ok(read.into_iter().map(Some).collect()),
            Some(Messages::Raw(raw)) => {
                let list = self.within(MESSAGES, |reader| reader.list(raw))?;
                Ok(list.into_iter().map(|raw| serde_json::from_str(raw.get()).ok()).collect())
            }
            None => Err(self.fault(Code::InvalidRequest, Some(MESSAGES), "is required")),
        }
    }

    /// The members of an object that was read; `None` stands for what is none.
    ///
    /// # Errors
    /// As [`Self::members`].
    pub(super) fn kept<'a>(
        &self,
        object: Option<Object<'a>>,
        rules: &[&'static [Rule]],
    ) -> Result<Members<'a>, Fault> {
        let object = object.ok_or_else(|| self.wrong("must be an object"))?;
        let mut kept = Vec::with_capacity(object.0.len());
        for (key, value) in object.0 {
            let raw = value.get();
            if raw == "null" {
                continue;
            }
            let rule = rules.iter().copied().flatten().find(|rule| rule.name == key);
            match rule.map(|rule| (rule.fate, rule)) {
                Some((Fate::Translated, rule)) => kept.push((rule.name, raw)),
                Some((Fate::Dropped, _)) => {}
                Some((Fate::Refused(neutral), _)) if neutral.is(raw) => {}
                Some((Fate::Refused(_), rule)) => return Err(self.refuse_at(&key, rule.note)),
                None => return Err(self.refuse_at(&key, "it is not known there")),
            }
        }
        Ok(Members(kept))
    }

    /// The elements of the array at hand.
    pub(super) fn list<'a>(&self, raw: &'a str) -> Result<Vec<&'a RawValue>, Fault> {
        serde_json::from_str(raw).map_err(|_| self.wrong("must be an array"))
    }

    /// The text of the string at hand.
    pub(super) fn text<'a>(&self, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
        json::text(raw).ok_or_else(|| self.wrong("must be a string"))
    }

    /// A member that must be there.
    pub(super) fn required<'a>(
        &self,
        members: &Members<'a>,
        name: &'static str,
    ) -> Result<&'a str, Fault> {
        let says = "is required";
        members.get(name).ok_or_else(|| self.fault(Code::InvalidRequest, Some(name), says))
    }

    /// The text of a member that must be there.
    pub(super) fn required_text<'a>(
        &mut self,
        members: &Members<'a>,
        name: &'static str,
    ) -> Result<Cow<'a, str>, Fault> {
        let raw = self.required(members, name)?;
        self.within(name, |reader| reader.text(raw))
    }

    /// A raw string member that must be there.
    pub(super) fn required_string<'a>(
        &mut self,
        members: &Members<'a>,
        name: &'static str,
    ) -> Result<&'a str, Fault> {
        let raw = self.required(members, name)?;
        self.within(name, |reader| reader.string(raw))
    }

    /// The value at hand, which must be a string.
    pub(super) fn string<'a>(&self, raw: &'a str) -> Result<&'a str, Fault> {
        if raw.starts_with('"') { Ok(raw) } else { Err(self.wrong("must be a string")) }
    }

    /// Whether a text is a sound JSON object.
    pub(super) fn is_object(&mut self, text: &str) -> bool {
        text.starts_with('{') && json::check(text, &mut self.nodes).is_ok()
    }

    /// Does something at a member.
    pub(super) fn within<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.path.enter_key(key);
        let read = read(self)?;
        self.path.leave();
        Ok(read)
    }

    /// Does something at an element.
    pub(super) fn at<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.path.enter_index(index);
        let read = read(self)?;
        self.path.leave();
        Ok(read)
    }

    /// The value at hand is not what it must be.
    pub(super) fn wrong(&self, says: &str) -> Fault {
        self.fault(Code::InvalidRequest, None, says)
    }

    /// The value at hand has no counterpart; `why` is a part of a sentence.
    pub(super) fn refuse(&self, why: &str) -> Fault {
        let says = format!("cannot be translated to {}: {why}", self.target);
        self.fault(Code::ParameterNotAllowed, None, &says)
    }

    /// As [`Self::refuse`], for a member of the object at hand.
    pub(super) fn refuse_at(&self, member: &str, why: &str) -> Fault {
        let says = format!("cannot be translated to {}: {why}", self.target);
        self.fault(Code::ParameterNotAllowed, Some(member), &says)
    }

    fn fault(&self, code: Code, member: Option<&str>, says: &str) -> Fault {
        let path = member.map_or_else(|| self.path.to_string(), |name| self.path.to_foreign(name));
        if path.is_empty() {
            return Fault::new(code, format!("The body {says}."));
        }
        Fault::new(code, format!("`{path}` {says}.")).param(path)
    }
}

/// The messages of a body.
pub(super) enum Messages<'a> {
    /// As their raw members.
    Read(Vec<Object<'a>>),
    /// Some of them are no objects, or the whole is no array.
    Raw(&'a str),
}

/// A body, of which only the messages are read any deeper.
struct Body<'a> {
    others: Object<'a>,
    messages: Option<Vec<Object<'a>>>,
}

impl<'de: 'a, 'a> de::Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw;
        impl<'de> Visitor<'de> for Raw {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut others, mut messages) = (Vec::new(), None);
                while let Some(key) = map.next_key_seed(Key)? {
                    if key == MESSAGES {
                        messages = map.next_value()?;
                    } else {
                        others.push((key, map.next_value()?));
                    }
                }
                Ok(Body { others: Object(others), messages })
            }
        }
        deserializer.deserialize_map(Raw)
    }
}

/// An object as its raw members, in their order.
pub(super) struct Object<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> de::Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw;
        impl<'de> Visitor<'de> for Raw {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key_seed(Key)? {
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Raw)
    }
}

/// Whether an object has a member, and whether it has any.
pub(super) fn has_member(object: &str, name: &str) -> (bool, bool) {
    let Ok(object) = serde_json::from_str::<Object<'_>>(object) else {
        return (false, false);
    };
    (object.0.iter().any(|(key, _)| key == name), !object.0.is_empty())
}

/// Whether a raw string has nothing but white space. (Escapes other than the usual are no space.)
pub(super) fn is_blank(raw: &str) -> bool {
    let mut rest = inner(raw);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return true;
        }
        match ["\\n", "\\r", "\\t"].iter().find_map(|escape| rest.strip_prefix(escape)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}
