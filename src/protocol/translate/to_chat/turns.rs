//! The conversation: turns of blocks become messages.
//!
//! Results of tools become messages of their own, which come before the rest of their turn: chat
//! wants them right after the calls.

use super::blocks::{Blocks, tool_use};
use crate::domain::fault::Fault;
use crate::protocol::translate::messages_rules::{
    BLOCK, MESSAGE, SYSTEM, THOUGHT, TOOL_RESULT, TOOL_USE,
};
use crate::protocol::translate::read::{Object, Reader};
use crate::protocol::translate::write::Writer;

/// Writes what the system says as the first message.
pub(super) fn system(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let mut said = Blocks::default();
    if raw.starts_with('"') {
        said.text(raw);
    } else {
        for (index, block) in reader.list(raw)?.into_iter().enumerate() {
            reader.at(index, |reader| {
                let block = reader.members(block.get(), &[SYSTEM])?;
                if reader.required_text(&block, "type")? != "text" {
                    return Err(reader.refuse_at("type", "the system only says texts"));
                }
                said.text(reader.required_string(&block, "text")?);
                Ok(())
            })?;
        }
    }
    if !said.is_empty() {
        message("\"system\"", &said, &Writer::default(), out);
    }
    Ok(())
}

/// Writes the messages.
pub(super) fn write(
    reader: &mut Reader,
    messages: Vec<Option<Object<'_>>>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let last = messages.len().saturating_sub(1);
    for (index, message) in messages.into_iter().enumerate() {
        reader.at(index, |reader| {
            let one = reader.kept(message, &[MESSAGE])?;
            let role = reader.required_text(&one, "role")?;
            let content = reader.required(&one, "content")?;
            match role.as_ref() {
                "user" => reader.within("content", |reader| user(reader, content, out)),
                "system" => reader.within("content", |reader| system(reader, content, out)),
                "assistant" if index == last => {
                    let why = "a chat does not go on in the middle of an answer; end with the user";
                    Err(reader.refuse_at("role", why))
                }
                "assistant" => reader.within("content", |reader| assistant(reader, content, out)),
                _ => Err(reader.refuse_at("role", "it is not known there")),
            }
        })?;
    }
    Ok(())
}

fn user(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let mut said = Blocks::default();
    if raw.starts_with('"') {
        said.text(raw);
    } else {
        let blocks = reader.list(raw)?;
        // Its own format refuses it, too.
        if blocks.is_empty() {
            return Err(reader.wrong("must have at least one block"));
        }
        for (index, block) in blocks.into_iter().enumerate() {
            reader.at(index, |reader| user_block(reader, block.get(), &mut said, out))?;
        }
    }
    if !said.is_empty() {
        message("\"user\"", &said, &Writer::default(), out);
    }
    Ok(())
}

/// The type of a block, read before its other members are.
fn kind(reader: &mut Reader, raw: &str) -> Result<Kind, Fault> {
    #[derive(serde::Deserialize)]
    struct Tagged<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    let Ok(block) = serde_json::from_str::<Tagged<'_>>(raw) else {
        return Err(reader.wrong("must be an object with a `type`"));
    };
    Ok(match block.kind.as_ref() {
        "text" => Kind::Text,
        "image" => Kind::Image,
        "tool_use" => Kind::ToolUse,
        "tool_result" => Kind::ToolResult,
        "thinking" | "redacted_thinking" => Kind::Thought,
        _ => return Err(reader.refuse_at("type", "chat has no such block here")),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Image,
    ToolUse,
    ToolResult,
    Thought,
}

fn user_block<'a>(
    reader: &mut Reader,
    raw: &'a str,
    said: &mut Blocks<'a>,
    out: &mut Writer,
) -> Result<(), Fault> {
    match kind(reader, raw)? {
        Kind::Text => said.text_block(reader, raw),
        Kind::Image => said.image_block(reader, raw),
        Kind::ToolResult => tool_result(reader, raw, said, out),
        Kind::Thought => reader.members(raw, &[BLOCK, THOUGHT]).map(|_| ()),
        Kind::ToolUse => Err(reader.refuse_at("type", "only the assistant calls tools")),
    }
}

/// Writes a result as a message; its images are said by the user, who comes after all results.
fn tool_result<'a>(
    reader: &mut Reader,
    raw: &'a str,
    said: &mut Blocks<'a>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let result = reader.members(raw, &[BLOCK, TOOL_RESULT])?;
    let id = reader.required_string(&result, "tool_use_id")?;
    let mut answer = Blocks::default();
    if result.is_true("is_error") {
        answer.begin_with("Error: ");
    }
    let content = result.get("content").unwrap_or("\"\"");
    reader.within("content", |reader| {
        if content.starts_with('"') {
            answer.text(content);
            return Ok(());
        }
        let mut shown = false;
        for (index, block) in reader.list(content)?.into_iter().enumerate() {
            reader.at(index, |reader| match kind(reader, block.get())? {
                Kind::Text => answer.text_block(reader, block.get()),
                Kind::Image => {
                    if !shown {
                        said.label(id);
                    }
                    shown = true;
                    said.image_block(reader, block.get())
                }
                Kind::ToolUse | Kind::ToolResult | Kind::Thought => {
                    Err(reader.refuse_at("type", "chat has no such block here"))
                }
            })?;
        }
        Ok(())
    })?;
    out.item().raw(r#"{"role":"tool""#).member("tool_call_id", id).key("content");
    answer.write(out);
    out.raw("}");
    Ok(())
}

fn assistant(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let (mut said, mut calls) = (Blocks::default(), Writer::default());
    if raw.starts_with('"') {
        said.text(raw);
    } else {
        for (index, block) in reader.list(raw)?.into_iter().enumerate() {
            let raw = block.get();
            reader.at(index, |reader| match kind(reader, raw)? {
                Kind::Text => said.text_block(reader, raw),
                Kind::Thought => reader.members(raw, &[BLOCK, THOUGHT]).map(|_| ()),
                Kind::ToolUse => {
                    let call = reader.members(raw, &[BLOCK, TOOL_USE])?;
                    tool_use(reader, &call, &mut calls)
                }
                Kind::Image | Kind::ToolResult => {
                    Err(reader.refuse_at("type", "the assistant has no such block"))
                }
            })?;
        }
    }
    if !said.is_empty() || !calls.is_empty() {
        message("\"assistant\"", &said, &calls, out);
    }
    Ok(())
}

fn message(role: &str, said: &Blocks<'_>, calls: &Writer, out: &mut Writer) {
    out.item().raw("{").member("role", role).key("content");
    if said.is_empty() {
        out.raw("null");
    } else {
        said.write(out);
    }
    if !calls.is_empty() {
        out.key("tool_calls").raw("[").items(calls).raw("]");
    }
    out.raw("}");
}
