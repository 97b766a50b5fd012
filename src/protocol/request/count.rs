//! Which bytes of a request become input tokens, and how many they are.

use std::sync::Arc;

use bytes::Bytes;

use super::fields::Counts;
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

/// The strict bound: no tokeniser in use makes more than one token of a byte, and no JSON string
/// is shorter than what it decodes to.
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
    /// the request's `text_bytes`.
    ///
    /// Texts are counted as what they decode to. Structures (tools, schemas, tool calls, names) are
    /// counted as twice their raw JSON: each provider renders them in a form of its own, which it
    /// does not publish.
    pub fn count(&self, count: impl Fn(&str) -> u64) -> Tokens {
        let each = self.spans.iter().map(|span| self.tokens(*span, &count));
        Tokens::new(each.fold(0, u64::saturating_add))
    }

    fn tokens(&self, span: Span, count: impl Fn(&str) -> u64) -> u64 {
        let raw = self.body.get(span.start..span.end).map(std::str::from_utf8);
        let Some(Ok(raw)) = raw else {
            return span.bytes();
        };
        let tokens = match span.counts {
            Counts::No => 0,
            Counts::Text => json::text(raw).map_or(span.bytes(), |text| count(&text)),
            Counts::Structure => count(raw).saturating_mul(2),
            Counts::Ids => ids(raw),
            Counts::Opaque => span.bytes(),
        };
        tokens.min(span.bytes())
    }
}

/// How many numbers there are in arrays of them.
fn ids(raw: &str) -> u64 {
    let numbers = raw.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.count() as u64
}
