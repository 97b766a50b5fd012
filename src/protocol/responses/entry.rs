//! One item of a streamed response: the events that tell of it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::from_chat::{Called, text};
use super::wire::{Body, Events, Item, Part, Status};

/// An item; its place is its `output_index`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) item: Item,
    /// The index that chat has for it, if it is a tool call.
    pub(super) call: Option<u64>,
    /// Whether it has been added; a call without a name is not yet.
    added: bool,
    done: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reasoning,
    Text,
    Refusal,
}

impl Entry {
    pub(super) const fn new(item: Item, call: Option<u64>) -> Self {
        Self { item, call, added: false, done: false }
    }

    /// Whether a text of this kind goes on what has been written here.
    pub(super) const fn takes(&self, kind: Kind) -> bool {
        match &self.item {
            Item::Reasoning { .. } => !self.done && matches!(kind, Kind::Reasoning),
            Item::Message { .. } => !self.done && !matches!(kind, Kind::Reasoning),
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => false,
        }
    }

    /// Says that it is there, once.
    pub(super) fn announce(&mut self, index: usize, events: &mut Events, out: &mut Vec<u8>) {
        if self.added {
            return;
        }
        self.added = true;
        let body = Body { output_index: Some(index), item: Some(&self.item), ..Body::default() };
        events.write(out, "response.output_item.added", body);
    }

    pub(super) fn write_text(
        &mut self,
        index: usize,
        kind: Kind,
        piece: &str,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) {
        let fits = match (kind, self.item.last_part()) {
            (Kind::Reasoning, Some(Part::SummaryText { .. }))
            | (Kind::Text, Some(Part::OutputText { .. }))
            | (Kind::Refusal, Some(Part::Refusal { .. })) => true,
            (Kind::Reasoning | Kind::Text | Kind::Refusal, _) => false,
        };
        if !fits {
            self.close_part(index, events, out);
            self.open_part(index, kind, events, out);
        }
        if let Some(part) = self.item.last_part() {
            part.text_mut().push_str(piece);
        }
        let (name, mut body) = match kind {
            Kind::Reasoning => ("response.reasoning_summary_text.delta", self.place(index)),
            Kind::Text => ("response.output_text.delta", self.place(index)),
            Kind::Refusal => ("response.refusal.delta", self.place(index)),
        };
        body.delta = Some(piece);
        body.logprobs = (kind == Kind::Text).then_some([]);
        events.write(out, name, body);
    }

    fn open_part(&mut self, index: usize, kind: Kind, events: &mut Events, out: &mut Vec<u8>) {
        let (name, part) = match kind {
            Kind::Reasoning => ("response.reasoning_summary_part.added", Part::summary()),
            Kind::Text => ("response.content_part.added", Part::text()),
            Kind::Refusal => ("response.content_part.added", Part::refusal()),
        };
        match &mut self.item {
            Item::Reasoning { summary: parts, .. } | Item::Message { content: parts, .. } => {
                parts.push(part);
            }
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => return,
        }
        events.write(out, name, Body { part: self.part(), ..self.place(index) });
    }

    fn close_part(&self, index: usize, events: &mut Events, out: &mut Vec<u8>) {
        let Some(part) = self.part() else { return };
        let place = || self.place(index);
        let (name, body, ended) = match part {
            Part::OutputText { text, .. } => (
                "response.output_text.done",
                Body { text: Some(text), logprobs: Some([]), ..place() },
                "response.content_part.done",
            ),
            Part::Refusal { refusal } => (
                "response.refusal.done",
                Body { refusal: Some(refusal), ..place() },
                "response.content_part.done",
            ),
            Part::SummaryText { text } => (
                "response.reasoning_summary_text.done",
                Body { text: Some(text), ..place() },
                "response.reasoning_summary_part.done",
            ),
        };
        events.write(out, name, body);
        events.write(out, ended, Body { part: Some(part), ..place() });
    }

    pub(super) fn write_call(
        &mut self,
        index: usize,
        called: &Called<'_>,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) {
        let (kind, name, arguments, piece) = match &mut self.item {
            Item::FunctionCall { name, arguments, .. } => {
                ("response.function_call_arguments.delta", name, arguments, called.arguments)
            }
            Item::CustomToolCall { name, input, .. } => {
                ("response.custom_tool_call_input.delta", name, input, called.input)
            }
            Item::Reasoning { .. } | Item::Message { .. } => return,
        };
        if let Some(given) = text(called.name).filter(|_| !self.added) {
            name.push_str(&given);
        }
        let named = !name.is_empty();
        // Arguments that are no text are some providers' way to spare the quotes.
        let piece = piece.map(|raw| text(Some(raw)).unwrap_or_else(|| bare(raw)));
        let piece = piece.unwrap_or_default();
        if !named {
            arguments.push_str(&piece);
            return;
        }
        // What came before the name is told with it.
        let waited = if self.added { String::new() } else { std::mem::take(arguments) };
        self.announce(index, events, out);
        let fresh = if waited.is_empty() { piece } else { Cow::Owned(waited + &piece) };
        if fresh.is_empty() {
            return;
        }
        match &mut self.item {
            Item::FunctionCall { arguments: all, .. } | Item::CustomToolCall { input: all, .. } => {
                all.push_str(&fresh);
            }
            Item::Reasoning { .. } | Item::Message { .. } => {}
        }
        events.write(out, kind, Body { delta: Some(&fresh), ..self.place(index) });
    }

    pub(super) fn close(
        &mut self,
        index: usize,
        status: Status,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) {
        if self.done {
            return;
        }
        self.done = true;
        self.announce(index, events, out);
        self.close_part(index, events, out);
        let place = self.place(index);
        match &self.item {
            Item::FunctionCall { name, arguments, .. } => {
                let body = Body { name: Some(name), arguments: Some(arguments), ..place };
                events.write(out, "response.function_call_arguments.done", body);
            }
            Item::CustomToolCall { input, .. } => {
                let body = Body { input: Some(input), ..place };
                events.write(out, "response.custom_tool_call_input.done", body);
            }
            Item::Reasoning { .. } | Item::Message { .. } => {}
        }
        self.item.set_status(status);
        let body = Body { output_index: Some(index), item: Some(&self.item), ..Body::default() };
        events.write(out, "response.output_item.done", body);
    }

    fn part(&self) -> Option<&Part> {
        match &self.item {
            Item::Reasoning { summary: parts, .. } | Item::Message { content: parts, .. } => {
                parts.last()
            }
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => None,
        }
    }

    /// Where an event about the part at hand belongs.
    fn place(&self, index: usize) -> Body<'_> {
        let last = |parts: &[Part]| Some(parts.len().saturating_sub(1));
        let (content_index, summary_index) = match &self.item {
            Item::Reasoning { summary, .. } => (None, last(summary)),
            Item::Message { content, .. } => (last(content), None),
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => (None, None),
        };
        let item_id = Some(self.item.id());
        Body { item_id, output_index: Some(index), content_index, summary_index, ..Body::default() }
    }
}

/// Arguments that are an object; nothing of what else may stand there.
fn bare(raw: &RawValue) -> Cow<'_, str> {
    if raw.get().starts_with('{') { Cow::Borrowed(raw.get()) } else { Cow::Borrowed("") }
}
