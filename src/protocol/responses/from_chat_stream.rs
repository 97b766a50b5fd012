//! The stream of chat completions as a stream of responses.
//!
//! The order of events is that of OpenAI's API reference for streamed responses: the response is
//! created; each item is added, written and done; the response is completed. Texts and refusals are
//! parts of a message; reasoning is an item with one part of summary; each tool call is an item.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::entry::{Entry, Kind};
use super::from_chat::{Chunk, Delta, Piece, ToolCall, text};
use super::wire::{
    Body, Events, Failure, Incomplete, InputDetails, Item, OutputDetails, Response, Status, Usage,
};
use crate::domain::settlement::ReportedUsage;
use crate::protocol::answer::{AnswerFault, model_name};
use crate::protocol::chat;
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::StreamFault;
use crate::protocol::translate::Translate;

/// The most items of one response.
const MAX_ITEMS: usize = 1_024;
/// How much of the provider's id is kept, in characters.
const MAX_ID: usize = 64;

/// Writes the stream of one choice of chat completions as that of a response.
#[derive(Debug, Default)]
pub struct ResponsesFromChat {
    events: Events,
    begun: bool,
    over: bool,
    id: String,
    created: u64,
    model: String,
    items: Vec<Entry>,
    ending: Option<Ending>,
    usage: Option<Usage>,
}

/// How the answer ended.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Complete,
    Incomplete(&'static str),
    Cut,
}

impl Translate for ResponsesFromChat {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), StreamFault> {
        let data = data.trim_ascii();
        if data.is_empty() || self.over {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.end(self.ending.unwrap_or(Ending::Complete), out);
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| StreamFault::Garbage)?;
        let object = text(chunk.object);
        if chunk.error.is_some() || object.is_some_and(|object| object == "error") {
            return Err(StreamFault::Provider(read_error(data)));
        }
        self.take(&chunk, out).map_err(|fault| match fault {
            AnswerFault::Garbage => StreamFault::Garbage,
            AnswerFault::Provider(error) => StreamFault::Provider(error),
        })
    }

    /// Ends the stream. One that was cut ends as failed, with what has come of its items.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.over {
            self.end(self.ending.unwrap_or(Ending::Cut), out);
        }
    }
}

impl ResponsesFromChat {
    /// Takes a chunk, or a whole answer.
    pub(super) fn take(&mut self, chunk: &Chunk<'_>, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        self.name(chunk);
        if let Some(raw) = chunk.usage {
            let usage = chat::usage::read(raw.get());
            if let Some(ReportedUsage::Counted(usage)) = usage {
                self.usage = Some(written(usage));
            }
        }
        let Some(choice) = chunk.choices.as_ref().and_then(|choices| choices.first()) else {
            return Ok(());
        };
        self.begin(out);
        if let Some(delta) = choice.delta.as_ref().or(choice.message.as_ref()) {
            self.delta(delta, out)?;
        }
        if let Some(reason) = text(choice.finish_reason) {
            self.ending = Some(match &*reason {
                "length" => Ending::Incomplete("max_output_tokens"),
                "content_filter" => Ending::Incomplete("content_filter"),
                _ => Ending::Complete,
            });
        }
        Ok(())
    }

    /// The whole response, once everything has been taken.
    pub(super) fn into_response(mut self, events: &mut Vec<u8>) -> Vec<u8> {
        let ending = self.ending.unwrap_or(Ending::Complete);
        self.close_all(ending, events);
        let response = self.response(Some(ending));
        // Strings and numbers always serialise.
        serde_json::to_vec(&response).unwrap_or_default()
    }

    /// Takes what names the response; some providers leave it out of their first chunk.
    fn name(&mut self, chunk: &Chunk<'_>) {
        if self.begun {
            return;
        }
        if let Some(id) = text(chunk.id) {
            let id = id.strip_prefix("chatcmpl-").unwrap_or(&id);
            let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            self.id = id.chars().filter(plain).take(MAX_ID).collect();
        }
        if let Some(created) = chunk.created.and_then(|raw| raw.get().parse().ok()) {
            self.created = created;
        }
        if let Some(model) = chunk.model.and_then(|raw| model_name(raw.get())) {
            self.model = model;
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.begun {
            return;
        }
        self.begun = true;
        self.id = format!("resp_{}", if self.id.is_empty() { "0" } else { &self.id });
        for kind in ["response.created", "response.in_progress"] {
            self.tell(kind, None, out);
        }
    }

    /// Writes an event about the whole response.
    fn tell(&mut self, kind: &'static str, ending: Option<Ending>, out: &mut Vec<u8>) {
        let mut events = std::mem::take(&mut self.events);
        let response = self.response(ending);
        events.write(out, kind, Body { response: Some(&response), ..Body::default() });
        self.events = events;
    }

    fn response(&self, ending: Option<Ending>) -> Response<'_> {
        let mut response = Response::new(&self.id, self.created, &self.model);
        let Some(ending) = ending else { return response };
        response.output = self.items.iter().map(|entry| &entry.item).collect();
        response.usage = self.usage;
        match ending {
            Ending::Complete => response.status = Status::Completed,
            Ending::Incomplete(reason) => {
                response.status = Status::Incomplete;
                response.incomplete_details = Some(Incomplete { reason });
            }
            Ending::Cut => {
                response.status = Status::Failed;
                let message = "The provider's answer ended early.";
                response.error = Some(Failure { code: "server_error", message });
            }
        }
        response
    }

    fn end(&mut self, ending: Ending, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_all(ending, out);
        let kind = match ending {
            Ending::Complete => "response.completed",
            Ending::Incomplete(_) => "response.incomplete",
            Ending::Cut => "response.failed",
        };
        self.tell(kind, Some(ending), out);
        self.over = true;
    }

    fn close_all(&mut self, ending: Ending, out: &mut Vec<u8>) {
        // Only the last item was being written when the answer ended early.
        let last = self.items.len().saturating_sub(1);
        for (index, entry) in self.items.iter_mut().enumerate() {
            let whole = matches!(ending, Ending::Complete) || index < last;
            let status = if whole { Status::Completed } else { Status::Incomplete };
            entry.close(index, status, &mut self.events, out);
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        if let Some(piece) = text(delta.reasoning_content).or_else(|| text(delta.reasoning)) {
            self.text(Kind::Reasoning, &piece, out)?;
        }
        for (kind, piece) in delta.content.map(pieces).unwrap_or_default() {
            self.text(kind, &piece, out)?;
        }
        if let Some(piece) = text(delta.refusal) {
            self.text(Kind::Refusal, &piece, out)?;
        }
        for call in delta.tool_calls.iter().flatten() {
            self.call(call, out)?;
        }
        Ok(())
    }

    fn text(&mut self, kind: Kind, piece: &str, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        if !self.items.last().is_some_and(|entry| entry.takes(kind)) {
            self.close_texts(out);
            let id = |prefix: &str| self.item_id(prefix);
            let item = if kind == Kind::Reasoning {
                Item::Reasoning { id: id("rs"), status: Status::InProgress, summary: Vec::new() }
            } else {
                Item::Message {
                    id: id("msg"),
                    status: Status::InProgress,
                    role: "assistant",
                    content: Vec::new(),
                }
            };
            self.add(item, None)?;
        }
        let index = self.items.len().saturating_sub(1);
        if let Some(entry) = self.items.last_mut() {
            entry.announce(index, &mut self.events, out);
            entry.write_text(index, kind, piece, &mut self.events, out);
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall<'_>, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        let id = text(call.id);
        let index = call.index.and_then(|raw| raw.get().parse::<u64>().ok());
        // Those that number no calls send each in one piece.
        let known = match (index, &id) {
            (Some(index), _) => self.items.iter().position(|entry| entry.call == Some(index)),
            (None, Some(_)) => None,
            (None, None) => self.items.iter().rposition(|entry| entry.call.is_some()),
        };
        let place = match known {
            Some(place) => place,
            None => {
                self.close_texts(out);
                let place = self.items.len();
                let call_id = id.map_or_else(|| self.item_id("call"), Cow::into_owned);
                let (status, name) = (Status::InProgress, String::new());
                let item = if call.custom.is_some() {
                    let id = self.item_id("ctc");
                    Item::CustomToolCall { id, status, call_id, name, input: String::new() }
                } else {
                    let id = self.item_id("fc");
                    Item::FunctionCall { id, status, call_id, name, arguments: String::new() }
                };
                // A number beyond all that chat has, so that it is never taken for another's.
                self.add(item, Some(index.unwrap_or(u64::MAX)))?;
                place
            }
        };
        let called = call.function.as_ref().or(call.custom.as_ref());
        if let (Some(entry), Some(called)) = (self.items.get_mut(place), called) {
            entry.write_call(place, called, &mut self.events, out);
        }
        Ok(())
    }

    fn item_id(&self, prefix: &str) -> String {
        let id = self.id.strip_prefix("resp_").unwrap_or(&self.id);
        format!("{prefix}_{id}_{}", self.items.len())
    }

    fn add(&mut self, item: Item, call: Option<u64>) -> Result<(), AnswerFault> {
        if self.items.len() >= MAX_ITEMS {
            return Err(AnswerFault::Garbage);
        }
        self.items.push(Entry::new(item, call));
        Ok(())
    }

    /// Ends what is not a tool call; those may still be written to.
    fn close_texts(&mut self, out: &mut Vec<u8>) {
        for (index, entry) in self.items.iter_mut().enumerate() {
            if entry.call.is_none() {
                entry.close(index, Status::Completed, &mut self.events, out);
            }
        }
    }
}

/// The texts of a content, which is one, or an array of parts.
fn pieces(raw: &RawValue) -> Vec<(Kind, Cow<'_, str>)> {
    if let Some(piece) = text(Some(raw)) {
        return vec![(Kind::Text, piece)];
    }
    let parts: Vec<Piece<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    let mut found = Vec::new();
    for part in parts {
        found.extend(
            part.thinking
                .map(pieces)
                .into_iter()
                .flatten()
                .map(|(_, text)| (Kind::Reasoning, text)),
        );
        found.extend(text(part.text).map(|text| (Kind::Text, text)));
    }
    found
}

/// Usage as a response says it: the classes within others are counted in them.
fn written(usage: crate::domain::usage::Usage) -> Usage {
    let [uncached, cached, write] =
        [usage.uncached_input, usage.cached_input, usage.cache_write].map(|class| class.count());
    let input = uncached.saturating_add(cached).saturating_add(write);
    let output = usage.output.count();
    Usage {
        input_tokens: input,
        input_tokens_details: InputDetails { cached_tokens: cached, cache_write_tokens: write },
        output_tokens: output,
        output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning.count() },
        total_tokens: input.saturating_add(output),
    }
}
