//! The conversation: what the system says at the front, then turns of user and assistant.
//!
//! Anthropic's turns hold blocks. The results of all calls of one turn of the assistant stand in
//! one message of the user, before its other blocks (Anthropic's guide to tool use, "handling
//! results from client tools").

use std::borrow::Cow;

use crate::domain::fault::Fault;
use crate::protocol::translate::chat_rules::{CALL, CALLED, IMAGE, LEGACY_CALL, MESSAGE, PART};
use crate::protocol::translate::read::{Members, Object, Reader, is_blank};
use crate::protocol::translate::write::Writer;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    User,
    Assistant,
}

/// The conversation, as the members of the body that it becomes.
pub(super) struct Turns {
    system: Writer,
    messages: Writer,
    /// Whether the model goes on in the middle of a turn, after the results of its calls.
    pub(super) ends_in_results: bool,
    speaker: Option<Speaker>,
    /// Blocks of the turn at hand: results, which go first, and others.
    results: Writer,
    blocks: Writer,
    /// How many calls of legacy functions there were; their ids are made of it.
    legacy_calls: usize,
}

/// Reads the messages, which need about so many bytes of room.
pub(super) fn read(
    reader: &mut Reader,
    messages: Vec<Option<Object<'_>>>,
    room: usize,
) -> Result<Turns, Fault> {
    let mut turns = Turns {
        system: Writer::default(),
        messages: Writer::with_capacity(room),
        ends_in_results: false,
        speaker: None,
        results: Writer::default(),
        blocks: Writer::default(),
        legacy_calls: 0,
    };
    for (index, message) in messages.into_iter().enumerate() {
        reader.at(index, |reader| turns.message(reader, message))?;
    }
    turns.flush();
    if turns.messages.is_empty() {
        return Err(reader.refuse("it needs a message that is not empty and not of the system"));
    }
    Ok(turns)
}

impl Turns {
    pub(super) fn write(&self, out: &mut Writer) {
        if !self.system.is_empty() {
            out.key("system").raw("[").items(&self.system).raw("]");
        }
        out.key("messages").raw("[").items(&self.messages).raw("]");
    }

    fn message(&mut self, reader: &mut Reader, message: Option<Object<'_>>) -> Result<(), Fault> {
        let message = reader.kept(message, &[MESSAGE])?;
        let role = reader.required_text(&message, "role")?;
        if message.get("name").is_some() && !matches!(role.as_ref(), "tool" | "function") {
            return Err(reader.refuse_at("name", "its messages have no names"));
        }
        match role.as_ref() {
            "system" | "developer" => {
                content(reader, &message, &mut self.system, false)?;
                return Ok(());
            }
            "user" => {
                self.turn_to(Speaker::User);
                content(reader, &message, &mut self.blocks, true)?;
                self.ends_in_results = false;
            }
            "assistant" => {
                self.turn_to(Speaker::Assistant);
                self.assistant(reader, &message)?;
                self.ends_in_results = false;
            }
            "tool" => {
                let id = reader.required_text(&message, "tool_call_id")?;
                self.result(reader, &message, &sound_id(&id))?;
            }
            "function" => {
                if self.legacy_calls == 0 {
                    return Err(reader.refuse("no `function_call` stands before it"));
                }
                let id = legacy_id(self.legacy_calls);
                self.result(reader, &message, &id)?;
            }
            _ => return Err(reader.refuse_at("role", "it is not known there")),
        }
        Ok(())
    }

    fn assistant(&mut self, reader: &mut Reader, message: &Members<'_>) -> Result<(), Fault> {
        content(reader, message, &mut self.blocks, false)?;
        if let Some(refusal) = message.get("refusal") {
            text_block(refusal, &mut self.blocks);
        }
        if let Some(calls) = message.get("tool_calls") {
            reader.within("tool_calls", |reader| {
                for (index, call) in reader.list(calls)?.into_iter().enumerate() {
                    reader.at(index, |reader| tool_call(reader, call.get(), &mut self.blocks))?;
                }
                Ok(())
            })?;
        }
        let Some(call) = message.get("function_call") else { return Ok(()) };
        self.legacy_calls += 1;
        let id = legacy_id(self.legacy_calls);
        reader.within("function_call", |reader| {
            let call = reader.members(call, &[LEGACY_CALL])?;
            tool_use(reader, &id, &call, &mut self.blocks)
        })
    }

    fn result(
        &mut self,
        reader: &mut Reader,
        message: &Members<'_>,
        id: &str,
    ) -> Result<(), Fault> {
        self.turn_to(Speaker::User);
        self.ends_in_results = true;
        let mut blocks = Writer::default();
        content(reader, message, &mut blocks, true)?;
        let out = self.results.item().raw(r#"{"type":"tool_result""#);
        out.key("tool_use_id").text(id);
        if !blocks.is_empty() {
            out.key("content").raw("[").items(&blocks).raw("]");
        }
        out.raw("}");
        Ok(())
    }

    /// Neighbours of one speaker are one turn.
    fn turn_to(&mut self, speaker: Speaker) {
        if self.speaker != Some(speaker) {
            self.flush();
            self.speaker = Some(speaker);
        }
    }

    fn flush(&mut self) {
        let role = match self.speaker {
            Some(Speaker::User) => "\"user\"",
            Some(Speaker::Assistant) => "\"assistant\"",
            None => return,
        };
        if !self.results.is_empty() || !self.blocks.is_empty() {
            let out = self.messages.item().raw("{").member("role", role);
            out.key("content").raw("[").items(&self.results).items(&self.blocks).raw("]}");
        }
        self.results.clear();
        self.blocks.clear();
    }
}

/// A message's content as blocks.
fn content(
    reader: &mut Reader,
    message: &Members<'_>,
    out: &mut Writer,
    images: bool,
) -> Result<(), Fault> {
    let Some(raw) = message.get("content") else { return Ok(()) };
    if raw.starts_with('"') {
        text_block(raw, out);
        return Ok(());
    }
    reader.within("content", |reader| {
        for (index, part) in reader.list(raw)?.into_iter().enumerate() {
            reader.at(index, |reader| block(reader, part.get(), out, images))?;
        }
        Ok(())
    })
}

fn block(reader: &mut Reader, raw: &str, out: &mut Writer, images: bool) -> Result<(), Fault> {
    let part = reader.members(raw, &[PART])?;
    match reader.required_text(&part, "type")?.as_ref() {
        "text" => text_block(reader.required_string(&part, "text")?, out),
        "refusal" => text_block(reader.required_string(&part, "refusal")?, out),
        "image_url" if images => {
            let image = reader.required(&part, "image_url")?;
            reader.within("image_url", |reader| image_block(reader, image, out))?;
        }
        "image_url" => return Err(reader.refuse("only users and tools show images there")),
        _ => return Err(reader.refuse_at("type", "it is not known there")),
    }
    Ok(())
}

/// Anthropic refuses blank texts.
fn text_block(raw: &str, out: &mut Writer) {
    if !is_blank(raw) {
        out.item().raw(r#"{"type":"text","text":"#).raw(raw).raw("}");
    }
}

fn image_block(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let image = reader.members(raw, &[IMAGE])?;
    let url = reader.required_text(&image, "url")?;
    let parts = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let Some((media_type, data)) = parts else {
        return Err(reader.refuse_at("url", "send the image as `data:image/…;base64,…`"));
    };
    let out = out.item().raw(r#"{"type":"image","source":{"type":"base64""#);
    out.key("media_type").text(media_type).key("data").text(data).raw("}}");
    Ok(())
}

fn tool_call(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let call = reader.members(raw, &[CALL])?;
    let id = reader.required_text(&call, "id")?;
    let function = reader.required(&call, "function")?;
    reader.within("function", |reader| {
        let function = reader.members(function, &[CALLED])?;
        tool_use(reader, &sound_id(&id), &function, out)
    })
}

fn tool_use(
    reader: &mut Reader,
    id: &str,
    function: &Members<'_>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let name = reader.required_string(function, "name")?;
    let arguments = match function.get("arguments") {
        Some(raw) => reader.within("arguments", |reader| arguments(reader, raw))?,
        None => Cow::Borrowed("{}"),
    };
    let out = out.item().raw(r#"{"type":"tool_use""#);
    out.key("id").text(id).member("name", name).member("input", &arguments).raw("}");
    Ok(())
}

/// The object that the text of a call's arguments is.
fn arguments<'a>(reader: &mut Reader, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    let text = reader.text(raw)?;
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    if text.is_empty() {
        return Ok(Cow::Borrowed("{}"));
    }
    if !reader.is_object(&text) {
        return Err(reader.refuse("the arguments of a call must be a JSON object"));
    }
    Ok(text)
}

/// An id as Anthropic takes it: `^[a-zA-Z0-9_-]+$`.
fn sound_id(id: &str) -> Cow<'_, str> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.is_empty() {
        return Cow::Borrowed("_");
    }
    if id.chars().all(sound) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(id.chars().map(|c| if sound(c) { c } else { '_' }).collect())
}

fn legacy_id(number: usize) -> String {
    format!("function_call_{number}")
}
