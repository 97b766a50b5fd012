//! The rows of the table of fields, one array for each object of the wire format.
//!
//! Sources: OpenAI's API reference for chat completions, and of the other providers what differs
//! (`providers::REGISTRY` names theirs).

use crate::protocol::request::fields::Action::{self, Bounded, Forced, Passed, Refused};
use crate::protocol::request::fields::Counts::{No, Structure, Text as AsText};
use crate::protocol::request::fields::Shape::{
    Array, Choices, Empty, Flag, Free, ImageUrl, IncludeCost, IncludeUsage, Integer, Limit, List,
    Metadata, Modalities, Model, Nested, Number, Numbers, RunName, Seed, Store, Stream, Tag, Text,
    TextOr, TextOrArray, Texts, Tier, Word,
};
use crate::protocol::request::fields::{Counts, Field, Object, Shape, Tally, Variant};

/// The most messages of one request.
const MAX_MESSAGES: usize = 8_192;
/// The most content parts of one message.
const MAX_PARTS: usize = 8_192;
/// The most tools of one request.
const MAX_TOOLS: usize = 512;
/// The most tool calls of one message.
const MAX_CALLS: usize = 1_024;
/// The most stop sequences.
const MAX_STOPS: usize = 16;

const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];
/// An object of a type has the member that its type names.
const PART_KINDS: &[Variant] =
    &[Variant::named(&["text"]), Variant::named(&["refusal"]), Variant::named(&["image_url"])];
const TOOL_KINDS: &[Variant] = &[Variant::named(&["function"]), Variant::named(&["custom"])];
const CHOICE_KINDS: &[Variant] = &[
    Variant::named(&["function"]),
    Variant::named(&["custom"]),
    Variant::named(&["allowed_tools"]),
];
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

/// A request.
pub static TOP: Object = Object::new(
    "ChatRequest",
    &[
        top("model", Forced, Model, "required; replaced by the provider's name for the model"),
        top("messages", Passed, Array(&MESSAGE, MAX_MESSAGES), "required; 1 to 8192"),
        top("stream", Passed, Stream, ""),
        top("stream_options", Forced, Nested(&STREAM_OPTIONS), "usage is always asked upstream"),
        top("usage", Forced, Nested(&USAGE_OPTIONS), "OpenRouter's; taken out"),
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
        told("tools", Array(&TOOL, MAX_TOOLS), "up to 512; counted as input"),
        told("tool_choice", TextOr(&TOOL_CHOICE), ""),
        top("parallel_tool_calls", Passed, Flag, ""),
        told("functions", Array(&LEGACY_FUNCTION, MAX_TOOLS), "as `tools`"),
        told("function_call", TextOr(&LEGACY_CHOICE), "as `tool_choice`"),
        told("reasoning_effort", Text, "reasoning counts as output and is bounded with it"),
        told("verbosity", Text, ""),
        top("store", Forced, Store, "only `false`: nothing is kept at the provider"),
        top(
            "service_tier",
            Forced,
            Tier,
            "only `auto` or `default`: other tiers have other prices",
        ),
        top("modalities", Forced, Modalities, "only `[\"text\"]`"),
        top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
        top("user", Forced, Text, "never sent: it would tie runs together at the provider"),
        top(
            "safety_identifier",
            Forced,
            Text,
            "a hash of the run's id instead, where one is taken",
        ),
        top(
            "prompt_cache_key",
            Forced,
            Text,
            "as `safety_identifier`: no run names another's cache",
        ),
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
        no("background", "the answer would come where nobody meters it"),
    ],
)
.requiring(&["model", "messages"]);

pub(super) static STREAM_OPTIONS: Object = Object::new(
    "ChatStreamOptions",
    &[
        row("stream_options.", "include_usage", Forced, IncludeUsage, No, "shows the usage chunk"),
        row("stream_options.", "include_obfuscation", Forced, Flag, No, "never sent"),
    ],
);

pub(super) static USAGE_OPTIONS: Object = Object::new(
    "ChatUsageOptions",
    &[row("usage.", "include", Forced, IncludeCost, No, "shows the usage, with its `cost`")],
);

pub(super) static MESSAGE: Object = Object::new(
    "ChatMessage",
    &[
        message(
            "role",
            Word(ROLES),
            No,
            "required; system, developer, user, assistant, tool or function",
        ),
        message(
            "content",
            TextOrArray(&PART, MAX_PARTS),
            AsText,
            "a string, an array of parts or null",
        ),
        message("name", Text, Structure, ""),
        message("tool_calls", Array(&TOOL_CALL, MAX_CALLS), Structure, ""),
        message("tool_call_id", Text, Structure, ""),
        message("function_call", Nested(&LEGACY_CALL), Structure, ""),
        message("refusal", Text, AsText, ""),
        message("reasoning_content", Text, AsText, ""),
        row("messages[].", "audio", Forced, Empty, No, "only null, as SDKs echo it"),
        row("messages[].", "annotations", Forced, Empty, No, "only null or empty, as SDKs echo it"),
        echoed("reasoning", Text, "a string, as SDKs echo it; never sent"),
        echoed("reasoning_details", List, "an array, as SDKs echo it; never sent"),
        echoed("provider_specific_fields", Free, "an object, as SDKs echo it; never sent"),
        echoed("thinking_blocks", List, "an array, as SDKs echo it; never sent"),
    ],
)
.requiring(&["role"])
.tallied(Tally::Message);

const PART_AT: &str = "messages[].content[].";
pub(super) static PART: Object = Object::new(
    "ChatPart",
    &[
        inner(PART_AT, "type", Tag, "required; text, refusal or image_url"),
        row(PART_AT, "text", Passed, Text, AsText, ""),
        row(PART_AT, "refusal", Passed, Text, AsText, ""),
        inner(PART_AT, "image_url", Nested(&IMAGE_URL), ""),
    ],
)
.requiring(&["type"])
.tagged(PART_KINDS);

const IMAGE_AT: &str = "messages[].content[].image_url.";
pub(super) static IMAGE_URL: Object = Object::new(
    "ChatImageUrl",
    &[
        inner(IMAGE_AT, "url", ImageUrl, "only `data:image/(png,jpeg,webp,gif);base64,…`"),
        inner(IMAGE_AT, "detail", Word(DETAILS), "auto, low or high"),
    ],
)
.requiring(&["url"]);

const CALL_AT: &str = "messages[].tool_calls[].";
pub(super) static TOOL_CALL: Object = Object::new(
    "ChatToolCall",
    &[
        inner(CALL_AT, "id", Text, ""),
        inner(CALL_AT, "type", Tag, "function or custom"),
        inner(CALL_AT, "index", Integer, ""),
        inner(CALL_AT, "function", Nested(&CALLED_FUNCTION), ""),
        inner(CALL_AT, "custom", Nested(&CALLED_CUSTOM), ""),
    ],
)
.tagged(TOOL_KINDS);

const CALLED_FUNCTION_AT: &str = "messages[].tool_calls[].function.";
pub(super) static CALLED_FUNCTION: Object = Object::new(
    "ChatCalledFunction",
    &[
        inner(CALLED_FUNCTION_AT, "name", Text, ""),
        inner(CALLED_FUNCTION_AT, "arguments", Text, ""),
    ],
);

const CALLED_CUSTOM_AT: &str = "messages[].tool_calls[].custom.";
pub(super) static CALLED_CUSTOM: Object = Object::new(
    "ChatCalledCustom",
    &[inner(CALLED_CUSTOM_AT, "name", Text, ""), inner(CALLED_CUSTOM_AT, "input", Text, "")],
);

const LEGACY_CALL_AT: &str = "messages[].function_call.";
pub(super) static LEGACY_CALL: Object = Object::new(
    "ChatLegacyCall",
    &[inner(LEGACY_CALL_AT, "name", Text, ""), inner(LEGACY_CALL_AT, "arguments", Text, "")],
);

const TOOL_AT: &str = "tools[].";
pub(super) static TOOL: Object = Object::new(
    "ChatTool",
    &[
        inner(TOOL_AT, "type", Tag, "required; function or custom: no tools of the provider"),
        inner(TOOL_AT, "function", Nested(&FUNCTION), ""),
        inner(TOOL_AT, "custom", Nested(&CUSTOM), ""),
    ],
)
.requiring(&["type"])
.tagged(TOOL_KINDS)
.tallied(Tally::Tool);

const FUNCTION_AT: &str = "tools[].function.";
pub(super) static FUNCTION: Object = Object::new(
    "ChatFunction",
    &[
        inner(FUNCTION_AT, "name", Text, ""),
        inner(FUNCTION_AT, "description", Text, ""),
        inner(FUNCTION_AT, "parameters", Free, "any schema, up to 64 levels"),
        inner(FUNCTION_AT, "strict", Flag, ""),
    ],
);

const CUSTOM_AT: &str = "tools[].custom.";
pub(super) static CUSTOM: Object = Object::new(
    "ChatCustom",
    &[
        inner(CUSTOM_AT, "name", Text, ""),
        inner(CUSTOM_AT, "description", Text, ""),
        inner(CUSTOM_AT, "format", Free, "any format, up to 64 levels"),
    ],
);

const LEGACY_FUNCTION_AT: &str = "functions[].";
pub(super) static LEGACY_FUNCTION: Object = Object::new(
    "ChatLegacyFunction",
    &[
        inner(LEGACY_FUNCTION_AT, "name", Text, ""),
        inner(LEGACY_FUNCTION_AT, "description", Text, ""),
        inner(LEGACY_FUNCTION_AT, "parameters", Free, "any schema, up to 64 levels"),
    ],
)
.tallied(Tally::Tool);

const CHOICE_AT: &str = "tool_choice.";
pub(super) static TOOL_CHOICE: Object = Object::new(
    "ChatToolChoice",
    &[
        inner(CHOICE_AT, "type", Tag, "required; function, custom or allowed_tools"),
        inner(CHOICE_AT, "function", Nested(&CHOSEN_NAME), ""),
        inner(CHOICE_AT, "custom", Nested(&CHOSEN_NAME), ""),
        inner(CHOICE_AT, "allowed_tools", Nested(&ALLOWED_TOOLS), ""),
    ],
)
.requiring(&["type"])
.tagged(CHOICE_KINDS);

pub(super) static CHOSEN_NAME: Object =
    Object::new("ChatChosenName", &[inner("tool_choice.(function, custom).", "name", Text, "")]);

const ALLOWED_AT: &str = "tool_choice.allowed_tools.";
pub(super) static ALLOWED_TOOLS: Object = Object::new(
    "ChatAllowedTools",
    &[
        inner(ALLOWED_AT, "mode", Word(MODES), "auto or required"),
        inner(ALLOWED_AT, "tools", Array(&ALLOWED_TOOL, MAX_TOOLS), ""),
    ],
);

const ALLOWED_TOOL_AT: &str = "tool_choice.allowed_tools.tools[].";
pub(super) static ALLOWED_TOOL: Object = Object::new(
    "ChatAllowedTool",
    &[
        inner(ALLOWED_TOOL_AT, "type", Tag, "required; function or custom"),
        inner(ALLOWED_TOOL_AT, "function", Nested(&ALLOWED_NAME), ""),
        inner(ALLOWED_TOOL_AT, "custom", Nested(&ALLOWED_NAME), ""),
    ],
)
.requiring(&["type"])
.tagged(TOOL_KINDS);

pub(super) static ALLOWED_NAME: Object = Object::new(
    "ChatAllowedName",
    &[inner("tool_choice.allowed_tools.tools[].(function, custom).", "name", Text, "")],
);

pub(super) static LEGACY_CHOICE: Object =
    Object::new("ChatLegacyChoice", &[inner("function_call.", "name", Text, "")]);
