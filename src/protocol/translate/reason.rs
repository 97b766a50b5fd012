//! Why an answer ended.
//!
//! Sources: Anthropic's API reference (`stop_reason`), OpenAI's (`finish_reason`).

use serde::Deserialize;

/// Anthropic's reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopReason {
    EndTurn,
    StopSequence,
    MaxTokens,
    ModelContextWindowExceeded,
    ToolUse,
    Refusal,
    /// Only tools of the provider pause a turn, which no translated request has.
    PauseTurn,
    #[serde(other)]
    Unknown,
}

impl StopReason {
    /// OpenAI's word.
    pub(super) const fn to_chat(self, legacy_functions: bool) -> &'static str {
        match self {
            Self::EndTurn | Self::StopSequence | Self::PauseTurn | Self::Unknown => "stop",
            Self::MaxTokens | Self::ModelContextWindowExceeded => "length",
            Self::ToolUse if legacy_functions => "function_call",
            Self::ToolUse => "tool_calls",
            Self::Refusal => "content_filter",
        }
    }
}

/// OpenAI's reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    FunctionCall,
    ContentFilter,
    /// Some providers say nothing in so many words.
    #[serde(rename = "")]
    Nothing,
    #[serde(other)]
    Unknown,
}

/// What else is known when an answer ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// It called a tool.
    pub(super) calls: bool,
    /// It refused, which OpenAI shows in a member of its own.
    pub(super) refusal: bool,
}

impl FinishReason {
    /// Anthropic's word. Some providers say `stop` after calls.
    pub(super) const fn to_messages(self, said: Said) -> &'static str {
        match self {
            Self::Length => "max_tokens",
            Self::ContentFilter => "refusal",
            Self::ToolCalls | Self::FunctionCall => "tool_use",
            Self::Stop | Self::Nothing | Self::Unknown if said.calls => "tool_use",
            Self::Stop | Self::Nothing | Self::Unknown if said.refusal => "refusal",
            Self::Stop | Self::Nothing | Self::Unknown => "end_turn",
        }
    }
}
