//! Which bytes of a request become input tokens, and how many they are.

use std::sync::Arc;

use bytes::Bytes;

use super::fields::Counts;
use crate::domain::normal::{Normalizing, Written, growth};
use crate::domain::usage::Tokens;
use crate::protocol::json;

/// A part of the upstream body that becomes input tokens: a raw JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) counts: Counts,
}

impl Span {
    fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start) as u64
    }
}

/// The bytes of what becomes input: no tokeniser in use makes more than one token of a byte that it
/// reads, and no JSON string is shorter than what it decodes to.
pub(super) fn bytes_of(spans: &[Span]) -> Tokens {
    Tokens::new(spans.iter().map(|span| span.bytes()).sum())
}

/// Counts a request's input. It owns what it needs, so it can go where blocking is allowed.
#[derive(Clone, Debug)]
pub struct TextCounter {
    pub(super) body: Bytes,
    pub(super) spans: Arc<[Span]>,
}

impl TextCounter {
    /// The input in tokens, where `count` counts a text by the model's vocabulary. Never more than
    /// the bytes of the text.
    ///
    /// Texts are counted as what they decode to. Structures (tools, schemas, tool calls, names) are
    /// counted as twice their raw JSON: each provider renders them in a form of its own, which it
    /// does not publish.
    pub fn count(&self, count: impl Fn(&str) -> u64) -> Tokens {
        self.count_normalized(Normalizing::Not, count)
    }

    /// The same where the model normalises the text: never more than its bytes and what they gain.
    pub fn count_normalized(
        &self,
        normalizing: Normalizing,
        count: impl Fn(&str) -> u64,
    ) -> Tokens {
        let each = self.spans.iter().map(|span| {
            let most = span.bytes().saturating_add(self.growth(*span, normalizing));
            self.tokens(*span, &count, most).min(most)
        });
        Tokens::new(each.fold(0, u64::saturating_add))
    }

    /// What the text gains at most where it is normalised, in bytes.
    pub(super) fn all_growth(&self, normalizing: Normalizing) -> Tokens {
        let each = self.spans.iter().map(|span| self.growth(*span, normalizing));
        Tokens::new(each.fold(0, u64::saturating_add))
    }

    fn growth(&self, span: Span, normalizing: Normalizing) -> u64 {
        let written = match span.counts {
            Counts::No | Counts::Ids => return 0,
            Counts::Text | Counts::Opaque => Written::Json,
            Counts::Structure => Written::Structure,
        };
        let raw = self.body.get(span.start..span.end).map(std::str::from_utf8);
        raw.and_then(Result::ok).map_or(0, |raw| growth(raw, written, normalizing))
    }

    fn tokens(&self, span: Span, count: impl Fn(&str) -> u64, most: u64) -> u64 {
        let raw = self.body.get(span.start..span.end).map(std::str::from_utf8);
        let Some(Ok(raw)) = raw else {
            return most;
        };
        match span.counts {
            Counts::No => 0,
            Counts::Text => json::text(raw).map_or(most, |text| count(&text)),
            Counts::Structure => count(raw).saturating_mul(2),
            Counts::Ids => ids(raw),
            Counts::Opaque => most,
        }
    }
}

/// How many numbers there are in arrays of them.
fn ids(raw: &str) -> u64 {
    let numbers = raw.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.count() as u64
}
