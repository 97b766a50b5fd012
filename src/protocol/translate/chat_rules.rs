//! What becomes of the fields of a chat request in a messages request.

use super::rules::Neutral::{Empty, Flag, Null, Number, Word};
use super::rules::{Rule, drop, into, no};

/// The rows of every object, in the order of the documentation.
pub static ALL: [&[Rule]; 17] = [
    TOP,
    MESSAGE,
    PART,
    IMAGE,
    CALL,
    CALLED,
    LEGACY_CALL,
    TOOL,
    FUNCTION,
    LEGACY_FUNCTION,
    CHOICE,
    CHOSEN,
    LEGACY_CHOICE,
    FORMAT,
    SCHEMA,
    STREAM_OPTIONS,
    USAGE_OPTIONS,
];

const TIES: &str = "never sent: it would tie runs together at the provider";

pub(super) static TOP: &[Rule] = &[
    into("", "model", "`model`"),
    into("", "messages", "`system` and `messages`; at least one is not of the system"),
    into("", "stream", "`stream`"),
    drop("", "stream_options", "it is about the answer, which is translated back"),
    drop("", "usage", "as `stream_options`"),
    no("", "n", Number(1.0), "Anthropic gives one answer to a request"),
    into("", "max_tokens", "`max_tokens`, the smallest of the limits; the gateway bounds it"),
    into("", "max_completion_tokens", "as `max_tokens`"),
    into("", "max_output_tokens", "as `max_tokens`"),
    into("", "temperature", "`temperature`; refused above 1, which is Anthropic's highest"),
    into("", "top_p", "`top_p`"),
    into("", "top_k", "`top_k`"),
    no("", "min_p", Number(0.0), "Anthropic does not have it"),
    no("", "presence_penalty", Number(0.0), "Anthropic does not have it"),
    no("", "frequency_penalty", Number(0.0), "Anthropic does not have it"),
    no("", "repetition_penalty", Number(1.0), "Anthropic does not have it"),
    no("", "seed", Null, "Anthropic does not have it"),
    into("", "stop", "`stop_sequences`"),
    no("", "logit_bias", Empty, "Anthropic does not have it"),
    no("", "logprobs", Flag(false), "Anthropic does not tell them"),
    no("", "top_logprobs", Number(0.0), "Anthropic does not tell them"),
    into("", "response_format", "`json_schema`: `output_config.format`; `text`: nothing"),
    into("", "tools", "`tools`"),
    into("", "tool_choice", "`tool_choice`; `required` is `any`; left out without tools"),
    into("", "parallel_tool_calls", "`tool_choice.disable_parallel_tool_use`"),
    into("", "functions", "`tools`, one call at a time"),
    into("", "function_call", "`tool_choice`"),
    into(
        "",
        "reasoning_effort",
        "`thinking` adaptive with `output_config.effort` (`minimal` is `low`), or for older models \
         a budget of 1024 (minimal), 2048, 8192, 16384 (high), 32768 (xhigh, max) tokens, at most \
         half of `max_tokens`; `none`: `thinking` disabled",
    ),
    no("", "verbosity", Word(&["medium"]), "Anthropic does not have it"),
    drop("", "store", "only `false` is accepted"),
    drop("", "service_tier", "the gateway decides"),
    drop("", "modalities", "only text is accepted"),
    drop("", "metadata", "read for `run_id`, never sent"),
    drop("", "user", TIES),
    drop("", "safety_identifier", TIES),
    drop("", "prompt_cache_key", TIES),
    drop("", "run_id", "it is the gateway's"),
    drop("", "evaluation_run_id", "it is the gateway's"),
];

const MESSAGE_AT: &str = "messages[].";
pub(super) static MESSAGE: &[Rule] = &[
    into(
        MESSAGE_AT,
        "role",
        "system and developer: `system`, at the front, in their order; tool and function: \
         `tool_result` blocks of a user message, before its other blocks; neighbours of one role \
         become one message",
    ),
    into(MESSAGE_AT, "content", "blocks; blank texts are left out, as Anthropic refuses them"),
    into(MESSAGE_AT, "name", "left out of tool results, whose id says it; refused elsewhere"),
    into(MESSAGE_AT, "tool_calls", "`tool_use` blocks"),
    into(MESSAGE_AT, "tool_call_id", "`tool_use_id`"),
    into(MESSAGE_AT, "function_call", "a `tool_use` block whose id is made up"),
    into(MESSAGE_AT, "refusal", "a text block"),
    drop(MESSAGE_AT, "reasoning_content", "thinking cannot be replayed without its signature"),
    drop(MESSAGE_AT, "audio", "only null is accepted"),
    drop(MESSAGE_AT, "annotations", "only null or empty is accepted"),
    drop(MESSAGE_AT, "reasoning", "as `reasoning_content`"),
    drop(MESSAGE_AT, "reasoning_details", "as `reasoning_content`"),
    drop(MESSAGE_AT, "provider_specific_fields", "echoed by SDKs, never sent"),
    drop(MESSAGE_AT, "thinking_blocks", "echoed by SDKs, never sent"),
];

const PART_AT: &str = "messages[].content[].";
pub(super) static PART: &[Rule] = &[
    into(PART_AT, "type", "the block's type; images not in what the system says"),
    into(PART_AT, "text", "a text block"),
    into(PART_AT, "refusal", "a text block"),
    into(PART_AT, "image_url", "an image block"),
];

const IMAGE_AT: &str = "messages[].content[].image_url.";
pub(super) static IMAGE: &[Rule] = &[
    into(IMAGE_AT, "url", "a `base64` source"),
    no(IMAGE_AT, "detail", Word(&["auto", "high"]), "Anthropic sees every image in full"),
];

const CALL_AT: &str = "messages[].tool_calls[].";
pub(super) static CALL: &[Rule] = &[
    into(CALL_AT, "id", "`id`; what Anthropic does not take in an id becomes `_`"),
    drop(CALL_AT, "type", "the member says it"),
    drop(CALL_AT, "index", "the order says it"),
    into(CALL_AT, "function", "the members of the block"),
    no(CALL_AT, "custom", Null, "Anthropic's tools take objects"),
];

const CALLED_AT: &str = "messages[].tool_calls[].function.";
pub(super) static CALLED: &[Rule] = &[
    into(CALLED_AT, "name", "`name`"),
    into(CALLED_AT, "arguments", "`input`; refused if it is no JSON object, `{}` if it is blank"),
];

const LEGACY_CALL_AT: &str = "messages[].function_call.";
pub(super) static LEGACY_CALL: &[Rule] = &[
    into(LEGACY_CALL_AT, "name", "`name`"),
    into(LEGACY_CALL_AT, "arguments", "`input`, as that of a tool call"),
];

const TOOL_AT: &str = "tools[].";
pub(super) static TOOL: &[Rule] = &[
    drop(TOOL_AT, "type", "the member says it"),
    into(TOOL_AT, "function", "the members of the tool"),
    no(TOOL_AT, "custom", Null, "Anthropic's tools take objects"),
];

const FUNCTION_AT: &str = "tools[].function.";
pub(super) static FUNCTION: &[Rule] = &[
    into(FUNCTION_AT, "name", "`name`"),
    into(FUNCTION_AT, "description", "`description`"),
    into(FUNCTION_AT, "parameters", "`input_schema`, of type `object` if it names none"),
    into(FUNCTION_AT, "strict", "`strict`"),
];

const LEGACY_FUNCTION_AT: &str = "functions[].";
pub(super) static LEGACY_FUNCTION: &[Rule] = &[
    into(LEGACY_FUNCTION_AT, "name", "`name`"),
    into(LEGACY_FUNCTION_AT, "description", "`description`"),
    into(LEGACY_FUNCTION_AT, "parameters", "`input_schema`, as that of a tool"),
];

const CHOICE_AT: &str = "tool_choice.";
pub(super) static CHOICE: &[Rule] = &[
    drop(CHOICE_AT, "type", "the member says it"),
    into(CHOICE_AT, "function", "the type `tool`"),
    no(CHOICE_AT, "custom", Null, "Anthropic's tools take objects"),
    no(CHOICE_AT, "allowed_tools", Null, "Anthropic has no such choice; send only those tools"),
];

pub(super) static CHOSEN: &[Rule] = &[into("tool_choice.function.", "name", "`name`")];

pub(super) static LEGACY_CHOICE: &[Rule] = &[into("function_call.", "name", "`tool_choice.name`")];

const FORMAT_AT: &str = "response_format.";
pub(super) static FORMAT: &[Rule] = &[
    into(FORMAT_AT, "type", "`json_object` is refused: Anthropic needs a schema"),
    into(FORMAT_AT, "json_schema", "`output_config.format`"),
];

const SCHEMA_AT: &str = "response_format.json_schema.";
pub(super) static SCHEMA: &[Rule] = &[
    drop(SCHEMA_AT, "name", "a label; Anthropic's formats have none"),
    into(SCHEMA_AT, "description", "the schema's `description`, if it has none"),
    into(SCHEMA_AT, "schema", "`schema`; required"),
    drop(SCHEMA_AT, "strict", "Anthropic always keeps to the schema"),
];

const STREAM_OPTIONS_AT: &str = "stream_options.";
/// Below what is dropped or refused as a whole: for the documentation.
static STREAM_OPTIONS: &[Rule] = &[
    drop(STREAM_OPTIONS_AT, "include_usage", "it shows the usage chunk of the translated stream"),
    drop(STREAM_OPTIONS_AT, "include_obfuscation", "never sent"),
];
static USAGE_OPTIONS: &[Rule] =
    &[drop("usage.", "include", "it shows the usage of the translated answer, with its cost")];
