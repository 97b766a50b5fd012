//! The body of a chat completion request, read in one pass over borrowed bytes.
//!
//! Only what an answer depends on is read; anything else in the body is skipped. The messages stay
//! raw until someone has to look into them: it does not know what they say.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::plan::Refusal;

const MAX_CHOICES: u64 = 128;

/// A string that borrows from the body unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The fields of the body that the simulator understands.
#[derive(Deserialize)]
pub(super) struct ChatRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    pub(super) seed: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    stop: Option<Stop>,
    #[serde(borrow)]
    pub(super) tools: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'a>>,
    logprobs: Option<bool>,
    #[serde(borrow)]
    pub(super) service_tier: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    json_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NamedSchema<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// One message of the conversation.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<&'a RawValue>,
}

/// What a message says: a string, or a list of parts.
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

/// One part of a message.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

impl<'a> ChatRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is not JSON, lacks a model or messages, or a field has a value out of its range.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body).map_err(|error| {
            let message = match error.classify() {
                serde_json::error::Category::Data => format!("Invalid value: {error}."),
                _ => format!("We could not parse the JSON body of your request: {error}."),
            };
            Refusal::invalid(None, message)
        })?;
        request.model()?;
        request.messages()?;
        request.choices()?;
        if request.max_output_tokens() == Some(0) {
            let message = "Invalid value: the maximum of output tokens must be at least 1.";
            return Err(Refusal::invalid(Some("max_completion_tokens"), message));
        }
        Ok(request)
    }

    /// The model's name, as the client wrote it.
    pub(super) fn model(&self) -> Result<&str, Refusal> {
        match self.model.as_ref().map(|model| &*model.0) {
            Some(model) if !model.is_empty() => Ok(model),
            _ => Err(Refusal::invalid(Some("model"), "You must provide a model parameter.")),
        }
    }

    /// The raw list of messages.
    pub(super) fn messages(&self) -> Result<&'a RawValue, Refusal> {
        self.messages.ok_or_else(|| {
            Refusal::invalid(Some("messages"), "Missing required parameter: 'messages'.")
        })
    }

    /// How many answers are asked for, at least one.
    pub(super) fn choices(&self) -> Result<u64, Refusal> {
        let choices = self.n.unwrap_or(1);
        if !(1..=MAX_CHOICES).contains(&choices) {
            let message = format!("Invalid 'n': must be from 1 to {MAX_CHOICES}.");
            return Err(Refusal::invalid(Some("n"), message));
        }
        Ok(choices)
    }

    /// The most output tokens of one choice, when the client set a maximum.
    pub(super) fn max_output_tokens(&self) -> Option<u64> {
        [self.max_completion_tokens, self.max_tokens].into_iter().flatten().min()
    }

    /// The texts that end an answer; never an empty one.
    pub(super) fn stops(&self) -> impl Iterator<Item = &str> {
        let stops = match &self.stop {
            None => &[],
            Some(Stop::One(stop)) => std::slice::from_ref(stop),
            Some(Stop::Many(stops)) => stops.as_slice(),
        };
        stops.iter().map(String::as_str).filter(|stop| !stop.is_empty())
    }

    /// Whether the answer must be JSON.
    pub(super) fn wants_json(&self) -> bool {
        let format = self.response_format.as_ref().and_then(|format| format.kind.as_ref());
        matches!(format.map(|kind| &*kind.0), Some("json_object" | "json_schema"))
    }

    /// The schema that the answer must satisfy, unless it is of a shape that is not understood.
    pub(super) fn schema(&self) -> Option<&'a RawValue> {
        let format = self.response_format.as_ref()?;
        format.kind.as_ref().filter(|kind| kind.0 == "json_schema")?;
        let named: NamedSchema<'a> = serde_json::from_str(format.json_schema?.get()).ok()?;
        named.schema
    }

    /// Whether the answer is streamed.
    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream ends with usage.
    pub(super) fn includes_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options.and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Whether each token comes with its log probability.
    pub(super) fn wants_logprobs(&self) -> bool {
        self.logprobs.unwrap_or(false)
    }
}

impl Content<'_> {
    /// The texts of this content, in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match self {
            Self::Text(text) => (Some(&**text), &[] as &[Part<'_>]),
            Self::Parts(parts) => (None, parts.as_slice()),
        };
        let parts = parts.iter().filter_map(|part| part.text.as_ref());
        text.into_iter().chain(parts.map(|text| &*text.0))
    }

    /// How many of its parts are images.
    pub(super) fn images(&self) -> usize {
        let Self::Parts(parts) = self else { return 0 };
        let image = |part: &&Part<'_>| matches!(&*part.kind.0, "image_url" | "input_image");
        parts.iter().filter(image).count()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a list of parts")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = sequence.next_element()? {
            parts.push(part);
        }
        Ok(Content::Parts(parts))
    }
}
