//! Usage as Anthropic reports it: its classes do not overlap.
//!
//! `input_tokens` excludes what was read from or written to a cache (API reference, `Usage`; guide
//! "Prompt caching"). `cache_creation` tells writes apart by how long they live, and
//! `output_tokens_details` how much of the output was thinking.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::settlement::ReportedUsage;
use crate::domain::usage::{Tokens, Usage};
use crate::protocol::json::{Absurd, count};

/// What a `usage` member has said, as far as it did: a stream tells it in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Counted {
    input: Option<u64>,
    cached: Option<u64>,
    written: Option<u64>,
    written_for_an_hour: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    absurd: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation: Option<Creation<'a>>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<OutputDetails<'a>>,
}

#[derive(Deserialize)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    thinking_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Creation<'a> {
    #[serde(borrow)]
    ephemeral_1h_input_tokens: Option<&'a RawValue>,
}

impl Counted {
    /// Takes in a raw `usage` member; what it does not say stays as it was.
    pub(in crate::protocol) fn take(&mut self, raw: &str) {
        if raw == "null" {
            return;
        }
        let read = serde_json::from_str::<Wire<'_>>(raw).map_err(|_| Absurd);
        if read.and_then(|wire| self.take_wire(&wire)).is_err() {
            self.absurd = true;
        }
    }

    fn take_wire(&mut self, wire: &Wire<'_>) -> Result<(), Absurd> {
        let creation = wire.cache_creation.as_ref();
        let of_an_hour = creation.and_then(|creation| creation.ephemeral_1h_input_tokens);
        let details = wire.output_tokens_details.as_ref();
        let thinking = details.and_then(|details| details.thinking_tokens);
        for (slot, raw) in [
            (&mut self.input, wire.input_tokens),
            (&mut self.cached, wire.cache_read_input_tokens),
            (&mut self.written, wire.cache_creation_input_tokens),
            (&mut self.written_for_an_hour, of_an_hour),
            (&mut self.output, wire.output_tokens),
            (&mut self.thinking, thinking),
        ] {
            if let Some(counted) = count(raw)? {
                *slot = Some(counted);
            }
        }
        Ok(())
    }

    /// What it adds up to, once both input and output were told.
    pub(in crate::protocol) fn usage(&self) -> Option<ReportedUsage> {
        if self.absurd {
            return Some(ReportedUsage::Nonsense);
        }
        let (input, output) = match (self.input, self.output) {
            (Some(input), Some(output)) => (input, output),
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => return Some(ReportedUsage::Nonsense),
        };
        let of_an_hour = self.written_for_an_hour.unwrap_or(0);
        let written = self.written.unwrap_or(of_an_hour);
        let thinking = self.thinking.unwrap_or(0);
        if of_an_hour > written || thinking > output {
            return Some(ReportedUsage::Nonsense);
        }
        Some(ReportedUsage::Counted(Usage {
            uncached_input: Tokens::new(input),
            cached_input: Tokens::new(self.cached.unwrap_or(0)),
            cache_write: Tokens::new(written),
            long_cache_write: Tokens::new(of_an_hour),
            output: Tokens::new(output),
            reasoning: Tokens::new(thinking),
        }))
    }
}
