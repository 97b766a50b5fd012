//! A stream of Anthropic's as a stream of chat completion chunks.
//!
//! Sources: Anthropic's guide to streaming messages, OpenAI's API reference (the chat completion
//! chunk object). Texts go from one side to the other as raw slices; nothing is allocated for each.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::each::{spoken, string};
use super::reason::StopReason;
use super::usage::MessagesUsage;
use super::write::{number, quote};
use super::{ChatClient, Translate};
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::StreamFault;

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    MessageStart,
    ContentBlockStart,
    ContentBlockDelta,
    ContentBlockStop,
    MessageDelta,
    MessageStop,
    Ping,
    Error,
    /// Anthropic's versioning policy: new event types may be added.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(borrow)]
    message: Option<Start<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
    stop_reason: Option<StopReason>,
}

/// Translates Anthropic's events to chunks for a client of chat completions.
#[derive(Debug)]
pub struct MessagesToChat {
    client: ChatClient,
    /// What every chunk begins with, up to its choices; empty until the message has begun.
    head: Vec<u8>,
    usage: MessagesUsage,
    /// How many calls have begun.
    calls: u64,
    /// The call whose block is open, and whether any of its arguments have come.
    open_call: Option<bool>,
    finished: bool,
    done: bool,
}

impl MessagesToChat {
    /// A translator of one stream.
    pub fn new(client: ChatClient) -> Self {
        Self {
            client,
            head: Vec::new(),
            usage: MessagesUsage::default(),
            calls: 0,
            open_call: None,
            finished: false,
            done: false,
        }
    }

    fn start(&mut self, start: Option<Start<'_>>, out: &mut Vec<u8>) {
        let raw = |value: Option<&RawValue>| string(value).to_owned();
        let (id, model) = match &start {
            Some(start) => (raw(start.id), raw(start.model)),
            None => (raw(None), raw(None)),
        };
        self.head.clear();
        self.head.extend_from_slice(b"data: {\"id\":");
        self.head.extend_from_slice(id.as_bytes());
        self.head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        number(self.client.created, &mut self.head);
        self.head.extend_from_slice(b",\"model\":");
        self.head.extend_from_slice(model.as_bytes());
        self.head.extend_from_slice(b",\"choices\":[");
        self.count(start.and_then(|start| start.usage));
        self.chunk(out, &[r#""role":"assistant","content":"""#]);
    }

    /// Writes a chunk whose delta has these members.
    fn chunk(&self, out: &mut Vec<u8>, members: &[&str]) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
        for piece in members {
            out.extend_from_slice(piece.as_bytes());
        }
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    }

    fn said(&self, member: &str, raw: Option<&RawValue>, out: &mut Vec<u8>) {
        if let Some(raw) = spoken(raw) {
            self.chunk(out, &["\"", member, "\":", raw]);
        }
    }

    fn block(&mut self, block: &Block<'_>, out: &mut Vec<u8>) {
        self.said("content", block.text, out);
        self.said("reasoning_content", block.thinking, out);
        let (Some(name), Some(input)) = (block.name, block.input) else { return };
        let (id, name) = (string(block.id), string(Some(name)));
        if self.client.legacy_functions {
            self.chunk(out, &[r#""function_call":{"name":"#, name, r#","arguments":""}"#]);
        } else {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":");
            number(self.calls, out);
            for piece in [",\"id\":", id, ",\"type\":\"function\",\"function\":{\"name\":"] {
                out.extend_from_slice(piece.as_bytes());
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(
                b",\"arguments\":\"\"}}]},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
            );
        }
        self.calls += 1;
        self.open_call = Some(false);
        // Some providers give the whole input at once.
        if !matches!(input.get(), "{}" | "null") {
            let mut text = Vec::new();
            quote(input.get(), &mut text);
            self.arguments(&String::from_utf8_lossy(&text), out);
        }
    }

    /// Writes a piece of the last call's arguments, a raw string.
    fn arguments(&mut self, raw: &str, out: &mut Vec<u8>) {
        if self.open_call.is_none() {
            return;
        }
        self.open_call = Some(true);
        if self.client.legacy_functions {
            self.chunk(out, &[r#""function_call":{"arguments":"#, raw, "}"]);
            return;
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":");
        number(self.calls.saturating_sub(1), out);
        out.extend_from_slice(b",\"function\":{\"arguments\":");
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(b"}}]},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    }

    /// Ends the block at hand: a call without arguments has empty ones, since clients parse them.
    fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.open_call == Some(false) {
            self.arguments("\"{}\"", out);
        }
        self.open_call = None;
    }

    fn count(&mut self, usage: Option<&RawValue>) {
        if let Some(usage) = usage.and_then(|raw| serde_json::from_str(raw.get()).ok()) {
            self.usage.update(usage);
        }
    }

    fn finish_reason(&mut self, reason: StopReason, out: &mut Vec<u8>) {
        self.end_block(out);
        self.finished = true;
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"");
        out.extend_from_slice(reason.to_chat(self.client.legacy_functions).as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.done = true;
        let mut usage = Vec::new();
        if self.client.include_usage && self.usage.write_chat(&mut usage) {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            out.extend_from_slice(&usage);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Translate for MessagesToChat {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), StreamFault> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|_| StreamFault::Garbage)?;
        if self.done {
            return Ok(());
        }
        if self.head.is_empty() && !matches!(event.kind, Kind::MessageStart | Kind::Error) {
            // Nothing but a ping or something new can come before the message.
            return match event.kind {
                Kind::Ping | Kind::Unknown => Ok(()),
                _ => Err(StreamFault::Garbage),
            };
        }
        match event.kind {
            Kind::Error => return Err(StreamFault::Provider(read_error(data))),
            Kind::MessageStart if self.head.is_empty() => self.start(event.message, out),
            Kind::ContentBlockStart => {
                self.end_block(out);
                if let Some(block) = &event.content_block {
                    self.block(block, out);
                }
            }
            Kind::ContentBlockDelta => {
                let Some(delta) = event.delta else { return Err(StreamFault::Garbage) };
                self.said("content", delta.text, out);
                self.said("reasoning_content", delta.thinking, out);
                if let Some(json) = spoken(delta.partial_json) {
                    self.arguments(json, out);
                }
            }
            Kind::ContentBlockStop => self.end_block(out),
            Kind::MessageDelta => {
                self.count(event.usage);
                let reason = event.delta.and_then(|delta| delta.stop_reason);
                if let Some(reason) = reason.filter(|_| !self.finished) {
                    self.finish_reason(reason, out);
                }
            }
            Kind::MessageStop => {
                if !self.finished {
                    self.finish_reason(StopReason::Unknown, out);
                }
                self.end(out);
            }
            // A comment: whoever waits sees that the stream lives.
            Kind::Ping => out.extend_from_slice(b":\n\n"),
            Kind::MessageStart | Kind::Unknown => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.finished && !self.done {
            self.end(out);
        }
    }
}
