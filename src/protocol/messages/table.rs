//! The rows of the table of fields, one array for each object of the wire format.
//!
//! Source: Anthropic's API reference, "Create a Message" (`platform.claude.com/docs/en/api`).

use crate::protocol::request::fields::Action::{self, Bounded, Forced, Passed, Refused};
use crate::protocol::request::fields::Counts::{Structure, Text as AsText};
use crate::protocol::request::fields::Shape::{
    Array, Budget, CacheMark, Empty, Flag, Free, ImageData, Integer, Lifetime, Limit, List,
    Metadata, Model, Nested, Number, RunName, Stream, Tag, Text, TextOrArray, Texts, Word,
};
use crate::protocol::request::fields::{Counts, Field, Object, Shape, Tally, Variant};

/// The most messages of one request.
pub(super) const MAX_MESSAGES: usize = 8_192;
/// The most blocks of one message.
pub(super) const MAX_BLOCKS: usize = 8_192;
/// The most tools of one request.
pub(super) const MAX_TOOLS: usize = 512;
/// The most stop sequences.
pub(super) const MAX_STOPS: usize = 16;

const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/webp", "image/gif"];

pub(super) const fn top(
    name: &'static str,
    action: Action,
    shape: Shape,
    note: &'static str,
) -> Field {
    Field::top(name, action, shape, note)
}

pub(super) const fn no(name: &'static str, note: &'static str) -> Field {
    Field::top(name, Refused, Shape::Refused, note)
}

const fn inner(at: &'static str, name: &'static str, shape: Shape, note: &'static str) -> Field {
    Field { at, ..Field::top(name, Passed, shape, note) }
}

const fn text(at: &'static str, name: &'static str, counts: Counts, note: &'static str) -> Field {
    inner(at, name, Text, note).counted(counts)
}

/// A member of an answer that clients send back with it, though it is no part of a request.
const fn echoed(at: &'static str, name: &'static str, shape: Shape, note: &'static str) -> Field {
    Field { at, ..Field::top(name, Forced, shape, note) }
}

/// A variant without members of its own that must be there.
const fn with(word: &'static str, members: &'static [&'static str]) -> Variant {
    Variant { word, members, required: &[] }
}

/// A variant all of whose members must be there.
const fn of(
    word: &'static str,
    members: &'static [&'static str],
    required: &'static [&'static str],
) -> Variant {
    Variant { word, members, required }
}

/// A request.
pub static TOP: Object = Object::new(
    "MessagesRequest",
    &[
        top("model", Forced, Model, "required; replaced by the provider's name for the model"),
        top("messages", Passed, Array(&MESSAGE, MAX_MESSAGES), "required; 1 to 8192"),
        top("max_tokens", Bounded, Limit, "required; 1 to 2147483647"),
        top("system", Passed, TextOrArray(&SYSTEM, MAX_BLOCKS), "a string or text blocks")
            .counted(AsText),
        top("stream", Passed, Stream, ""),
        top("temperature", Passed, Number, ""),
        top("top_p", Passed, Number, ""),
        top("top_k", Passed, Integer, ""),
        top("stop_sequences", Passed, Texts(MAX_STOPS), "up to 16"),
        top("tools", Passed, Array(&TOOL, MAX_TOOLS), "up to 512; counted as input")
            .counted(Structure),
        top("tool_choice", Passed, Nested(&TOOL_CHOICE), "").counted(Structure),
        top("thinking", Passed, Nested(&THINKING), "thinking is output and bounded with it"),
        top("output_config", Passed, Nested(&OUTPUT), "").counted(Structure),
        top("cache_control", Passed, Nested(&TOP_CACHE), "writes are reserved at their price"),
        top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
        top(
            "service_tier",
            Forced,
            Word(&["auto", "standard_only"]),
            "always `standard_only`: other tiers have other prices",
        ),
        top("run_id", Forced, RunName, "names the run; taken out"),
        top("evaluation_run_id", Forced, RunName, "as `run_id`"),
        no("container", "input that the request does not show cannot be counted"),
        no("context_management", "it changes the input after it was counted"),
        no("mcp_servers", "a tool of the provider reaches outside"),
        no("output_format", "use `output_config.format`"),
        no("inference_geo", "other places have other prices"),
        no("speed", "faster answers have other prices"),
        no("betas", "send the header `anthropic-beta`"),
        no("n", "there is one answer to a call"),
        no("models", "the gateway chooses who serves a model"),
        no("api_key", "the provider's credential is the gateway's"),
        no("api_base", "the provider's address is the gateway's"),
        no("base_url", "the provider's address is the gateway's"),
        no("extra_body", "send its members as fields of the request"),
        no("extra_headers", "headers to the provider are the gateway's"),
    ],
)
.requiring(&["model", "messages", "max_tokens"]);

pub(super) static TOP_CACHE: Object = Object::new(
    "MessagesCacheControl",
    &[
        inner("cache_control.", "type", CacheMark, "required; ephemeral"),
        inner("cache_control.", "ttl", Lifetime, "5m or 1h, which costs more"),
    ],
)
.requiring(&["type"]);

const CACHE_AT: &str = "(…).cache_control.";
static CACHE: Object = Object::new(
    "MessagesBlockCacheControl",
    &[
        inner(CACHE_AT, "type", CacheMark, "required; ephemeral"),
        inner(CACHE_AT, "ttl", Lifetime, "5m or 1h, which costs more"),
    ],
)
.requiring(&["type"]);

const SYSTEM_AT: &str = "system[].";
pub(super) static SYSTEM: Object = Object::new(
    "MessagesSystemBlock",
    &[
        inner(SYSTEM_AT, "type", Word(&["text"]), "required; text"),
        text(SYSTEM_AT, "text", AsText, "required"),
        inner(SYSTEM_AT, "cache_control", Nested(&CACHE), ""),
        echoed(SYSTEM_AT, "citations", Empty, "only null or empty"),
    ],
)
.requiring(&["type", "text"]);

pub(super) static MESSAGE: Object = Object::new(
    "MessagesMessage",
    &[
        inner("messages[].", "role", Word(&["user", "assistant"]), "required; user or assistant"),
        inner("messages[].", "content", TextOrArray(&BLOCK, MAX_BLOCKS), "a string or blocks")
            .counted(AsText),
    ],
)
.requiring(&["role", "content"])
.tallied(Tally::Message);

const BLOCK_AT: &str = "messages[].content[].";
static BLOCK: Object = Object::new(
    "MessagesBlock",
    &[
        inner(
            BLOCK_AT,
            "type",
            Tag,
            "required; text, image, tool_use, tool_result, thinking or redacted_thinking",
        ),
        text(BLOCK_AT, "text", AsText, ""),
        inner(BLOCK_AT, "source", Nested(&SOURCE), ""),
        text(BLOCK_AT, "id", Structure, ""),
        text(BLOCK_AT, "name", Structure, ""),
        inner(BLOCK_AT, "input", Free, "any object, up to 64 levels").counted(Structure),
        text(BLOCK_AT, "tool_use_id", Structure, ""),
        inner(BLOCK_AT, "content", TextOrArray(&RESULT, MAX_BLOCKS), "a string or blocks")
            .counted(AsText),
        inner(BLOCK_AT, "is_error", Flag, ""),
        text(BLOCK_AT, "thinking", AsText, ""),
        text(BLOCK_AT, "signature", Structure, "counted: it holds what was thought"),
        text(BLOCK_AT, "data", Structure, "counted: it holds what was thought"),
        inner(BLOCK_AT, "cache_control", Nested(&CACHE), ""),
        echoed(BLOCK_AT, "citations", List, "as SDKs echo it; never sent"),
        echoed(BLOCK_AT, "caller", Free, "as SDKs echo it; never sent"),
    ],
)
.requiring(&["type"])
.tagged(&[
    of("text", &["text", "citations"], &["text"]),
    of("image", &["source"], &["source"]),
    of("tool_use", &["id", "name", "input", "caller"], &["id", "name", "input"]),
    of("tool_result", &["tool_use_id", "content", "is_error"], &["tool_use_id"]),
    of("thinking", &["thinking", "signature"], &["thinking", "signature"]),
    of("redacted_thinking", &["data"], &["data"]),
]);

const SOURCE_AT: &str = "(…).source.";
static SOURCE: Object = Object::new(
    "MessagesImageSource",
    &[
        inner(SOURCE_AT, "type", Tag, "required; base64: nothing is fetched"),
        inner(SOURCE_AT, "media_type", Word(IMAGES), "image/png, jpeg, webp or gif"),
        inner(SOURCE_AT, "data", ImageData, "base64"),
    ],
)
.requiring(&["type"])
.tagged(&[of("base64", &["media_type", "data"], &["media_type", "data"])]);

const RESULT_AT: &str = "messages[].content[].content[].";
static RESULT: Object = Object::new(
    "MessagesResultBlock",
    &[
        inner(RESULT_AT, "type", Tag, "required; text or image"),
        text(RESULT_AT, "text", AsText, ""),
        inner(RESULT_AT, "source", Nested(&SOURCE), ""),
        inner(RESULT_AT, "cache_control", Nested(&CACHE), ""),
        echoed(RESULT_AT, "citations", List, "as SDKs echo it; never sent"),
    ],
)
.requiring(&["type"])
.tagged(&[of("text", &["text", "citations"], &["text"]), of("image", &["source"], &["source"])]);

const TOOL_AT: &str = "tools[].";
pub(super) static TOOL: Object = Object::new(
    "MessagesTool",
    &[
        inner(TOOL_AT, "type", Tag, "custom: no tools of the provider"),
        inner(TOOL_AT, "name", Text, "required"),
        inner(TOOL_AT, "description", Text, ""),
        inner(TOOL_AT, "input_schema", Free, "required; any schema, up to 64 levels"),
        inner(TOOL_AT, "strict", Flag, ""),
        inner(TOOL_AT, "eager_input_streaming", Flag, ""),
        inner(TOOL_AT, "cache_control", Nested(&CACHE), ""),
    ],
)
.requiring(&["name", "input_schema"])
.tagged(&[with("custom", &[])])
.tallied(Tally::Tool);

const CHOICE_AT: &str = "tool_choice.";
pub(super) static TOOL_CHOICE: Object = Object::new(
    "MessagesToolChoice",
    &[
        inner(CHOICE_AT, "type", Tag, "required; auto, any, tool or none"),
        inner(CHOICE_AT, "name", Text, ""),
        inner(CHOICE_AT, "disable_parallel_tool_use", Flag, ""),
    ],
)
.requiring(&["type"])
.tagged(&[
    with("auto", &["disable_parallel_tool_use"]),
    with("any", &["disable_parallel_tool_use"]),
    of("tool", &["name", "disable_parallel_tool_use"], &["name"]),
    with("none", &[]),
]);

const THINKING_AT: &str = "thinking.";
pub(super) static THINKING: Object = Object::new(
    "MessagesThinking",
    &[
        inner(THINKING_AT, "type", Tag, "required; enabled, adaptive or disabled"),
        inner(THINKING_AT, "budget_tokens", Budget, "output is never lowered to it"),
        inner(THINKING_AT, "display", Word(&["summarized", "omitted"]), "summarized or omitted"),
    ],
)
.requiring(&["type"])
.tagged(&[
    of("enabled", &["budget_tokens", "display"], &["budget_tokens"]),
    with("adaptive", &["display"]),
    with("disabled", &[]),
]);

pub(super) static OUTPUT: Object = Object::new(
    "MessagesOutputConfig",
    &[
        inner("output_config.", "effort", Text, ""),
        inner("output_config.", "format", Free, "any schema, up to 64 levels"),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_becomes_input_is_uncounted_by_mistake() {
        let uncounted = |field: &&Field| {
            field.action == Passed
                && field.counts == Counts::No
                && matches!(field.shape, Text | Free)
        };
        // These are within something that is counted as a whole.
        let whole = ["tools[].", "tool_choice.", "output_config."];
        let found: Vec<_> = TOP.rows().filter(uncounted).map(Field::path).collect();
        assert!(found.iter().all(|path| whole.iter().any(|at| path.starts_with(at))), "{found:?}");
    }
}
