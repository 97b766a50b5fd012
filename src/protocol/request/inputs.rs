//! What is to be embedded: texts, or the ids of tokens.

use std::fmt;

use serde::de::{self, Deserializer as _, SeqAccess, Visitor};

use super::count::Span;
use super::fields::{Counts, Field};
use super::leaf::elements;
use super::parse::{Stopped, Walk};
use crate::domain::fault::Code::InvalidRequest;

/// The most inputs of one request, as OpenAI has it.
pub(super) const MAX_INPUTS: usize = 2_048;

const SAYS: &str = "must be a string, an array of 1 to 2048 strings, an array of token ids, or 1 \
                    to 2048 arrays of them; a token id is a whole number (32 bits)";

impl Walk<'_> {
    /// Passes the inputs and tallies each; a text is counted as its text, ids as their number.
    pub(super) fn inputs(&mut self, field: &Field, raw: &str) -> Result<(), Stopped> {
        let start = self.open_value(field);
        if raw.starts_with('"') {
            self.sound(raw, SAYS)?;
            self.embed(start, raw, Counts::Text);
        } else {
            match raw.strip_prefix('[').and_then(|rest| rest.trim_ascii_start().chars().next()) {
                Some('"' | '[') => self.several(start, raw)?,
                _ => self.ids(start, raw)?,
            }
        }
        self.write(raw);
        Ok(())
    }

    fn several(&mut self, start: usize, raw: &str) -> Result<(), Stopped> {
        let Some(inputs) = elements(raw, MAX_INPUTS) else {
            return Err(self.stop(InvalidRequest, SAYS));
        };
        let are_texts = inputs.first().is_some_and(|input| input.starts_with('"'));
        for input in inputs {
            // Within `raw`, which is written as it came.
            let offset = input.as_ptr().addr().saturating_sub(raw.as_ptr().addr());
            if are_texts {
                self.sound(input, SAYS)?;
                self.embed(start + offset, input, Counts::Text);
            } else {
                self.ids(start + offset, input)?;
            }
        }
        Ok(())
    }

    fn ids(&mut self, start: usize, raw: &str) -> Result<(), Stopped> {
        match serde_json::Deserializer::from_str(raw).deserialize_seq(Ids) {
            Ok(()) => self.embed(start, raw, Counts::Ids),
            Err(_) => return Err(self.stop(InvalidRequest, SAYS)),
        }
        Ok(())
    }

    fn embed(&mut self, start: usize, raw: &str, counts: Counts) {
        self.shape.messages = self.shape.messages.saturating_add(1);
        self.span(Span { start, end: start + raw.len(), counts });
    }
}

/// An array of token ids, of which there is at least one.
struct Ids;

impl<'de> Visitor<'de> for Ids {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of token ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut any = false;
        while seq.next_element::<u32>()?.is_some() {
            any = true;
        }
        if any { Ok(()) } else { Err(de::Error::custom("none")) }
    }
}
