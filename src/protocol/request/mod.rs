//! A request: read once, written anew for the provider.
//!
//! What is accepted in a format is a table of its fields ([`fields`]); the parser only walks it.
//! Does not know which models exist, what they cost or where they are served.

pub mod fields;
pub mod schema;
mod image;
mod parse;
mod visit;
mod leaf;
mod noted;
mod inputs;
mod count;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

pub use count::TextCounter;
use count::{Span, bytes_of};

use super::format::Format;
use super::messages;
use crate::domain::bound::InputShape;
use crate::domain::fault::Fault;
use crate::domain::id::RunId;
use crate::domain::normal::Normalizing;
use crate::domain::price::Caching;
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;
use crate::providers::Dialect;
use fields::Object;

/// What is appended to the client's part at most, save for a long model name.
const TAIL_BYTES: usize = 384;
/// Before a run's id when it is hashed, so that the hash is of use nowhere else.
const TAG_DOMAIN: &[u8] = b"rungate run ";
/// How much of the hash is sent, in bytes; twice as many characters.
const TAG_BYTES: usize = 16;

/// A request that may be forwarded: every field of it is known and its cost can be bounded.
#[derive(Clone, Debug)]
pub struct Request {
    /// The format that it is written in.
    pub format: Format,
    /// The model, as the client names it.
    pub model: String,
    /// Values of `run_id`, `evaluation_run_id` and `metadata.run_id`, as given.
    pub run_names: Vec<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client wants to see the terminal usage chunk.
    pub include_usage: bool,
    /// Whether the usage in the answer tells its cost.
    pub tells_cost: bool,
    /// How many answers are asked for, from 1 to 16.
    pub choices: u32,
    /// The smallest output limit that was asked for, per choice.
    pub asked_output: Option<Tokens>,
    /// What the input is made of.
    pub shape: InputShape,
    /// The bytes of all raw JSON that becomes input, without the data of images, which `shape`
    /// counts. They bound its tokens where nothing is normalised: see [`Self::text_bound`].
    pub text_bytes: Tokens,
    /// What of it may be written to a cache.
    pub caching: Caching,
    /// The tokens of output that it may think, if it says so. With less it is not served.
    pub thinking: Option<Tokens>,
    /// The service tier that it asks for, where the provider is asked for one.
    pub tier: ServiceTier,
    seed: Option<i64>,
    /// What the run is called upstream.
    tag: Option<String>,
    /// The upstream body's beginning: an open object with all that is passed as it came.
    prefix: Bytes,
    spans: Arc<[Span]>,
}

/// A body for a provider.
#[derive(Clone, Debug)]
pub struct UpstreamBody {
    /// The whole body.
    pub bytes: Bytes,
    /// Counts the body's input, for an estimate.
    pub counter: TextCounter,
}

impl Request {
    /// Reads a body in one pass over it.
    ///
    /// # Errors
    /// `invalid_request` for what is malformed, `parameter_not_allowed` for what may not pass; both
    /// name the field.
    pub fn parse(format: Format, body: Bytes) -> Result<Self, Fault> {
        Self::read(format, format.table(), &body)
    }

    /// Reads a request to count the tokens of messages.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_count(body: &Bytes) -> Result<Self, Fault> {
        Self::read(Format::Messages, &messages::count::TABLE, body)
    }

    fn read(format: Format, table: &'static Object, body: &Bytes) -> Result<Self, Fault> {
        let parsed = parse::parse(table, body)?;
        let head = parsed.head;
        Ok(Self {
            format,
            model: head.model,
            run_names: head.run_names,
            stream: head.stream,
            include_usage: head.include_usage || head.tells_cost,
            tells_cost: head.tells_cost,
            choices: head.choices.unwrap_or(1),
            asked_output: head.asked_output.map(Tokens::new),
            shape: parsed.shape,
            text_bytes: bytes_of(&parsed.spans),
            caching: match (format, head.caching) {
                (_, Some(asked)) => asked,
                (Format::Messages, None) => Caching::None,
                (Format::Chat | Format::Responses | Format::Embeddings, None) => Caching::default(),
            },
            thinking: head.thinking.map(Tokens::new),
            tier: ServiceTier::Default,
            seed: head.seed,
            tag: None,
            prefix: parsed.prefix.into(),
            spans: parsed.spans.into(),
        })
    }

    /// Says whose request it is. Providers that can keep customers apart are then told a name of
    /// the run, which no client chooses and which tells them nothing else: a prefix of the SHA-256
    /// of the run's id, which is random. So a run reads no cache entries that another run's key
    /// names, and a provider that blocks somebody blocks one run.
    pub fn set_run(&mut self, run: RunId) {
        let mut hash = Sha256::new_with_prefix(TAG_DOMAIN);
        hash.update(run.uuid().as_bytes());
        let hash = hash.finalize();
        self.tag = hash.get(..TAG_BYTES).map(hex::encode);
    }

    /// The input's text in tokens where nothing is normalised; see [`TextCounter::count`].
    pub fn count_text(&self, count: impl Fn(&str) -> u64) -> Tokens {
        self.counter().count(count)
    }

    /// A strict bound on the input's text, in tokens, for a model that normalises it so.
    pub fn text_bound(&self, normalizing: Normalizing) -> Tokens {
        match normalizing {
            Normalizing::Not => self.text_bytes,
            _ => self.text_bytes.plus(self.counter().all_growth(normalizing)),
        }
    }

    /// A handle for counting elsewhere. While it lives, [`Self::into_upstream`] has to copy.
    pub fn counter(&self) -> TextCounter {
        TextCounter { body: self.prefix.clone(), spans: Arc::clone(&self.spans) }
    }

    /// The body that asks a provider to count this request's input: what of it becomes input.
    /// `None` if it is not one of messages, for which alone there is such a question.
    pub fn counting_body(&self, upstream_model: &str) -> Option<Bytes> {
        if self.format != Format::Messages {
            return None;
        }
        let mut whole = BytesMut::with_capacity(self.prefix.len() + TAIL_BYTES);
        whole.extend_from_slice(&self.prefix);
        append(&mut whole, "model", &serde_json::Value::from(upstream_model).to_string());
        whole.extend_from_slice(b"}");
        // Read again, by a table that takes out what becomes no input.
        let mut body = BytesMut::from(Self::parse_count(&whole.freeze()).ok()?.prefix);
        append(&mut body, "model", &serde_json::Value::from(upstream_model).to_string());
        body.extend_from_slice(b"}");
        Some(body.freeze())
    }

    /// The body to send: what was read, with the fields that the gateway decides appended.
    ///
    /// `output_bound` is for each choice. Nothing is copied unless a counter or a clone of this
    /// request is alive.
    pub fn into_upstream(
        mut self,
        upstream_model: &str,
        dialect: &Dialect,
        output_bound: Tokens,
    ) -> UpstreamBody {
        let mut body = std::mem::take(&mut self.prefix).try_into_mut().unwrap_or_else(|shared| {
            let mut copy = BytesMut::with_capacity(shared.len() + TAIL_BYTES);
            copy.extend_from_slice(&shared);
            copy
        });
        append(&mut body, "model", &serde_json::Value::from(upstream_model).to_string());
        match self.format {
            Format::Chat => self.end_chat(&mut body, dialect, output_bound),
            Format::Embeddings => {}
            Format::Messages => self.end_messages(&mut body, output_bound),
            Format::Responses => self.end_responses(&mut body, dialect, output_bound),
        }
        body.extend_from_slice(b"}");
        let bytes = body.freeze();
        UpstreamBody { counter: TextCounter { body: bytes.clone(), spans: self.spans }, bytes }
    }

    fn end_responses(&self, body: &mut BytesMut, dialect: &Dialect, output_bound: Tokens) {
        append(body, "max_output_tokens", &output_bound.count().to_string());
        if self.stream {
            append(body, "stream", "true");
        }
        // Without it a response is kept.
        append(body, "store", "false");
        self.end_tier(body, dialect);
        self.end_tag(body, dialect);
    }

    /// The tier that is asked for. Without it a provider may take another one by itself.
    fn end_tier(&self, body: &mut BytesMut, dialect: &Dialect) {
        if dialect.service_tier {
            let word = match self.tier {
                ServiceTier::Default => r#""default""#,
                ServiceTier::Flex => r#""flex""#,
                ServiceTier::Priority => r#""priority""#,
            };
            append(body, "service_tier", word);
        }
    }

    /// What tells this run's calls from other runs' at the provider.
    fn end_tag(&self, body: &mut BytesMut, dialect: &Dialect) {
        if let (true, Some(tag)) = (dialect.run_tag, &self.tag) {
            let tag = format!("\"{tag}\"");
            append(body, "prompt_cache_key", &tag);
            append(body, "safety_identifier", &tag);
        }
    }

    fn end_messages(&self, body: &mut BytesMut, output_bound: Tokens) {
        append(body, "max_tokens", &output_bound.count().to_string());
        if self.stream {
            append(body, "stream", "true");
        }
        append(body, "service_tier", r#""standard_only""#);
    }

    fn end_chat(&self, body: &mut BytesMut, dialect: &Dialect, output_bound: Tokens) {
        append(body, dialect.limit_field.name(), &output_bound.count().to_string());
        if self.stream {
            append(body, "stream", "true");
            if dialect.stream_options {
                append(body, "stream_options", r#"{"include_usage":true}"#);
            }
        }
        if self.choices > 1 {
            append(body, "n", &self.choices.to_string());
        }
        if let (Some(name), Some(seed)) = (dialect.seed_field, self.seed) {
            append(body, name, &seed.to_string());
        }
        if dialect.store {
            append(body, "store", "false");
        }
        self.end_tier(body, dialect);
        self.end_tag(body, dialect);
    }
}

/// Appends a member; `name` is ours and needs no escaping. There is always one before it.
fn append(body: &mut BytesMut, name: &str, value: &str) {
    for piece in [",\"", name, "\":", value] {
        body.extend_from_slice(piece.as_bytes());
    }
}
