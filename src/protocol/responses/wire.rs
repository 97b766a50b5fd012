//! Responses as they are written: the object, its items and the events of its stream.
//!
//! What a response repeats of its request is left at what the API says of a request that is silent
//! on it: the translator of an answer has not seen the request.

use serde::Serialize;

/// A response.
#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    pub(super) id: &'a str,
    object: &'static str,
    /// Seconds since 1970.
    pub(super) created_at: u64,
    pub(super) status: Status,
    pub(super) error: Option<Failure>,
    pub(super) incomplete_details: Option<Incomplete>,
    instructions: (),
    max_output_tokens: (),
    pub(super) model: &'a str,
    pub(super) output: Vec<&'a Item>,
    parallel_tool_calls: bool,
    previous_response_id: (),
    reasoning: Reasoning,
    store: bool,
    temperature: (),
    text: Text,
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: (),
    truncation: &'static str,
    pub(super) usage: Option<Usage>,
    metadata: Nothing,
}

impl<'a> Response<'a> {
    pub(super) fn new(id: &'a str, created_at: u64, model: &'a str) -> Self {
        Self {
            id,
            object: "response",
            created_at,
            status: Status::InProgress,
            error: None,
            incomplete_details: None,
            instructions: (),
            max_output_tokens: (),
            model,
            output: Vec::new(),
            parallel_tool_calls: true,
            previous_response_id: (),
            reasoning: Reasoning { effort: (), summary: () },
            store: false,
            temperature: (),
            text: Text { format: Format { r#type: "text" } },
            tool_choice: "auto",
            tools: [],
            top_p: (),
            truncation: "disabled",
            usage: None,
            metadata: Nothing {},
        }
    }
}

#[derive(Debug, Serialize)]
struct Reasoning {
    effort: (),
    summary: (),
}

#[derive(Debug, Serialize)]
struct Text {
    format: Format,
}

#[derive(Debug, Serialize)]
struct Format {
    r#type: &'static str,
}

#[derive(Debug, Serialize)]
struct Nothing {}

/// How far a response or an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

/// Why a response failed.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

/// Why a response ended early.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Incomplete {
    pub(super) reason: &'static str,
}

/// What was used, in tokens.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) input_tokens_details: InputDetails,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_details: OutputDetails,
    pub(super) total_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: u64,
    pub(super) cache_write_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: u64,
}

/// An item of the output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning { id: String, status: Status, summary: Vec<Part> },
    Message { id: String, status: Status, role: &'static str, content: Vec<Part> },
    FunctionCall { id: String, status: Status, call_id: String, name: String, arguments: String },
    CustomToolCall { id: String, status: Status, call_id: String, name: String, input: String },
}

impl Item {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. } => id,
        }
    }

    pub(super) fn set_status(&mut self, to: Status) {
        match self {
            Self::Reasoning { status, .. }
            | Self::Message { status, .. }
            | Self::FunctionCall { status, .. }
            | Self::CustomToolCall { status, .. } => *status = to,
        }
    }

    /// The part that is written to.
    pub(super) fn last_part(&mut self) -> Option<&mut Part> {
        match self {
            Self::Reasoning { summary: parts, .. } | Self::Message { content: parts, .. } => {
                parts.last_mut()
            }
            Self::FunctionCall { .. } | Self::CustomToolCall { .. } => None,
        }
    }
}

/// A part of a message or of a summary.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: [(); 0] },
    Refusal { refusal: String },
    SummaryText { text: String },
}

impl Part {
    pub(super) const fn text() -> Self {
        Self::OutputText { text: String::new(), annotations: [], logprobs: [] }
    }

    pub(super) const fn refusal() -> Self {
        Self::Refusal { refusal: String::new() }
    }

    pub(super) const fn summary() -> Self {
        Self::SummaryText { text: String::new() }
    }

    pub(super) fn text_mut(&mut self) -> &mut String {
        match self {
            Self::OutputText { text, .. }
            | Self::Refusal { refusal: text }
            | Self::SummaryText { text } => text,
        }
    }
}

/// The members of an event, save its type and number.
#[derive(Debug, Default, Serialize)]
pub(super) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<&'a Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<&'a Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<&'a Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<[(); 0]>,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

/// Numbers the events of a stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    written: u64,
}

impl Events {
    /// Writes the next event.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, kind: &'static str, body: Body<'_>) {
        let event = Event { r#type: kind, sequence_number: self.written, body };
        self.written = self.written.saturating_add(1);
        write(out, kind, &event);
    }
}

/// Writes an event with its name and its data.
pub(super) fn write(out: &mut Vec<u8>, kind: &str, data: &impl Serialize) {
    for piece in ["event: ", kind, "\ndata: "] {
        out.extend_from_slice(piece.as_bytes());
    }
    // Strings and numbers always serialise, and a vector takes all that is written to it.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}
