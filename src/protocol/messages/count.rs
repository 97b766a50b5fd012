//! Counting the tokens of messages: what is asked, and what is answered.
//!
//! Source: Anthropic's API reference, "Count tokens in a Message"
//! (`platform.claude.com/docs/en/api/messages/count_tokens`). It takes the fields of a message that
//! become input, and refuses the others.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::table::{
    MAX_BLOCKS, MAX_MESSAGES, MAX_STOPS, MAX_TOOLS, MESSAGE, OUTPUT, SYSTEM, THINKING, TOOL,
    TOOL_CHOICE, TOP_CACHE, no, top,
};
use crate::domain::usage::{MAX_TOKENS, Tokens};
use crate::protocol::request::fields::Action::{Forced, Passed};
use crate::protocol::request::fields::Counts::{Structure, Text as AsText};
use crate::protocol::request::fields::Object;
use crate::protocol::request::fields::Shape::{
    Array, Integer, Limit, Metadata, Model, Nested, Number, RunName, Stream, TextOrArray, Texts,
    Word,
};

const NO_INPUT: &str = "checked and taken out: it changes no input";

/// A request to count.
pub static TABLE: Object = Object::new(
    "CountTokensRequest",
    &[
        top("model", Forced, Model, "required; replaced by the provider's name for the model"),
        top("messages", Passed, Array(&MESSAGE, MAX_MESSAGES), "required; 1 to 8192"),
        top("system", Passed, TextOrArray(&SYSTEM, MAX_BLOCKS), "a string or text blocks")
            .counted(AsText),
        top("tools", Passed, Array(&TOOL, MAX_TOOLS), "up to 512").counted(Structure),
        top("tool_choice", Passed, Nested(&TOOL_CHOICE), "").counted(Structure),
        top("thinking", Passed, Nested(&THINKING), ""),
        top("output_config", Passed, Nested(&OUTPUT), "").counted(Structure),
        top("cache_control", Passed, Nested(&TOP_CACHE), ""),
        top("max_tokens", Forced, Limit, NO_INPUT),
        top("stream", Forced, Stream, NO_INPUT),
        top("temperature", Forced, Number, NO_INPUT),
        top("top_p", Forced, Number, NO_INPUT),
        top("top_k", Forced, Integer, NO_INPUT),
        top("stop_sequences", Forced, Texts(MAX_STOPS), NO_INPUT),
        top("service_tier", Forced, Word(&["auto", "standard_only"]), NO_INPUT),
        top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
        top("run_id", Forced, RunName, "names the run; taken out"),
        top("evaluation_run_id", Forced, RunName, "as `run_id`"),
        no("container", "input that the request does not show cannot be counted"),
        no("context_management", "it changes the input after it was counted"),
        no("mcp_servers", "a tool of the provider reaches outside"),
        no("output_format", "use `output_config.format`"),
        no("speed", "faster answers have other prices"),
        no("betas", "send the header `anthropic-beta`"),
    ],
)
.requiring(&["model", "messages"]);

/// What is answered.
#[derive(Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "TokenCount")]
struct Wire {
    /// The tokens of the input: of its messages, its system prompt and its tools.
    input_tokens: u64,
}

/// The schema of an answer.
pub fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<Wire>()
}

/// The count that a provider answered; `None` if there is none in it.
pub fn read(body: &[u8]) -> Option<Tokens> {
    let Wire { input_tokens } = serde_json::from_slice(body).ok()?;
    (input_tokens <= MAX_TOKENS).then(|| Tokens::new(input_tokens))
}

/// An answer.
pub fn body(count: Tokens) -> Vec<u8> {
    // A number always serialises.
    serde_json::to_vec(&Wire { input_tokens: count.count() }).unwrap_or_default()
}
