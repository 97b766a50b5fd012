//! The rows of the table of fields, one array for each object of the wire format.
//!
//! Sources: OpenAI's API reference for responses, the request types of its Python SDK, and the
//! bodies of `openai/codex` (`codex-rs/codex-api`, `codex-rs/protocol`, `codex-rs/tools`).

use crate::protocol::request::fields::Action::{self, Bounded, Forced, Passed, Refused};
use crate::protocol::request::fields::Counts::{No, Opaque, Structure, Text as AsText};
use crate::protocol::request::fields::Shape::{
    Array, Flag, Free, ImageUrl, Integer, Limit, List, Message, Metadata, Model, Nested, Number,
    Off, Only, RunName, Store, Stream, Tag, Text, TextOr, TextOrArray, Tier, Word, Words,
};
use crate::protocol::request::fields::{Counts, Field, Object, Shape, Tally, Variant};

/// The most items of one request.
const MAX_ITEMS: usize = 8_192;
/// The most parts of one item.
const MAX_PARTS: usize = 8_192;
/// The most tools of one request, and of one namespace.
const MAX_TOOLS: usize = 512;

const ROLES: &[&str] = &["system", "developer", "user", "assistant"];
const STATUSES: &[&str] = &["in_progress", "completed", "incomplete"];
const DETAILS: &[&str] = &["auto", "low", "high"];
const MODES: &[&str] = &["auto", "required"];
const INCLUDABLE: &[&str] = &["reasoning.encrypted_content", "message.output_text.logprobs"];

const ITEM_KINDS: &[Variant] = &[
    MESSAGE,
    kind("reasoning", &["summary", "content", "encrypted_content", "status"], &[]),
    kind("function_call", CALL, &["call_id", "name", "arguments"]),
    kind("function_call_output", OUTPUT, &["call_id", "output"]),
    kind("custom_tool_call", CALL, &["call_id", "name", "input"]),
    kind("custom_tool_call_output", OUTPUT, &["call_id", "output"]),
];
const MESSAGE: Variant =
    kind("message", &["role", "content", "phase", "status"], &["role", "content"]);
const CALL: &[&str] = &["call_id", "name", "namespace", "arguments", "input", "caller", "status"];
const OUTPUT: &[&str] = &["call_id", "name", "namespace", "output", "caller", "status"];
const PART_KINDS: &[Variant] = &[
    kind("input_text", &["text"], &["text"]),
    kind("output_text", &["text", "annotations", "logprobs"], &["text"]),
    kind("refusal", &["refusal"], &["refusal"]),
    kind("input_image", &["image_url", "detail"], &["image_url"]),
    kind("reasoning_text", &["text"], &["text"]),
];
const TOOL_KINDS: &[Variant] = &[
    kind("function", &["parameters", "strict", "output_schema", "defer_loading"], &["name"]),
    kind("custom", &["format", "defer_loading"], &["name"]),
    kind("namespace", &["tools"], &["name", "tools"]),
];
const SPACED_KINDS: &[Variant] = &[
    kind("function", &["parameters", "strict", "output_schema", "defer_loading"], &["name"]),
    kind("custom", &["format", "defer_loading"], &["name"]),
];
const CHOICE_KINDS: &[Variant] = &[
    kind("function", &["name"], &["name"]),
    kind("custom", &["name"], &["name"]),
    kind("allowed_tools", &["mode", "tools"], &["mode", "tools"]),
];
const ALLOWED_KINDS: &[Variant] =
    &[kind("function", &["name"], &["name"]), kind("custom", &["name"], &["name"])];

const fn kind(
    word: &'static str,
    members: &'static [&'static str],
    required: &'static [&'static str],
) -> Variant {
    Variant { word, members, required }
}

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

/// A member that is passed and counted as a structure.
const fn inner(at: &'static str, name: &'static str, shape: Shape, note: &'static str) -> Field {
    row(at, name, Passed, shape, Structure, note)
}

/// A member that is checked and left out.
const fn kept(at: &'static str, name: &'static str, shape: Shape, note: &'static str) -> Field {
    row(at, name, Forced, shape, No, note)
}

/// A request.
pub static TOP: Object = Object::new(
    "ResponsesRequest",
    &[
        top("model", Forced, Model, "required; the provider's own name is sent"),
        row(
            "",
            "input",
            Passed,
            TextOrArray(&ITEM, MAX_ITEMS),
            AsText,
            "required; a string or 1 to 8192 items",
        ),
        row("", "instructions", Passed, Message, AsText, "a string; counted as a message"),
        top("stream", Forced, Stream, "usage is in the last event"),
        row("", "stream_options", Passed, Nested(&STREAM_OPTIONS), No, ""),
        top("max_output_tokens", Bounded, Limit, "1 to 2147483647"),
        top("temperature", Passed, Number, ""),
        top("top_p", Passed, Number, ""),
        top("top_logprobs", Passed, Integer, ""),
        told("tools", Array(&TOOL, MAX_TOOLS), "up to 512; counted as input"),
        told("tool_choice", TextOr(&TOOL_CHOICE), ""),
        top("parallel_tool_calls", Passed, Flag, ""),
        top("max_tool_calls", Passed, Integer, ""),
        told("text", Nested(&TEXT), ""),
        told("reasoning", Nested(&REASONING), ""),
        top(
            "include",
            Passed,
            Words(INCLUDABLE),
            "only `reasoning.encrypted_content` and `message.output_text.logprobs`",
        ),
        top("store", Forced, Store, "only `false`, which is also sent if it is absent"),
        top("background", Forced, Off, "the answer would come where nobody meters it"),
        top("truncation", Passed, Only("disabled"), "it changes the input after it was counted"),
        top(
            "service_tier",
            Forced,
            Tier,
            "only `auto` or `default`: other tiers have other prices",
        ),
        top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
        top("client_metadata", Forced, Free, "never sent: it would tie runs together"),
        top("user", Forced, Text, "never sent: it would tie runs together at the provider"),
        top("safety_identifier", Forced, Text, "as `user`"),
        top("prompt_cache_key", Forced, Text, "as `user`"),
        top("run_id", Forced, RunName, "names the run; taken out"),
        top("evaluation_run_id", Forced, RunName, "as `run_id`"),
        no("previous_response_id", "nothing is stored; send the whole `input`"),
        no("conversation", "nothing is stored; send the whole `input`"),
        no("prompt", "send `input`; stored prompts cannot be counted"),
        no("messages", "send `input`"),
        no("max_tokens", "use `max_output_tokens`"),
        no("max_completion_tokens", "use `max_output_tokens`"),
        no("n", "a response has one answer"),
        no("seed", "responses have no seed"),
        no("stop", "responses have no stop sequences"),
        no("response_format", "use `text.format`"),
        no("reasoning_effort", "use `reasoning.effort`"),
        no("verbosity", "use `text.verbosity`"),
        no("background_options", "the answer would come where nobody meters it"),
        no("context_management", "it changes the input after it was counted"),
        no("moderation", "it is a further call, which has no price here"),
        no("image", "it changes the input after it was counted"),
        no("access_programs", "the provider's account is the gateway's"),
        no("prompt_cache_options", "cache writes have another price"),
        no("prompt_cache_retention", "longer cache retention has another price"),
        no("plugins", "a tool of the provider reaches outside and costs extra"),
        no("models", "the gateway chooses who serves a model"),
        no("provider", "the gateway chooses who serves a model"),
        no("extra_body", "send its members as fields of the request"),
        no("extra_headers", "headers to the provider are the gateway's"),
        no("api_key", "the provider's credential is the gateway's"),
        no("api_base", "the provider's address is the gateway's"),
        no("base_url", "the provider's address is the gateway's"),
    ],
)
.requiring(&["model", "input"]);

const OPTIONS_AT: &str = "stream_options.";
static STREAM_OPTIONS: Object = Object::new(
    "ResponsesStreamOptions",
    &[
        row(OPTIONS_AT, "include_obfuscation", Passed, Flag, No, ""),
        kept(
            OPTIONS_AT,
            "reasoning_summary_delivery",
            Text,
            "never sent: it only says when summaries come",
        ),
    ],
);

const ITEM_AT: &str = "input[].";
static ITEM: Object = Object::new(
    "ResponsesItem",
    &[
        inner(
            ITEM_AT,
            "type",
            Tag,
            "message, reasoning, function_call, function_call_output, custom_tool_call or \
             custom_tool_call_output; a message if absent",
        ),
        row(ITEM_AT, "role", Passed, Word(ROLES), No, "system, developer, user or assistant"),
        row(
            ITEM_AT,
            "content",
            Passed,
            TextOrArray(&PART, MAX_PARTS),
            AsText,
            "a string or an array of parts",
        ),
        inner(ITEM_AT, "phase", Text, ""),
        inner(ITEM_AT, "call_id", Text, ""),
        inner(ITEM_AT, "name", Text, ""),
        inner(ITEM_AT, "namespace", Text, ""),
        inner(ITEM_AT, "arguments", Text, ""),
        row(ITEM_AT, "input", Passed, Text, AsText, ""),
        row(
            ITEM_AT,
            "output",
            Passed,
            TextOrArray(&PART, MAX_PARTS),
            AsText,
            "a string or an array of parts",
        ),
        inner(ITEM_AT, "summary", Array(&SUMMARY, MAX_PARTS), ""),
        row(
            ITEM_AT,
            "encrypted_content",
            Passed,
            Text,
            Opaque,
            "each byte counts as a token, since only the provider can read it",
        ),
        row(ITEM_AT, "status", Passed, Word(STATUSES), No, "in_progress, completed or incomplete"),
        kept(ITEM_AT, "id", Text, "never sent: it could name what is stored at the provider"),
        kept(ITEM_AT, "caller", Free, "an object, as SDKs echo it; never sent"),
        kept(
            ITEM_AT,
            "internal_chat_message_metadata_passthrough",
            Free,
            "never sent: it would tie runs together at the provider",
        ),
    ],
)
.tagged(ITEM_KINDS)
.otherwise(&MESSAGE)
.tallied(Tally::Message);

const PART_AT: &str = "input[].(content, output)[].";
static PART: Object = Object::new(
    "ResponsesPart",
    &[
        row(
            PART_AT,
            "type",
            Passed,
            Tag,
            No,
            "required; input_text, output_text, refusal, input_image or reasoning_text",
        ),
        row(PART_AT, "text", Passed, Text, AsText, ""),
        row(PART_AT, "refusal", Passed, Text, AsText, ""),
        row(
            PART_AT,
            "image_url",
            Passed,
            ImageUrl,
            No,
            "only `data:image/(png,jpeg,webp,gif);base64,…`",
        ),
        row(PART_AT, "detail", Passed, Word(DETAILS), No, "auto, low or high"),
        kept(PART_AT, "annotations", List, "an array, as SDKs echo it; never sent"),
        kept(PART_AT, "logprobs", List, "an array, as SDKs echo it; never sent"),
        row(
            PART_AT,
            "file_id",
            Refused,
            Shape::Refused,
            No,
            "input that the request does not show cannot be counted",
        ),
        row(
            PART_AT,
            "prompt_cache_breakpoint",
            Refused,
            Shape::Refused,
            No,
            "cache writes have another price",
        ),
    ],
)
.requiring(&["type"])
.tagged(PART_KINDS);

const SUMMARY_AT: &str = "input[].summary[].";
static SUMMARY: Object = Object::new(
    "ResponsesSummary",
    &[
        inner(SUMMARY_AT, "type", Tag, "required; summary_text"),
        inner(SUMMARY_AT, "text", Text, ""),
    ],
)
.requiring(&["type"])
.tagged(&[kind("summary_text", &["text"], &["text"])]);

const TOOL_AT: &str = "tools[].";
static TOOL: Object = Object::new(
    "ResponsesTool",
    &[
        inner(
            TOOL_AT,
            "type",
            Tag,
            "required; function, custom or a namespace of them: no tools of the provider",
        ),
        inner(TOOL_AT, "name", Text, ""),
        inner(TOOL_AT, "description", Text, ""),
        inner(TOOL_AT, "parameters", Free, "any schema, up to 64 levels"),
        inner(TOOL_AT, "strict", Flag, ""),
        inner(TOOL_AT, "output_schema", Free, "any schema, up to 64 levels"),
        inner(TOOL_AT, "format", Free, "any format, up to 64 levels"),
        inner(TOOL_AT, "defer_loading", Flag, ""),
        inner(TOOL_AT, "tools", Array(&SPACED_TOOL, MAX_TOOLS), "up to 512"),
    ],
)
.requiring(&["type"])
.tagged(TOOL_KINDS)
.tallied(Tally::Tool);

const SPACED_AT: &str = "tools[].tools[].";
static SPACED_TOOL: Object = Object::new(
    "ResponsesNamespaceTool",
    &[
        inner(SPACED_AT, "type", Tag, "required; function or custom"),
        inner(SPACED_AT, "name", Text, ""),
        inner(SPACED_AT, "description", Text, ""),
        inner(SPACED_AT, "parameters", Free, "any schema, up to 64 levels"),
        inner(SPACED_AT, "strict", Flag, ""),
        inner(SPACED_AT, "output_schema", Free, "any schema, up to 64 levels"),
        inner(SPACED_AT, "format", Free, "any format, up to 64 levels"),
        inner(SPACED_AT, "defer_loading", Flag, ""),
    ],
)
.requiring(&["type"])
.tagged(SPACED_KINDS)
.tallied(Tally::Tool);

const CHOICE_AT: &str = "tool_choice.";
static TOOL_CHOICE: Object = Object::new(
    "ResponsesToolChoice",
    &[
        inner(CHOICE_AT, "type", Tag, "required; function, custom or allowed_tools"),
        inner(CHOICE_AT, "name", Text, ""),
        inner(CHOICE_AT, "mode", Word(MODES), "auto or required"),
        inner(CHOICE_AT, "tools", Array(&ALLOWED_TOOL, MAX_TOOLS), ""),
    ],
)
.requiring(&["type"])
.tagged(CHOICE_KINDS);

const ALLOWED_AT: &str = "tool_choice.tools[].";
static ALLOWED_TOOL: Object = Object::new(
    "ResponsesAllowedTool",
    &[
        inner(ALLOWED_AT, "type", Tag, "required; function or custom"),
        inner(ALLOWED_AT, "name", Text, ""),
    ],
)
.requiring(&["type"])
.tagged(ALLOWED_KINDS);

const TEXT_AT: &str = "text.";
static TEXT: Object = Object::new(
    "ResponsesText",
    &[inner(TEXT_AT, "format", Free, "counted as input"), inner(TEXT_AT, "verbosity", Text, "")],
);

const REASONING_AT: &str = "reasoning.";
static REASONING: Object = Object::new(
    "ResponsesReasoning",
    &[
        inner(REASONING_AT, "effort", Text, "reasoning counts as output and is bounded with it"),
        inner(REASONING_AT, "summary", Text, ""),
        inner(REASONING_AT, "generate_summary", Text, "as `summary`"),
        inner(REASONING_AT, "context", Text, "all reasoning in `input` is counted"),
        row(REASONING_AT, "mode", Refused, Shape::Refused, No, "other modes have other prices"),
    ],
);
