//! One chunk of a streamed answer, read once and without allocating for each.
//!
//! Lenient where the request is strict: what is not needed may look as it likes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::protocol::json::{self, Key};
use crate::protocol::stream::OutputText;

/// Members of a tool call that are not made of output tokens, and those that say what a part is.
const LABELS: [&str; 6] = ["id", "type", "index", "role", "format", "signature"];

/// What the meter needs of a chunk.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) usage: Option<&'a str>,
    pub(super) service_tier: Option<&'a str>,
    pub(super) choices: Choices,
    error: Option<&'a str>,
    object: Option<&'a str>,
    complaint: Option<&'a str>,
    is_object: bool,
}

/// What is known of a chunk's choices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    /// Whether there is a list of them.
    listed: bool,
    /// Whether it has any.
    pub(super) any: bool,
    /// Whether one of them says why it ended.
    pub(super) finished: bool,
}

/// Reads a chunk and adds its text; `None` if it is no JSON object.
pub(super) fn read<'a>(data: &'a [u8], text: &mut OutputText) -> Option<Chunk<'a>> {
    let data = std::str::from_utf8(data).ok()?;
    let mut chunk = Chunk::default();
    let mut deserializer = serde_json::Deserializer::from_str(data);
    let reader = Reader { level: Level::Chunk(&mut chunk), text };
    reader.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    chunk.is_object.then_some(chunk)
}

/// Where in a chunk the reader is.
enum Level<'c, 'a> {
    Chunk(&'c mut Chunk<'a>),
    Choices(&'c mut Choices),
    Choice(&'c mut bool),
    Delta,
    /// Below a member of the delta that is output.
    Output,
}

struct Reader<'c, 'a> {
    level: Level<'c, 'a>,
    text: &'c mut OutputText,
}

impl<'de> DeserializeSeed<'de> for Reader<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, 'de> {
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

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if matches!(self.level, Level::Output) {
            self.text.push(value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { level, text } = self;
        match level {
            Level::Choices(choices) => {
                choices.listed = true;
                loop {
                    let level = Level::Choice(&mut choices.finished);
                    if seq.next_element_seed(Reader { level, text })?.is_none() {
                        break;
                    }
                    choices.any = true;
                }
            }
            Level::Output => {
                while seq.next_element_seed(Reader { level: Level::Output, text })?.is_some() {}
            }
            Level::Chunk(_) | Level::Choice(_) | Level::Delta => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { mut level, text } = self;
        if let Level::Chunk(chunk) = &mut level {
            chunk.is_object = true;
        }
        while let Some(key) = map.next_key_seed(Key)? {
            let next = match (&mut level, key.as_ref()) {
                (Level::Chunk(chunk), "choices") => Level::Choices(&mut chunk.choices),
                (Level::Chunk(chunk), name) => {
                    chunk.take(name, &mut map)?;
                    continue;
                }
                (Level::Choice(_), "delta") => Level::Delta,
                (Level::Choice(finished), "finish_reason") => {
                    **finished |= map.next_value::<Option<IgnoredAny>>()?.is_some();
                    continue;
                }
                (
                    Level::Delta,
                    "content" | "refusal" | "reasoning_content" | "reasoning" | "tool_calls"
                    | "function_call",
                ) => Level::Output,
                (Level::Output, name) if !LABELS.contains(&name) => Level::Output,
                (Level::Choices(_) | Level::Choice(_) | Level::Delta | Level::Output, _) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Reader { level: next, text })?;
        }
        Ok(())
    }
}

impl<'a> Chunk<'a> {
    /// Whether it is no chunk but a failure, in one of the shapes that providers and the proxies
    /// before them use.
    pub(super) fn is_error(&self) -> bool {
        let says_so = self.object.and_then(json::text).is_some_and(|object| object == "error");
        let complains = self.complaint.is_some() && !self.choices.listed && self.usage.is_none();
        self.error.is_some() || says_so || complains
    }

    fn take<A: MapAccess<'a>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let slot = match name {
            "model" => &mut self.model,
            "usage" => &mut self.usage,
            "service_tier" => &mut self.service_tier,
            "error" => &mut self.error,
            "object" => &mut self.object,
            "message" | "detail" | "msg" => &mut self.complaint,
            _ => return map.next_value::<IgnoredAny>().map(|_| ()),
        };
        let raw: &'a RawValue = map.next_value()?;
        // A second, empty member of the same name does not take the first one back.
        *slot = Some(raw.get()).filter(|raw| *raw != "null").or(*slot);
        Ok(())
    }
}
