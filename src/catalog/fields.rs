//! One table of a catalogue file, and its values as the types that rows are made of.
//!
//! Every error names the file, the line, the model and the key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{CatalogError, Problem};
use super::vocabulary::Vocabularies;
use crate::domain::money::MoneyError;
use crate::domain::price::UsdPerMillionTokens;
use crate::domain::usage::{MAX_TOKENS, Tokens};

const MAX_NAME_CHARACTERS: usize = 200;

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    newlines(text, 0..offset) + 1
}

fn newlines(text: &str, part: Range<usize>) -> usize {
    let bytes = text.as_bytes().get(part).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Counts lines forwards, so that no part of a long file is read once for each of its rows.
pub(super) struct Lines<'a> {
    pub(super) text: &'a str,
    pub(super) offset: usize,
    pub(super) line: usize,
}

impl Lines<'_> {
    /// The line of an offset that is not before the last one.
    pub(super) fn advance_to(&mut self, offset: usize) -> usize {
        self.line += newlines(self.text, self.offset..offset);
        self.offset = offset;
        self.line
    }
}

#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) vocabularies: &'a Vocabularies<'a>,
}

/// A table, and what an error about it should say.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    pub(super) source: Source<'a>,
    pub(super) model: Option<&'a str>,
    /// What stands before a key in messages: nothing, or the table's own key and a dot.
    pub(super) path: &'static str,
    pub(super) at: Range<usize>,
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> Fields<'a> {
    /// Refuses keys that nobody reads, the first one in the file.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), CatalogError> {
        let strange = self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        match strange.min_by_key(|(key, _)| key.span().start) {
            None => Ok(()),
            Some((key, _)) => {
                let problem = Problem::UnknownKey {
                    key: format!("{}{}", self.path, key.get_ref()),
                    known: known.join(", "),
                };
                Err(self.fault(&key.span(), problem))
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    pub(super) fn required<T>(
        &self,
        key: &str,
        value: Option<T>,
        what: &'static str,
    ) -> Result<T, CatalogError> {
        value.ok_or_else(|| self.fault(&self.at, Problem::Missing { key: self.key(key), what }))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(text.as_ref())),
            _ => Err(self.wrong_type(key, "a string", value)),
        }
    }

    pub(super) fn name(&self, key: &str) -> Result<Option<&'a str>, CatalogError> {
        let Some(name) = self.text(key)? else { return Ok(None) };
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && (1..=MAX_NAME_CHARACTERS).contains(&name.len()) {
            return Ok(Some(name));
        }
        let problem = Problem::BadName { key: self.key(key), most: MAX_NAME_CHARACTERS };
        Err(self.fault_at(key, problem))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, "true or false", value))
    }

    pub(super) fn table(
        &self,
        key: &str,
        path: &'static str,
    ) -> Result<Option<Self>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => {
                Ok(Some(Self { path, at: value.span(), table, ..self.clone() }))
            }
            _ => Err(self.wrong_type(key, "a table", value)),
        }
    }

    pub(super) fn tokens(&self, key: &str, least: u64) -> Result<Option<Tokens>, CatalogError> {
        Ok(self.whole(key, least, MAX_TOKENS)?.map(Tokens::new))
    }

    pub(super) fn constant(&self, key: &str) -> Result<Option<u32>, CatalogError> {
        let number = self.whole(key, 0, u64::from(u32::MAX))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn whole(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let DeValue::Integer(digits) = value.get_ref() else {
            return Err(self.wrong_type(key, "a whole number", value));
        };
        let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let value = digits.as_str().to_owned();
                let problem = Problem::OutOfRange { key: self.key(key), least, most, value };
                Err(self.fault_at(key, problem))
            }
        }
    }

    pub(super) fn price(&self, key: &str) -> Result<Option<UsdPerMillionTokens>, CatalogError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let unquoted = |value: &str| {
            let problem = Problem::UnquotedPrice { key: self.key(key), value: value.to_owned() };
            Err(self.fault_at(key, problem))
        };
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) => return unquoted(number.as_str()),
            DeValue::Float(number) => return unquoted(number.as_str()),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return Err(self.wrong_type(key, "a quoted price", value));
            }
        };
        let (key_path, value) = (self.key(key), text.to_owned());
        UsdPerMillionTokens::parse(text).map(Some).map_err(|error| {
            let problem = match error {
                MoneyError::Malformed => Problem::MalformedPrice { key: key_path, value },
                MoneyError::Negative => Problem::NegativePrice { key: key_path, value },
                MoneyError::TooManyDigits => Problem::PriceDigits { key: key_path, value },
            };
            self.fault_at(key, problem)
        })
    }

    pub(super) fn unknown_word(
        &self,
        key: &str,
        value: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> CatalogError {
        let known = known.collect::<Vec<_>>().join(", ");
        let problem = Problem::UnknownWord { key: self.key(key), value: value.to_owned(), known };
        self.fault_at(key, problem)
    }

    pub(super) fn wrong_type(
        &self,
        key: &str,
        wanted: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> CatalogError {
        let found = value.get_ref().type_str();
        self.fault(&value.span(), Problem::WrongType { key: self.key(key), wanted, found })
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    pub(super) fn fault_at(&self, key: &str, problem: Problem) -> CatalogError {
        let span = self.get(key).map_or_else(|| self.at.clone(), Spanned::span);
        self.fault(&span, problem)
    }

    pub(super) fn fault(&self, at: &Range<usize>, problem: Problem) -> CatalogError {
        CatalogError {
            file: self.source.file.to_owned(),
            line: line_of(self.source.text, at.start),
            model: self.model.map(str::to_owned),
            problem: Box::new(problem),
        }
    }
}
