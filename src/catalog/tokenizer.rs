//! How many tokens a text is, by the vocabularies that are published.
//!
//! Counting runs in time linear in the text, whatever the text: the encoder is the `bpe` crate's
//! algorithm without backtracking and its pre-tokeniser is a finite automaton, so a hostile prompt
//! cannot make it quadratic.

use serde::Deserialize;

/// A vocabulary that a provider counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// OpenAI's `o200k_base` (gpt-4o and everything later).
    O200k,
    /// OpenAI's `cl100k_base` (gpt-4, gpt-3.5-turbo).
    Cl100k,
    /// No vocabulary is known: one token per UTF-8 byte, which no byte-level tokeniser exceeds.
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
            Self::Bytes => text.len() as u64,
        }
    }
}
