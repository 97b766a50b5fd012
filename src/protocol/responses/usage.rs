//! Usage as a response reports it, told apart into classes that do not overlap.
//!
//! `input_tokens` includes cached tokens and `output_tokens` includes reasoning (OpenAI's API
//! reference, the response object, `usage`; `ResponseUsage` of its Python SDK).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::settlement::ReportedUsage;
use crate::domain::usage::{Tokens, Usage};
use crate::protocol::json::{Absurd, count};

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens_details: Option<InputDetails<'a>>,
    #[serde(borrow)]
    output_tokens_details: Option<OutputDetails<'a>>,
}

#[derive(Deserialize)]
struct InputDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// What the raw `usage` member says; `None` if it is null or says nothing.
pub(super) fn read(raw: &str) -> Option<ReportedUsage> {
    if raw == "null" {
        return None;
    }
    let Ok(wire) = serde_json::from_str::<Wire<'_>>(raw) else {
        return Some(ReportedUsage::Nonsense);
    };
    match normalise(&wire) {
        Ok(usage) => usage.map(ReportedUsage::Counted),
        Err(Absurd) => Some(ReportedUsage::Nonsense),
    }
}

fn normalise(wire: &Wire<'_>) -> Result<Option<Usage>, Absurd> {
    let (input, output) = match (count(wire.input_tokens)?, count(wire.output_tokens)?) {
        (None, None) => return Ok(None),
        (Some(input), Some(output)) => (input, output),
        (Some(_), None) | (None, Some(_)) => return Err(Absurd),
    };
    let details = wire.input_tokens_details.as_ref();
    let cached = count(details.and_then(|details| details.cached_tokens))?.unwrap_or(0);
    let written = count(details.and_then(|details| details.cache_write_tokens))?.unwrap_or(0);
    let details = wire.output_tokens_details.as_ref();
    let reasoning = count(details.and_then(|details| details.reasoning_tokens))?.unwrap_or(0);
    // No sum overflows: each is at most 2^53.
    let uncached = input.checked_sub(cached + written).ok_or(Absurd)?;
    if reasoning > output {
        return Err(Absurd);
    }
    Ok(Some(Usage {
        uncached_input: Tokens::new(uncached),
        cached_input: Tokens::new(cached),
        cache_write: Tokens::new(written),
        output: Tokens::new(output),
        reasoning: Tokens::new(reasoning),
        ..Usage::default()
    }))
}
