//! What becomes of the fields of a messages request in a chat request.

use super::rules::Neutral::{Empty, Flag, Null, Word};
use super::rules::{Rule, drop, into, no};

/// The rows of every object, in the order of the documentation.
pub static ALL: [&[Rule]; 15] = [
    TOP,
    THINKING,
    OUTPUT,
    FORMAT,
    SYSTEM,
    MESSAGE,
    BLOCK,
    TEXT,
    IMAGE,
    SOURCE,
    TOOL_USE,
    TOOL_RESULT,
    THOUGHT,
    TOOL,
    CHOICE,
];

const CACHE: &str = "it changes what input costs, not what it means";

pub(super) static TOP: &[Rule] = &[
    into("", "model", "`model`"),
    into("", "messages", "`messages`; the last may not be of the assistant: chat does not go on"),
    into("", "max_tokens", "`max_tokens`, at least 1; the gateway bounds it"),
    into("", "system", "a system message"),
    into("", "stream", "`stream`"),
    into("", "temperature", "`temperature`"),
    into("", "top_p", "`top_p`"),
    into("", "top_k", "`top_k`"),
    into("", "stop_sequences", "`stop`"),
    into("", "tools", "`tools`"),
    into("", "tool_choice", "`tool_choice`; `any` is `required`; left out without tools"),
    into("", "thinking", "`reasoning_effort`"),
    into("", "output_config", "`reasoning_effort` and `response_format`"),
    drop("", "cache_control", CACHE),
    drop("", "metadata", "never sent: `user_id` would tie runs together at the provider"),
    no("", "service_tier", Word(&["auto", "standard_only"]), "other tiers have other prices"),
    no("", "speed", Word(&["standard"]), "other speeds have other prices"),
    no("", "container", Null, "a tool of the provider"),
    no("", "mcp_servers", Empty, "a tool of the provider"),
    no("", "context_management", Null, "chat does not have it"),
    no("", "inference_geo", Null, "chat does not have it"),
    no("", "diagnostics", Null, "chat does not have it"),
    drop("", "run_id", "it is the gateway's"),
    drop("", "evaluation_run_id", "it is the gateway's"),
];

const THINKING_AT: &str = "thinking.";
pub(super) static THINKING: &[Rule] = &[
    into(
        THINKING_AT,
        "type",
        "`adaptive` and `disabled` leave it to the model; `enabled` goes by its budget",
    ),
    into(
        THINKING_AT,
        "budget_tokens",
        "`reasoning_effort`: low below 4096 tokens, medium below 16384, else high",
    ),
    drop(THINKING_AT, "display", "chat does not have it; what is shown is the provider's choice"),
];

const OUTPUT_AT: &str = "output_config.";
pub(super) static OUTPUT: &[Rule] = &[
    into(OUTPUT_AT, "effort", "`reasoning_effort`, before that of `thinking`"),
    into(OUTPUT_AT, "format", "`response_format` of type `json_schema`"),
];

const FORMAT_AT: &str = "output_config.format.";
pub(super) static FORMAT: &[Rule] = &[
    into(FORMAT_AT, "type", "only `json_schema`"),
    into(FORMAT_AT, "schema", "`json_schema.schema`, strict; required"),
];

const SYSTEM_AT: &str = "system[].";
pub(super) static SYSTEM: &[Rule] = &[
    into(SYSTEM_AT, "type", "only `text`"),
    into(SYSTEM_AT, "text", "a text part, or the content if it is the only one"),
    drop(SYSTEM_AT, "cache_control", CACHE),
    no(SYSTEM_AT, "citations", Empty, "chat does not have them"),
];

const MESSAGE_AT: &str = "messages[].";
pub(super) static MESSAGE: &[Rule] = &[
    into(MESSAGE_AT, "role", "`role`; system messages stay where they are"),
    into(MESSAGE_AT, "content", "`content`, `tool_calls`, and a tool message for each result"),
];

const BLOCK_AT: &str = "messages[].content[].";
/// What is looked at first in any block; the others of its type follow.
pub(super) static BLOCK: &[Rule] = &[into(
    BLOCK_AT,
    "type",
    "text, image, tool_use, tool_result; thinking and redacted_thinking are left out; others are \
     refused",
)];
pub(super) static TEXT: &[Rule] = &[
    into(BLOCK_AT, "text", "a text part, or the content if it is the only one"),
    drop(BLOCK_AT, "cache_control", CACHE),
    no(BLOCK_AT, "citations", Empty, "chat does not have them"),
];
pub(super) static IMAGE: &[Rule] = &[
    into(BLOCK_AT, "source", "an `image_url` part; from a tool result into the next user message"),
    drop(BLOCK_AT, "cache_control", CACHE),
    no(BLOCK_AT, "transformations", Empty, "chat does not have them"),
];

const SOURCE_AT: &str = "messages[].content[].source.";
pub(super) static SOURCE: &[Rule] = &[
    into(SOURCE_AT, "type", "only `base64`"),
    into(SOURCE_AT, "media_type", "the data URL's type"),
    into(SOURCE_AT, "data", "the data URL's data"),
];

pub(super) static TOOL_USE: &[Rule] = &[
    into(BLOCK_AT, "id", "`tool_calls[].id`"),
    into(BLOCK_AT, "name", "`tool_calls[].function.name`"),
    into(BLOCK_AT, "input", "`tool_calls[].function.arguments`"),
    drop(BLOCK_AT, "cache_control", CACHE),
    drop(BLOCK_AT, "caller", "only the model calls"),
    no(BLOCK_AT, "toolset_name", Null, "a tool of the provider"),
];

pub(super) static TOOL_RESULT: &[Rule] = &[
    into(BLOCK_AT, "tool_use_id", "`tool_call_id`"),
    into(BLOCK_AT, "content", "`content`: texts; images go into the next user message"),
    into(BLOCK_AT, "is_error", "the content begins with `Error: `"),
    drop(BLOCK_AT, "cache_control", CACHE),
    no(BLOCK_AT, "toolset_name", Null, "a tool of the provider"),
];

/// Thinking of earlier turns.
pub(super) static THOUGHT: &[Rule] = &[
    drop(BLOCK_AT, "thinking", "another provider cannot replay it"),
    drop(BLOCK_AT, "signature", "another provider cannot replay it"),
    drop(BLOCK_AT, "data", "another provider cannot replay it"),
];

const TOOL_AT: &str = "tools[].";
pub(super) static TOOL: &[Rule] = &[
    no(TOOL_AT, "type", Word(&["custom"]), "a tool of the provider"),
    into(TOOL_AT, "name", "`function.name`"),
    into(TOOL_AT, "description", "`function.description`"),
    into(TOOL_AT, "input_schema", "`function.parameters`"),
    into(TOOL_AT, "strict", "`function.strict`"),
    drop(TOOL_AT, "cache_control", CACHE),
    drop(TOOL_AT, "eager_input_streaming", "it is about how the answer is cut into pieces"),
    no(TOOL_AT, "defer_loading", Flag(false), "chat does not have it"),
    no(TOOL_AT, "input_examples", Empty, "chat does not have them"),
    no(TOOL_AT, "allowed_callers", Empty, "a tool of the provider"),
];

const CHOICE_AT: &str = "tool_choice.";
pub(super) static CHOICE: &[Rule] = &[
    into(CHOICE_AT, "type", "`tool_choice`"),
    into(CHOICE_AT, "name", "`tool_choice.function.name`"),
    into(CHOICE_AT, "disable_parallel_tool_use", "`parallel_tool_calls`"),
];
