//! A stream of chat completion chunks as a stream of Anthropic's.
//!
//! Sources: OpenAI's API reference (the chat completion chunk object), Anthropic's guide to
//! streaming messages. Texts go from one side to the other as raw slices; nothing is allocated
//! for each.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Translate;
use super::each::{Piece, each, pieces, spoken, string};
use super::reason::{FinishReason, Said};
use super::usage;
use super::write::{number, quote};
use crate::domain::usage::Usage;
use crate::protocol::json;
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::StreamFault;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    finish_reason: Option<FinishReason>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Chunk<'_> {
    /// Whether it is no chunk but a failure; as the meter of chat streams sees it.
    fn is_error(&self) -> bool {
        let object = self.object.and_then(|raw| json::text(raw.get()));
        let complains = self.message.or(self.detail).or(self.msg).is_some();
        self.error.is_some()
            || object.is_some_and(|object| object == "error")
            || (complains && self.choices.is_none() && self.usage.is_none())
    }
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// The provider's number of the call, if it gave one.
    Call(Option<u64>),
}

/// Translates chunks to Anthropic's events.
#[derive(Debug, Default)]
pub struct ChatToMessages {
    begun: bool,
    open: Option<Open>,
    /// The raw id of the call whose block is open.
    call_id: Vec<u8>,
    /// How many blocks are closed: the index of the one that is open or will be.
    closed: u64,
    said: Said,
    reason: Option<FinishReason>,
    usage: Option<Usage>,
    done: bool,
}

impl ChatToMessages {
    /// A translator of one stream.
    pub fn new() -> Self {
        Self::default()
    }

    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>) {
        self.begun = true;
        let id = string(chunk.id);
        let model = string(chunk.model);
        push(
            out,
            &[
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":",
                id,
                r#","type":"message","role":"assistant","model":"#,
                model,
                r#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#,
            ],
        );
        // What is counted comes with the end.
        usage::write_messages(None, out);
        push(out, &["}}\n\n"]);
    }

    /// Opens a block; `fields` are those of its start after the type.
    fn open(&mut self, block: Open, fields: &[&str], out: &mut Vec<u8>) {
        self.close(out);
        self.open = Some(block);
        push(
            out,
            &["event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"],
        );
        number(self.closed, out);
        push(out, &[",\"content_block\":{\"type\":\""]);
        push(out, fields);
        push(out, &["}}\n\n"]);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_none() {
            return;
        }
        push(
            out,
            &["event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"],
        );
        number(self.closed, out);
        push(out, &["}\n\n"]);
        self.closed += 1;
    }

    fn delta(&self, kind: &str, raw: &str, out: &mut Vec<u8>) {
        push(
            out,
            &["event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"],
        );
        number(self.closed, out);
        push(out, &[",\"delta\":{\"type\":\"", kind, raw, "}}\n\n"]);
    }

    fn text(&mut self, raw: &str, out: &mut Vec<u8>) {
        if self.open != Some(Open::Text) {
            self.open(Open::Text, &["text\",\"text\":\"\""], out);
        }
        self.delta("text_delta\",\"text\":", raw, out);
    }

    fn thinking(&mut self, raw: &str, out: &mut Vec<u8>) {
        if self.open != Some(Open::Thinking) {
            let fields = ["thinking\",\"thinking\":\"\",\"signature\":\"\""];
            self.open(Open::Thinking, &fields, out);
        }
        self.delta("thinking_delta\",\"thinking\":", raw, out);
    }

    /// A piece of a call. A new one has a new number, or a new id: some providers number them all
    /// alike, or not at all.
    fn call(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), StreamFault> {
        let id = spoken(call.id);
        let name = call.function.as_ref().and_then(|function| spoken(function.name));
        let known = id.is_none_or(|id| id.as_bytes() == self.call_id);
        let goes_on = match self.open {
            Some(Open::Call(number)) => known && (call.index.is_none() || call.index == number),
            Some(Open::Text | Open::Thinking) | None => false,
        };
        if !goes_on {
            // Anthropic's blocks come one after the other, so a call that is closed cannot go on.
            let Some(name) = name else { return Err(StreamFault::Garbage) };
            self.said.calls = true;
            self.close(out);
            self.call_id.clear();
            match id {
                Some(id) => self.call_id.extend_from_slice(id.as_bytes()),
                None => quote(&format!("tool_call_{}", self.closed), &mut self.call_id),
            }
            let id = String::from_utf8_lossy(&self.call_id).into_owned();
            let fields = ["tool_use\",\"id\":", &id, ",\"name\":", name, ",\"input\":{}"];
            self.open(Open::Call(call.index), &fields, out);
        }
        let Some(arguments) = call.function.as_ref().and_then(|function| function.arguments) else {
            return Ok(());
        };
        match arguments.get() {
            "\"\"" => {}
            text if text.starts_with('"') => {
                self.delta("input_json_delta\",\"partial_json\":", text, out);
            }
            // Some providers give the object itself.
            object => {
                let mut text = Vec::new();
                quote(object, &mut text);
                let text = String::from_utf8_lossy(&text);
                self.delta("input_json_delta\",\"partial_json\":", &text, out);
            }
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Vec<u8>) -> Result<(), StreamFault> {
        if let Some(delta) = choice.delta.as_ref().filter(|_| self.reason.is_none()) {
            if let Some(raw) = spoken(delta.reasoning_content).or(spoken(delta.reasoning)) {
                self.thinking(raw, out);
            }
            if let Some(content) = delta.content {
                pieces(content, |piece| match piece {
                    Piece::Text(raw) => self.text(raw, out),
                    Piece::Thinking(raw) => self.thinking(raw, out),
                });
            }
            if let Some(raw) = spoken(delta.refusal) {
                self.said.refusal = true;
                self.text(raw, out);
            }
            let mut fault = None;
            if let Some(calls) = delta.tool_calls {
                let walked = each(calls.get(), |call: Call<'_>| {
                    fault = fault.take().or(self.call(&call, out).err());
                });
                if walked.is_none() {
                    return Err(StreamFault::Garbage);
                }
            }
            if let Some(function) = &delta.function_call {
                let function = Function { name: function.name, arguments: function.arguments };
                let call = Call { index: None, id: None, function: Some(function) };
                fault = fault.or(self.call(&call, out).err());
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        let reason = choice.finish_reason.filter(|reason| *reason != FinishReason::Nothing);
        if self.reason.is_none() && reason.is_some() {
            self.reason = reason;
            self.close(out);
        }
        Ok(())
    }

    /// Ends the message, once its reason has come.
    fn end(&mut self, out: &mut Vec<u8>) {
        let Some(reason) = self.reason.filter(|_| self.begun && !self.done) else { return };
        self.done = true;
        push(
            out,
            &[
                "event: message_delta\ndata: {\"type\":\"message_delta\",",
                "\"delta\":{\"stop_reason\":\"",
                reason.to_messages(self.said),
                r#"","stop_sequence":null},"usage":"#,
            ],
        );
        usage::write_messages(self.usage, out);
        push(out, &["}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"]);
    }
}

impl Translate for ChatToMessages {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), StreamFault> {
        let data = data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.finish(out);
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| StreamFault::Garbage)?;
        if chunk.is_error() {
            return Err(StreamFault::Provider(read_error(data)));
        }
        if let Some(usage) = chunk.usage.and_then(|raw| usage::of_chat(raw.get())) {
            self.usage = Some(usage);
        }
        let Some(choices) = chunk.choices.filter(|_| !self.done) else { return Ok(()) };
        let mut fault = None;
        let walked = each(choices.get(), |choice: Choice<'_>| {
            if fault.is_some() || choice.index.is_some_and(|index| index > 0) {
                return;
            }
            if !self.begun {
                self.begin(&chunk, out);
            }
            fault = self.choice(&choice, out).err();
        });
        match (fault, walked) {
            (Some(fault), _) => Err(fault),
            (None, None) => Err(StreamFault::Garbage),
            (None, Some(())) => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        self.end(out);
    }
}

fn push(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}
