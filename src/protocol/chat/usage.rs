//! Usage as OpenAI and those like it report it, told apart into classes that do not overlap.
//!
//! `prompt_tokens` includes cached tokens and `completion_tokens` includes reasoning (OpenAI's API
//! reference, `CompletionUsage`). DeepSeek also calls the cached ones `prompt_cache_hit_tokens`;
//! SGLang tells `reasoning_tokens` beside the counts (its `protocol.py`, `UsageInfo`).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::settlement::ReportedUsage;
use crate::domain::usage::{Tokens, Usage};
use crate::protocol::json::{Absurd, count};

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_hit_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<PromptDetails<'a>>,
    #[serde(borrow)]
    completion_tokens_details: Option<CompletionDetails<'a>>,
}

#[derive(Deserialize)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CompletionDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// What the raw `usage` member says; `None` if it is null or says nothing.
pub(in crate::protocol) fn read(raw: &str) -> Option<ReportedUsage> {
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
    let (prompt, completion) = match (count(wire.prompt_tokens)?, count(wire.completion_tokens)?) {
        (None, None) => return Ok(None),
        (Some(prompt), Some(completion)) => (prompt, completion),
        (Some(_), None) | (None, Some(_)) => return Err(Absurd),
    };
    let details = wire.prompt_tokens_details.as_ref();
    let cached = count(details.and_then(|details| details.cached_tokens))?;
    let hit = count(wire.prompt_cache_hit_tokens)?;
    // Two names of one number; should they differ, the smaller is the one that costs more.
    let cached = match (cached, hit) {
        (Some(cached), Some(hit)) => cached.min(hit),
        (either, None) | (None, either) => either.unwrap_or(0),
    };
    let written = count(details.and_then(|details| details.cache_write_tokens))?.unwrap_or(0);
    let details = wire.completion_tokens_details.as_ref();
    let detailed = details.and_then(|details| details.reasoning_tokens);
    let reasoning = count(detailed)?.or(count(wire.reasoning_tokens)?).unwrap_or(0);
    // No sum overflows: each is at most 2^53.
    let uncached = prompt.checked_sub(cached + written).ok_or(Absurd)?;
    if reasoning > completion {
        return Err(Absurd);
    }
    Ok(Some(Usage {
        uncached_input: Tokens::new(uncached),
        cached_input: Tokens::new(cached),
        cache_write: Tokens::new(written),
        output: Tokens::new(completion),
        reasoning: Tokens::new(reasoning),
        ..Usage::default()
    }))
}
