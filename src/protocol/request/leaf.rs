//! Single values of a request: what each may be, and what is kept of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Action, Field, Object, Shape, Tally, Variant};
use super::image;
use super::parse::{Stopped, Walk};
use crate::domain::fault::Code::{InvalidRequest, ParameterNotAllowed};
use crate::domain::usage::MAX_TOKENS;
use crate::protocol::json;

/// The most choices of one call.
pub(super) const MAX_CHOICES: u64 = 16;
/// The longest model name, in bytes.
pub(super) const MAX_MODEL_BYTES: usize = 256;
/// The longest number literal, in bytes; the longest useful one has about 25.
const MAX_NUMBER_BYTES: usize = 64;
/// The longest raw string that is compared with a list of words, in bytes.
const MAX_WORD_BYTES: usize = 256;
/// The most modalities of one request; there is one that is passed.
pub(super) const MAX_MODALITIES: usize = 16;

pub(super) type Outcome = Result<(), Stopped>;

impl Walk<'_> {
    /// Reads one value; tells whether it is there, which null is not.
    pub(super) fn leaf(
        &mut self,
        object: &'static Object,
        field: &Field,
        raw: &str,
    ) -> Result<bool, Stopped> {
        if raw == "null" {
            // Providers want to see that an assistant's content is null beside its tool calls.
            if matches!(field.shape, Shape::TextOrArray(..)) {
                self.pass(field, raw);
            }
            return Ok(false);
        }
        if self.noted(field, raw)? {
            return Ok(true);
        }
        match field.shape {
            Shape::Refused => {
                let says = format!("is not passed on: {}", field.note);
                return Err(self.stop(ParameterNotAllowed, &says));
            }
            Shape::Word(words) => {
                self.word(words, raw)?;
                if field.action == Action::Passed {
                    self.pass(field, raw);
                }
            }
            Shape::Only(word) => {
                self.only(&[word], raw, field.note)?;
                self.pass(field, raw);
            }
            Shape::Words(words) => {
                self.words(words, raw, field.note)?;
                self.pass(field, raw);
            }
            Shape::Off => self.off(raw, field.note)?,
            Shape::Tag => {
                self.tag = Some(self.tag(object, raw)?);
                self.pass(field, raw);
            }
            shape => {
                self.check(shape, raw)?;
                if let Shape::TextOrArray(Object { tally: Tally::Message, .. }, _) = shape {
                    self.shape.messages = self.shape.messages.saturating_add(1);
                }
                if field.action == Action::Passed {
                    self.pass(field, raw);
                }
            }
        }
        Ok(true)
    }

    /// Values that are only looked at.
    fn check(&mut self, shape: Shape, raw: &str) -> Outcome {
        match shape {
            Shape::Text => self.sound(raw, "must be a string"),
            Shape::TextOr(_) => self.sound(raw, "must be a string or an object"),
            Shape::TextOrArray(..) => {
                self.sound(raw, "must be a string, an array of parts or null")
            }
            Shape::Number => self.number(raw),
            Shape::Integer => self.integer(raw).map(|_| ()),
            Shape::Count => self.whole(raw, MAX_TOKENS).map(|_| ()),
            Shape::Flag => self.flag(raw).map(|_| ()),
            Shape::Free => self.free(raw),
            Shape::List => self.list(raw),
            Shape::Numbers => self.numbers(raw),
            Shape::Texts(limit) => self.texts(raw, limit),
            Shape::ImageUrl => self.image(raw),
            Shape::ImageData => self.image_data(raw),
            Shape::Empty => self.empty(raw),
            Shape::Store => self.store(raw),
            Shape::Tier => self.tier(raw),
            Shape::Modalities => self.modalities(raw),
            // Handled by the caller; a new one that is not shall not pass.
            Shape::Refused
            | Shape::Message
            | Shape::Word(_)
            | Shape::Only(_)
            | Shape::Words(_)
            | Shape::Off
            | Shape::Tag
            | Shape::Nested(_)
            | Shape::Array(..)
            | Shape::Model
            | Shape::Stream
            | Shape::IncludeUsage
            | Shape::IncludeCost
            | Shape::Choices
            | Shape::Limit
            | Shape::Seed
            | Shape::Metadata
            | Shape::CacheMark
            | Shape::Lifetime
            | Shape::Budget
            | Shape::Inputs
            | Shape::RunName => Err(self.stop(ParameterNotAllowed, "is not passed on")),
        }
    }

    pub(super) fn sound(&mut self, raw: &str, says: &str) -> Outcome {
        if !raw.starts_with('"') {
            return Err(self.stop(InvalidRequest, says));
        }
        if json::has_whole_characters(raw) { Ok(()) } else { Err(self.half_character()) }
    }

    fn half_character(&mut self) -> Stopped {
        let says = "has half of a surrogate pair; send whole characters";
        self.stop(InvalidRequest, says)
    }

    pub(super) fn text<'r>(&mut self, raw: &'r str) -> Result<Cow<'r, str>, Stopped> {
        self.sound(raw, "must be a string")?;
        json::text(raw).ok_or_else(|| self.half_character())
    }

    pub(super) fn word(&mut self, words: &[&'static str], raw: &str) -> Outcome {
        if find_word(words, raw).is_some() {
            return Ok(());
        }
        Err(self.stop(InvalidRequest, &format!("must be one of {}", words.join(", "))))
    }

    /// One of these words; any other is refused for this reason.
    fn only(&mut self, words: &[&'static str], raw: &str, why: &str) -> Outcome {
        self.sound(raw, "must be a string")?;
        if find_word(words, raw).is_some() {
            return Ok(());
        }
        let says = format!("may only be {}: {why}", words.join(", "));
        Err(self.stop(ParameterNotAllowed, &says))
    }

    fn words(&mut self, words: &[&'static str], raw: &str, why: &str) -> Outcome {
        let Some(given) = elements(raw, words.len()) else {
            let wrong = format!("must be an array of at most {} strings", words.len());
            return Err(self.stop(InvalidRequest, &wrong));
        };
        given.iter().try_for_each(|word| self.only(words, word, why))
    }

    fn off(&mut self, raw: &str, why: &str) -> Outcome {
        if self.flag(raw)? {
            return Err(self.stop(ParameterNotAllowed, &format!("may only be false: {why}")));
        }
        Ok(())
    }

    fn tag(&mut self, object: &'static Object, raw: &str) -> Result<&'static Variant, Stopped> {
        self.sound(raw, "must be a string")?;
        let found = (raw.len() <= MAX_WORD_BYTES).then(|| json::text(raw)).flatten();
        let found = found.and_then(|word| object.variants.iter().find(|one| one.word == word));
        found.ok_or_else(|| {
            let words: Vec<&str> = object.words().collect();
            let says = format!(
                "may only be {}: anything else reaches outside or has no price here",
                words.join(", ")
            );
            self.stop(ParameterNotAllowed, &says)
        })
    }

    pub(super) fn flag(&mut self, raw: &str) -> Result<bool, Stopped> {
        match raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.stop(InvalidRequest, "must be true or false")),
        }
    }

    fn number(&mut self, raw: &str) -> Outcome {
        // The syntax is known to be JSON's, which has no word for infinity.
        let is_number = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let finite = raw.parse().is_ok_and(f64::is_finite);
        if is_number && finite && raw.len() <= MAX_NUMBER_BYTES {
            return Ok(());
        }
        Err(self.stop(InvalidRequest, "must be a finite number"))
    }

    pub(super) fn integer(&mut self, raw: &str) -> Result<i64, Stopped> {
        raw.parse().map_err(|_| self.stop(InvalidRequest, "must be a whole number (64 bits)"))
    }

    /// A whole number from 1; neither a fraction nor an exponent is one.
    pub(super) fn whole(&mut self, raw: &str, maximum: u64) -> Result<u64, Stopped> {
        match raw.parse() {
            Ok(number) if (1..=maximum).contains(&number) => Ok(number),
            _ => {
                let says = format!("must be a whole number from 1 to {maximum}");
                Err(self.stop(InvalidRequest, &says))
            }
        }
    }

    pub(super) fn free(&mut self, raw: &str) -> Outcome {
        if !raw.starts_with('{') {
            return Err(self.stop(InvalidRequest, "must be an object"));
        }
        json::check(raw, &mut self.nodes).map_err(|flaw| self.stop(InvalidRequest, flaw.says()))
    }

    fn list(&mut self, raw: &str) -> Outcome {
        if !raw.starts_with('[') {
            return Err(self.stop(InvalidRequest, "must be an array"));
        }
        json::check(raw, &mut self.nodes).map_err(|flaw| self.stop(InvalidRequest, flaw.says()))
    }

    fn numbers(&mut self, raw: &str) -> Outcome {
        self.free(raw)?;
        match serde_json::from_str::<HashMap<Cow<'_, str>, f64>>(raw) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.stop(InvalidRequest, "must be an object of numbers")),
        }
    }

    fn texts(&mut self, raw: &str, limit: usize) -> Outcome {
        let says = format!("must be a string or an array of at most {limit} strings");
        if raw.starts_with('"') {
            return self.sound(raw, &says);
        }
        match elements(raw, limit) {
            Some(texts) => texts.iter().try_for_each(|text| self.sound(text, &says)),
            None => Err(self.stop(InvalidRequest, &says)),
        }
    }

    fn image(&mut self, raw: &str) -> Outcome {
        let url = self.text(raw)?;
        if image::is_inline(&url) {
            self.shape.images = self.shape.images.saturating_add(1);
            return Ok(());
        }
        let says = "must be `data:image/(png|jpeg|webp|gif);base64,…`: nothing is fetched; send \
                    the image itself";
        Err(self.stop(ParameterNotAllowed, says))
    }

    fn image_data(&mut self, raw: &str) -> Outcome {
        let data = self.text(raw)?;
        if !image::is_base64(data.as_bytes()) {
            return Err(self.stop(InvalidRequest, "must be base64: the image itself"));
        }
        self.shape.images = self.shape.images.saturating_add(1);
        Ok(())
    }

    fn empty(&mut self, raw: &str) -> Outcome {
        match elements(raw, 0) {
            Some(_) => Ok(()),
            None => Err(self.stop(ParameterNotAllowed, "is not passed on; leave it out")),
        }
    }

    fn store(&mut self, raw: &str) -> Outcome {
        if self.flag(raw)? {
            let says = "may only be false: nothing is kept at the provider";
            return Err(self.stop(ParameterNotAllowed, says));
        }
        Ok(())
    }

    fn tier(&mut self, raw: &str) -> Outcome {
        self.sound(raw, "must be a string")?;
        if find_word(&["auto", "default"], raw).is_some() {
            return Ok(());
        }
        let says = "may only be auto or default: other tiers have other prices";
        Err(self.stop(ParameterNotAllowed, says))
    }

    fn modalities(&mut self, raw: &str) -> Outcome {
        let wrong = format!("must be an array of at most {MAX_MODALITIES} strings");
        let Some(asked) = elements(raw, MAX_MODALITIES) else {
            return Err(self.stop(InvalidRequest, &wrong));
        };
        asked.iter().try_for_each(|modality| self.sound(modality, &wrong))?;
        if asked.iter().all(|modality| find_word(&["text"], modality).is_some()) {
            return Ok(());
        }
        let says = "may only be [\"text\"]: other output has no price here";
        Err(self.stop(ParameterNotAllowed, says))
    }
}

/// The word that a raw string decodes to, if it is one of these.
pub(super) fn find_word(words: &[&'static str], raw: &str) -> Option<&'static str> {
    if raw.len() > MAX_WORD_BYTES {
        return None;
    }
    let text = json::text(raw)?;
    words.iter().find(|word| **word == text).copied()
}

/// The raw elements of an array, unless it is none or has more than this many: what comes after
/// is not looked at, so that a long array costs no more than a short one.
pub(super) fn elements(raw: &str, limit: usize) -> Option<Vec<&str>> {
    struct Few(usize);

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of at most {} elements", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                if found.len() == self.0 {
                    return Err(de::Error::custom("too many"));
                }
                found.push(element.get());
            }
            Ok(found)
        }
    }

    serde_json::Deserializer::from_str(raw).deserialize_seq(Few(limit)).ok()
}
