//! Arrays that are walked without being collected, and what stands in them.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Gives every element of a raw array to `take`; `None` if it is no array of such elements.
pub(super) fn each<'a, T: Deserialize<'a>>(raw: &'a str, take: impl FnMut(T)) -> Option<()> {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    Each { take, of: PhantomData }.deserialize(&mut deserializer).ok()
}

struct Each<T, F> {
    take: F,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element()? {
            (self.take)(element);
        }
        Ok(())
    }
}

/// A piece of what a model says, as a raw string that is not empty.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Thinking(&'a str),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
}

/// The pieces of a chat message's content, which some providers (Mistral's API reference,
/// `ThinkChunk`) give as an array of texts and thoughts.
pub(super) fn pieces<'a>(content: &'a RawValue, mut take: impl FnMut(Piece<'a>)) {
    if let Some(text) = spoken(Some(content)) {
        return take(Piece::Text(text));
    }
    // What is no such array says nothing.
    let _ = each(content.get(), |part: Part<'a>| {
        if let Some(text) = spoken(part.text) {
            take(Piece::Text(text));
        }
        let Some(thinking) = part.thinking else { return };
        if let Some(text) = spoken(Some(thinking)) {
            return take(Piece::Thinking(text));
        }
        let _ = each(thinking.get(), |part: Part<'a>| {
            if let Some(text) = spoken(part.text) {
                take(Piece::Thinking(text));
            }
        });
    });
}

/// A raw string that is not empty.
pub(super) fn spoken(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|raw| raw.starts_with('"') && *raw != "\"\"")
}

/// A raw string, which is empty if there is none. Nothing else may stand where a string is copied
/// to: its line breaks would end an event.
pub(super) fn string(raw: Option<&RawValue>) -> &str {
    spoken(raw).unwrap_or("\"\"")
}
