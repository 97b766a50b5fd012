//! Usage, from the words of one side to those of the other, to the last token.
//!
//! OpenAI's `prompt_tokens` includes what was read from a cache and written to it
//! (`prompt_tokens_details`: `cached_tokens`, `cache_write_tokens`). Anthropic's `input_tokens`
//! excludes both: the whole input is the sum of `input_tokens`, `cache_creation_input_tokens` and
//! `cache_read_input_tokens`. Both count thinking as output. (API references of both: `usage`,
//! `CompletionUsage`.)

use serde::Deserialize;

use super::write::number;
use crate::domain::settlement::ReportedUsage;
use crate::domain::usage::Usage;
use crate::protocol::chat;

/// What Anthropic reports; in a stream each report replaces what it names.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct MessagesUsage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl MessagesUsage {
    /// Takes a later report in.
    pub(super) fn update(&mut self, later: Self) {
        let newer = |slot: &mut Option<u64>, value: Option<u64>| *slot = value.or(*slot);
        newer(&mut self.input_tokens, later.input_tokens);
        newer(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        newer(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        newer(&mut self.output_tokens, later.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }

    /// Appends it as chat's usage object; tells whether there is one. Counts that no sum holds, or
    /// half a report, are none.
    pub(super) fn write_chat(&self, out: &mut Vec<u8>) -> bool {
        let (Some(input), Some(output)) = (self.input_tokens, self.output_tokens) else {
            return false;
        };
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let read = self.cache_read_input_tokens.unwrap_or(0);
        let prompt = input.checked_add(written).and_then(|sum| sum.checked_add(read));
        let Some((prompt, total)) = prompt.and_then(|sum| Some((sum, sum.checked_add(output)?)))
        else {
            return false;
        };
        let mut member = |text: &str, count: u64| {
            out.extend_from_slice(text.as_bytes());
            number(count, out);
        };
        member("{\"prompt_tokens\":", prompt);
        member(",\"completion_tokens\":", output);
        member(",\"total_tokens\":", total);
        member(",\"prompt_tokens_details\":{\"cached_tokens\":", read);
        member(",\"cache_write_tokens\":", written);
        let thinking = self.output_tokens_details.and_then(|details| details.thinking_tokens);
        if let Some(thinking) = thinking {
            member("},\"completion_tokens_details\":{\"reasoning_tokens\":", thinking);
        }
        out.extend_from_slice(b"}}");
        true
    }
}

/// What a raw usage object of chat says, if it is sound.
pub(super) fn of_chat(raw: &str) -> Option<Usage> {
    match chat::usage::read(raw) {
        Some(ReportedUsage::Counted(usage)) => Some(usage),
        Some(ReportedUsage::Nonsense) | None => None,
    }
}

/// Appends Anthropic's usage object. Without a report it is all zero, as its clients want one.
pub(super) fn write_messages(usage: Option<Usage>, out: &mut Vec<u8>) {
    let usage = usage.unwrap_or_default();
    let mut member = |text: &str, count: u64| {
        out.extend_from_slice(text.as_bytes());
        number(count, out);
    };
    member("{\"input_tokens\":", usage.uncached_input.count());
    member(",\"cache_creation_input_tokens\":", usage.cache_write.count());
    member(",\"cache_read_input_tokens\":", usage.cached_input.count());
    member(",\"output_tokens\":", usage.output.count());
    if usage.reasoning.count() > 0 {
        member(",\"output_tokens_details\":{\"thinking_tokens\":", usage.reasoning.count());
        out.push(b'}');
    }
    out.push(b'}');
}
