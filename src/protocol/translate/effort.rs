//! How much a model shall think, in the words of either side.

/// How an Anthropic model is told to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// `thinking: {type: "adaptive"}` and `output_config.effort`: models from Claude 4.6 on.
    #[default]
    Adaptive,
    /// `thinking: {type: "enabled", budget_tokens}`: models before that, which know no other.
    Budget,
}

/// The least budget that Anthropic takes, in tokens.
pub(super) const MIN_BUDGET: u64 = 1024;

/// Words of `reasoning_effort` (OpenAI's API reference), what they are in `output_config.effort`
/// (Anthropic's), and what they are as a budget in tokens.
const EFFORTS: [(&str, &str, u64); 6] = [
    ("minimal", "low", MIN_BUDGET),
    ("low", "low", 2048),
    ("medium", "medium", 8192),
    ("high", "high", 16_384),
    ("xhigh", "xhigh", 32_768),
    ("max", "max", 32_768),
];
/// Below these budgets the effort is the word.
const BELOW: [(u64, &str); 2] = [(4096, "low"), (16_384, "medium")];

/// Anthropic's effort and budget for OpenAI's word.
pub(super) fn of_word(word: &str) -> Option<(&'static str, u64)> {
    EFFORTS.iter().find(|(name, ..)| *name == word).map(|(_, effort, budget)| (*effort, *budget))
}

/// OpenAI's word for an effort of Anthropic's, which is the same.
pub(super) fn to_word(effort: &str) -> Option<&'static str> {
    EFFORTS.iter().find(|(name, word, _)| *name == effort && name == word).map(|(name, ..)| *name)
}

/// OpenAI's word for a budget.
pub(super) fn of_budget(tokens: u64) -> &'static str {
    BELOW.iter().find(|(below, _)| tokens < *below).map_or("high", |(_, word)| word)
}
