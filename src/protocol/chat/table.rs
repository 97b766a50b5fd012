//! The rows of the table of fields, one array for each object of the wire format.
//!
//! Sources: OpenAI's API reference for chat completions, and of the other providers what differs
//! (`providers::REGISTRY` names theirs).

use super::fields::Action::{self, Bounded, Forced, Passed, Refused};
use super::fields::Counts::{No, Structure, Text as AsText};
use super::fields::Shape::{
    Array, Choices, Content, Empty, Flag, Free, ImageUrl, IncludeUsage, Integer, Limit, List,
    Metadata, Modalities, Model, Number, Numbers, Object, RunName, Seed, Store, Stream, Tag, Text,
    TextOr, Texts, Tier, Word,
};
use super::fields::{Counts, Field, Place, Shape};

/// The most messages of one request.
const MAX_MESSAGES: usize = 8_192;
/// The most tools of one request.
const MAX_TOOLS: usize = 512;
/// The most tool calls of one message.
const MAX_CALLS: usize = 1_024;
/// The most stop sequences.
const MAX_STOPS: usize = 16;

const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];
const PARTS: &[&str] = &["text", "refusal", "image_url"];
const TOOLS: &[&str] = &["function", "custom"];
const CHOICES: &[&str] = &["function", "custom", "allowed_tools"];
const DETAILS: &[&str] = &["auto", "low", "high"];
const MODES: &[&str] = &["auto", "required"];

const fn row(
    at: &'static str,
    name: &'static str,
    action: Action,
    shape: Shape,
    counts: Counts,
    note: &'static str,
) -> Field {
    Field { at, name, action, note, shape, counts }
}

const fn top(name: &'static str, action: Action, shape: Shape, note: &'static str) -> Field {
    row("", name, action, shape, No, note)
}

const fn told(name: &'static str, shape: Shape, note: &'static str) -> Field {
    row("", name, Passed, shape, Structure, note)
}

const fn no(name: &'static str, note: &'static str) -> Field {
    row("", name, Refused, Shape::Refused, No, note)
}

const fn message(name: &'static str, shape: Shape, counts: Counts, note: &'static str) -> Field {
    row("messages[].", name, Passed, shape, counts, note)
}

/// A member of an answer that clients send back with it, though it is no part of a request.
const fn echoed(name: &'static str, shape: Shape, note: &'static str) -> Field {
    row("messages[].", name, Forced, shape, No, note)
}

/// A member of something that is counted as a whole.
const fn inner(at: &'static str, name: &'static str, shape: Shape, note: &'static str) -> Field {
    row(at, name, Passed, shape, No, note)
}

pub(super) const TOP: [Field; 71] = [
    top("model", Forced, Model, "required; replaced by the provider's name for the model"),
    top("messages", Passed, Array(Place::Message, MAX_MESSAGES), "required; 1 to 8192"),
    top("stream", Passed, Stream, ""),
    top("stream_options", Forced, Object(Place::StreamOptions), "usage is always asked upstream"),
    top(
        "n",
        Passed,
        Choices,
        "1 to 16, or 1 where a provider takes no more; multiplies the worst case",
    ),
    top("max_tokens", Bounded, Limit, "1 to 2147483647; of several limits the smallest counts"),
    top("max_completion_tokens", Bounded, Limit, "as `max_tokens`"),
    top("max_output_tokens", Bounded, Limit, "as `max_tokens`"),
    top("temperature", Passed, Number, ""),
    top("top_p", Passed, Number, ""),
    top("top_k", Passed, Number, ""),
    top("min_p", Passed, Number, ""),
    top("presence_penalty", Passed, Number, ""),
    top("frequency_penalty", Passed, Number, ""),
    top("repetition_penalty", Passed, Number, ""),
    top("seed", Passed, Seed, "under the provider's name for it; left out where it has none"),
    top("stop", Passed, Texts(MAX_STOPS), "a string or up to 16"),
    top("logit_bias", Passed, Numbers, ""),
    top("logprobs", Passed, Flag, ""),
    top("top_logprobs", Passed, Integer, ""),
    told("response_format", Free, "counted as input"),
    told("tools", Array(Place::Tool, MAX_TOOLS), "up to 512; counted as input"),
    told("tool_choice", TextOr(Place::ToolChoice), ""),
    top("parallel_tool_calls", Passed, Flag, ""),
    told("functions", Array(Place::LegacyFunction, MAX_TOOLS), "as `tools`"),
    told("function_call", TextOr(Place::LegacyChoice), "as `tool_choice`"),
    told("reasoning_effort", Text, "reasoning counts as output and is bounded with it"),
    told("verbosity", Text, ""),
    top("store", Forced, Store, "only `false`: nothing is kept at the provider"),
    top("service_tier", Forced, Tier, "only `auto` or `default`: other tiers have other prices"),
    top("modalities", Forced, Modalities, "only `[\"text\"]`"),
    top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
    top("user", Forced, Text, "never sent: it would tie runs together at the provider"),
    top("safety_identifier", Forced, Text, "a hash of the run's id instead, where one is taken"),
    top("prompt_cache_key", Forced, Text, "as `safety_identifier`: no run names another's cache"),
    top("run_id", Forced, RunName, "names the run; taken out"),
    top("evaluation_run_id", Forced, RunName, "as `run_id`"),
    no("audio", "audio has no price here"),
    no("prediction", "rejected predictions are billed beyond the output limit"),
    no("web_search_options", "a tool of the provider reaches outside and costs extra"),
    no("plugins", "a tool of the provider reaches outside and costs extra"),
    no("mcp_servers", "a tool of the provider reaches outside"),
    no("models", "the gateway chooses who serves a model"),
    no("route", "the gateway chooses who serves a model"),
    no("provider", "the gateway chooses who serves a model"),
    no("fallbacks", "the gateway chooses who serves a model"),
    no("transforms", "it changes the input after it was counted"),
    no("best_of", "it multiplies the output unseen; use `n`"),
    no("extra_body", "send its members as fields of the request"),
    no("extra_headers", "headers to the provider are the gateway's"),
    no("api_key", "the provider's credential is the gateway's"),
    no("api_base", "the provider's address is the gateway's"),
    no("base_url", "the provider's address is the gateway's"),
    no("api_version", "the provider's address is the gateway's"),
    no("organization", "the provider's account is the gateway's"),
    no("custom_llm_provider", "the gateway chooses who serves a model"),
    no("mock_response", "answers come from the model"),
    no("previous_response_id", "input that the request does not show cannot be counted"),
    no("conversation", "input that the request does not show cannot be counted"),
    no("prompt", "send `messages`; stored prompts cannot be counted"),
    no("prompt_id", "input that the request does not show cannot be counted"),
    no("input", "send `messages`"),
    no("file_ids", "input that the request does not show cannot be counted"),
    no("attachments", "input that the request does not show cannot be counted"),
    no("context_management", "it changes the input after it was counted"),
    no("prompt_cache_retention", "longer cache retention has another price"),
    no("cache_control", "cache writes have another price"),
    no("thinking", "use `reasoning_effort`"),
    no("reasoning", "use `reasoning_effort`"),
    no("usage", "usage is always asked upstream; use `stream_options`"),
    no("background", "the answer would come where nobody meters it"),
];

pub(super) const STREAM_OPTIONS: [Field; 2] = [
    row("stream_options.", "include_usage", Forced, IncludeUsage, No, "shows the usage chunk"),
    row("stream_options.", "include_obfuscation", Forced, Flag, No, "never sent"),
];

pub(super) const MESSAGE: [Field; 14] = [
    message(
        "role",
        Word(ROLES),
        No,
        "required; system, developer, user, assistant, tool or function",
    ),
    message("content", Content, AsText, "a string, an array of parts or null"),
    message("name", Text, Structure, ""),
    message("tool_calls", Array(Place::ToolCall, MAX_CALLS), Structure, ""),
    message("tool_call_id", Text, Structure, ""),
    message("function_call", Object(Place::LegacyCall), Structure, ""),
    message("refusal", Text, AsText, ""),
    message("reasoning_content", Text, AsText, ""),
    row("messages[].", "audio", Forced, Empty, No, "only null, as SDKs echo it"),
    row("messages[].", "annotations", Forced, Empty, No, "only null or empty, as SDKs echo it"),
    echoed("reasoning", Text, "a string, as SDKs echo it; never sent"),
    echoed("reasoning_details", List, "an array, as SDKs echo it; never sent"),
    echoed("provider_specific_fields", Free, "an object, as SDKs echo it; never sent"),
    echoed("thinking_blocks", List, "an array, as SDKs echo it; never sent"),
];

const PART_AT: &str = "messages[].content[].";
pub(super) const PART: [Field; 4] = [
    inner(PART_AT, "type", Tag(PARTS), "required; text, refusal or image_url"),
    row(PART_AT, "text", Passed, Text, AsText, ""),
    row(PART_AT, "refusal", Passed, Text, AsText, ""),
    inner(PART_AT, "image_url", Object(Place::ImageUrl), ""),
];

const IMAGE_AT: &str = "messages[].content[].image_url.";
pub(super) const IMAGE_URL: [Field; 2] = [
    inner(IMAGE_AT, "url", ImageUrl, "only `data:image/(png,jpeg,webp,gif);base64,…`"),
    inner(IMAGE_AT, "detail", Word(DETAILS), "auto, low or high"),
];

const CALL_AT: &str = "messages[].tool_calls[].";
pub(super) const TOOL_CALL: [Field; 5] = [
    inner(CALL_AT, "id", Text, ""),
    inner(CALL_AT, "type", Tag(TOOLS), "function or custom"),
    inner(CALL_AT, "index", Integer, ""),
    inner(CALL_AT, "function", Object(Place::CalledFunction), ""),
    inner(CALL_AT, "custom", Object(Place::CalledCustom), ""),
];

const CALLED_FUNCTION_AT: &str = "messages[].tool_calls[].function.";
pub(super) const CALLED_FUNCTION: [Field; 2] =
    [inner(CALLED_FUNCTION_AT, "name", Text, ""), inner(CALLED_FUNCTION_AT, "arguments", Text, "")];

const CALLED_CUSTOM_AT: &str = "messages[].tool_calls[].custom.";
pub(super) const CALLED_CUSTOM: [Field; 2] =
    [inner(CALLED_CUSTOM_AT, "name", Text, ""), inner(CALLED_CUSTOM_AT, "input", Text, "")];

const LEGACY_CALL_AT: &str = "messages[].function_call.";
pub(super) const LEGACY_CALL: [Field; 2] =
    [inner(LEGACY_CALL_AT, "name", Text, ""), inner(LEGACY_CALL_AT, "arguments", Text, "")];

const TOOL_AT: &str = "tools[].";
pub(super) const TOOL: [Field; 3] = [
    inner(TOOL_AT, "type", Tag(TOOLS), "required; function or custom: no tools of the provider"),
    inner(TOOL_AT, "function", Object(Place::Function), ""),
    inner(TOOL_AT, "custom", Object(Place::Custom), ""),
];

const FUNCTION_AT: &str = "tools[].function.";
pub(super) const FUNCTION: [Field; 4] = [
    inner(FUNCTION_AT, "name", Text, ""),
    inner(FUNCTION_AT, "description", Text, ""),
    inner(FUNCTION_AT, "parameters", Free, "any schema, up to 64 levels"),
    inner(FUNCTION_AT, "strict", Flag, ""),
];

const CUSTOM_AT: &str = "tools[].custom.";
pub(super) const CUSTOM: [Field; 3] = [
    inner(CUSTOM_AT, "name", Text, ""),
    inner(CUSTOM_AT, "description", Text, ""),
    inner(CUSTOM_AT, "format", Free, "any format, up to 64 levels"),
];

const LEGACY_FUNCTION_AT: &str = "functions[].";
pub(super) const LEGACY_FUNCTION: [Field; 3] = [
    inner(LEGACY_FUNCTION_AT, "name", Text, ""),
    inner(LEGACY_FUNCTION_AT, "description", Text, ""),
    inner(LEGACY_FUNCTION_AT, "parameters", Free, "any schema, up to 64 levels"),
];

const CHOICE_AT: &str = "tool_choice.";
pub(super) const TOOL_CHOICE: [Field; 4] = [
    inner(CHOICE_AT, "type", Tag(CHOICES), "required; function, custom or allowed_tools"),
    inner(CHOICE_AT, "function", Object(Place::ChosenName), ""),
    inner(CHOICE_AT, "custom", Object(Place::ChosenName), ""),
    inner(CHOICE_AT, "allowed_tools", Object(Place::AllowedTools), ""),
];

pub(super) const CHOSEN_NAME: [Field; 1] =
    [inner("tool_choice.(function, custom).", "name", Text, "")];

const ALLOWED_AT: &str = "tool_choice.allowed_tools.";
pub(super) const ALLOWED_TOOLS: [Field; 2] = [
    inner(ALLOWED_AT, "mode", Word(MODES), "auto or required"),
    inner(ALLOWED_AT, "tools", Array(Place::AllowedTool, MAX_TOOLS), ""),
];

const ALLOWED_TOOL_AT: &str = "tool_choice.allowed_tools.tools[].";
pub(super) const ALLOWED_TOOL: [Field; 3] = [
    inner(ALLOWED_TOOL_AT, "type", Tag(TOOLS), "required; function or custom"),
    inner(ALLOWED_TOOL_AT, "function", Object(Place::AllowedName), ""),
    inner(ALLOWED_TOOL_AT, "custom", Object(Place::AllowedName), ""),
];

pub(super) const ALLOWED_NAME: [Field; 1] =
    [inner("tool_choice.allowed_tools.tools[].(function, custom).", "name", Text, "")];

pub(super) const LEGACY_CHOICE: [Field; 1] = [inner("function_call.", "name", Text, "")];
