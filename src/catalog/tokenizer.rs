//! How many tokens a text is: by the vocabularies that are published, or by one that the operator
//! brings.
//!
//! Counting with the published ones runs in time linear in the text, whatever the text: the encoder
//! is the `bpe` crate's algorithm without backtracking and its pre-tokeniser is a finite automaton,
//! so a hostile prompt cannot make it quadratic. What bounds the others stands in
//! [`vocabulary`](super::vocabulary).

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

use super::vocabulary::{PATIENCE, Vocabulary};
use crate::domain::normal::{Normalizing, Written, growth};

/// A vocabulary that a provider counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// OpenAI's `o200k_base` (gpt-4o and everything later).
    O200k,
    /// OpenAI's `cl100k_base` (gpt-4, gpt-3.5-turbo).
    Cl100k,
    /// No vocabulary is known: one token per UTF-8 byte, which no byte-level tokeniser exceeds, and
    /// what normalisation may add.
    Bytes,
}

impl Tokenizer {
    /// The number of tokens of `text`, special tokens in it counted as ordinary text.
    ///
    /// The first call for a vocabulary loads it (tens of milliseconds); later ones only count. This
    /// is work for the processor: call it where blocking is allowed.
    pub fn count(self, text: &str) -> u64 {
        match self {
            Self::O200k => bpe_openai::o200k_base().count(text) as u64,
            Self::Cl100k => bpe_openai::cl100k_base().count(text) as u64,
            Self::Bytes => (text.len() as u64).saturating_add(growth(
                text,
                Written::Plain,
                Normalizing::Composing,
            )),
        }
    }
}

/// How the tokens of a model are counted.
#[derive(Clone, Debug)]
pub enum Counting {
    /// With a vocabulary that is compiled in, or by bytes.
    With(Tokenizer),
    /// With a vocabulary that the operator brings.
    File(Arc<Vocabulary>),
    /// By asking Anthropic, who publishes none and counts for nothing; otherwise by bytes.
    Anthropic,
}

impl Counting {
    /// Its name in catalogue files and in the list of models.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::With(Tokenizer::O200k) => "o200k",
            Self::With(Tokenizer::Cl100k) => "cl100k",
            Self::With(Tokenizer::Bytes) => "bytes",
            Self::File(_) => "file",
            Self::Anthropic => "anthropic",
        }
    }

    /// Whether nothing counts better than bytes do.
    pub const fn is_bytes(&self) -> bool {
        matches!(self, Self::With(Tokenizer::Bytes))
    }

    /// What is done to a text before it is cut into tokens, as far as that may make it longer.
    /// OpenAI's vocabularies take it as it is. Of what no one publishes the worst is assumed that
    /// is in use: the older ones of Anthropic have NFKC.
    pub fn normalizing(&self) -> Normalizing {
        match self {
            Self::With(Tokenizer::O200k | Tokenizer::Cl100k) => Normalizing::Not,
            Self::With(Tokenizer::Bytes) | Self::Anthropic => Normalizing::Composing,
            Self::File(vocabulary) => vocabulary.normalizing(),
        }
    }

    /// What counts the texts of one prompt, in a time that is bounded for all of them together.
    ///
    /// This is work for the processor: call it where blocking is allowed.
    pub fn counter(&self) -> impl Fn(&str) -> u64 {
        let end = Instant::now() + PATIENCE;
        move |text| match self {
            Self::With(tokenizer) => tokenizer.count(text),
            Self::File(vocabulary) => vocabulary.count(text, end),
            Self::Anthropic => Tokenizer::Bytes.count(text),
        }
    }

    /// The number of tokens of `text` alone; see [`Self::counter`].
    pub fn count(&self, text: &str) -> u64 {
        self.counter()(text)
    }
}
