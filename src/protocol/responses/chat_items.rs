//! The items of a response's input as the messages of a chat.
//!
//! In chat a turn of the assistant is one message with all of its tool calls, and their outputs
//! follow it; among items each call stands for itself. So calls gather in the message before them
//! until something else than the assistant speaks.

use super::members::{Members, Writer, objects, refused};
use super::to_chat::unread;
use crate::domain::fault::Fault;

/// Labels that say nothing to a model.
const LABELS: [&str; 6] =
    ["id", "type", "status", "phase", "caller", "internal_chat_message_metadata_passthrough"];
/// Between two texts that become one message.
const BREAK: &str = r#""\n\n""#;

/// Writes the messages: `instructions`, then `input`.
pub(super) fn messages<'a>(top: &mut Members<'a>, out: &mut Writer) -> Result<(), Fault> {
    let (instructions, input) = (top.take("instructions"), top.take("input"));
    out.open(b'[');
    if let Some(raw) = instructions {
        plain("system", raw, out);
    }
    match input {
        Some(raw) if raw.starts_with('"') => plain("user", raw, out),
        Some(raw) => {
            let mut turn = Turn::default();
            for item in objects("input", raw)? {
                turn.take(item, out)?;
            }
            turn.end(out);
        }
        None => return Err(unread("input")),
    }
    if out.is_at_start() {
        return Err(refused("input"));
    }
    out.close(b']');
    Ok(())
}

fn plain(role: &str, raw: &str, out: &mut Writer) {
    out.open(b'{');
    out.text("role", role);
    out.member("content", Some(raw));
    out.close(b'}');
}

/// What the assistant has said since somebody else spoke.
#[derive(Default)]
struct Turn<'a> {
    texts: Vec<&'a str>,
    refusals: Vec<&'a str>,
    calls: Vec<Call<'a>>,
}

struct Call<'a> {
    kind: &'static str,
    id: Option<&'a str>,
    name: Option<&'a str>,
    /// What it is called with, and what that is named.
    with: (&'static str, Option<&'a str>),
}

impl<'a> Turn<'a> {
    fn take(&mut self, mut item: Members<'a>, out: &mut Writer) -> Result<(), Fault> {
        let kind = item.word("type");
        match kind.as_str() {
            "" | "message" => self.message(item, out),
            // Chat has no place for it.
            "reasoning" => Ok(()),
            "function_call" => self.call("function", "arguments", item),
            "custom_tool_call" => self.call("custom", "input", item),
            "function_call_output" | "custom_tool_call_output" => {
                self.end(out);
                out.open(b'{');
                out.text("role", "tool");
                out.member("tool_call_id", item.take("call_id"));
                let (path, raw) = (item.path_to("output"), item.take("output"));
                content(&path, raw, &["input_text", "output_text"], out)?;
                out.close(b'}');
                // The call has it.
                item.leave(&["name"]);
                item.leave(&LABELS);
                item.end()
            }
            _ => Err(refused(&item.path)),
        }
    }

    fn message(&mut self, mut item: Members<'a>, out: &mut Writer) -> Result<(), Fault> {
        let role = item.word("role");
        let (path, raw) = (item.path_to("content"), item.take("content"));
        item.leave(&["role"]);
        item.leave(&LABELS);
        item.end()?;
        if role == "assistant" {
            return self.speech(&path, raw.unwrap_or(r#""""#), out);
        }
        self.end(out);
        // Few providers of chat alone know a developer.
        let (role, kinds): (_, &[&str]) = match role.as_str() {
            "user" => ("user", &["input_text", "output_text", "input_image"]),
            _ => ("system", &["input_text", "output_text"]),
        };
        out.open(b'{');
        out.text("role", role);
        content(&path, raw, kinds, out)?;
        out.close(b'}');
        Ok(())
    }

    /// Takes what the assistant said. What it says between its calls and their outputs belongs to
    /// the message of those calls.
    fn speech(&mut self, path: &str, raw: &'a str, out: &mut Writer) -> Result<(), Fault> {
        if self.calls.is_empty() {
            self.end(out);
        } else if !self.texts.is_empty() {
            self.texts.push(BREAK);
        }
        if raw.starts_with('"') {
            self.texts.push(raw);
            return Ok(());
        }
        for mut part in objects(path, raw)? {
            let kind = part.word("type");
            match kind.as_str() {
                "output_text" | "input_text" => self.texts.extend(part.take("text")),
                "refusal" => self.refusals.extend(part.take("refusal")),
                _ => return Err(refused(&part.path)),
            }
            part.leave(&["type", "annotations", "logprobs"]);
            part.end()?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        kind: &'static str,
        with: &'static str,
        mut item: Members<'a>,
    ) -> Result<(), Fault> {
        self.calls.push(Call {
            kind,
            id: item.take("call_id"),
            name: item.take("name"),
            with: (with, item.take(with)),
        });
        item.leave(&LABELS);
        item.end()
    }

    /// Writes what the assistant said, if anything.
    fn end(&mut self, out: &mut Writer) {
        let turn = std::mem::take(self);
        if turn.texts.is_empty() && turn.refusals.is_empty() && turn.calls.is_empty() {
            return;
        }
        out.open(b'{');
        out.text("role", "assistant");
        if turn.texts.is_empty() {
            out.member("content", Some("null"));
        } else {
            out.joined("content", &turn.texts);
        }
        if !turn.refusals.is_empty() {
            out.joined("refusal", &turn.refusals);
        }
        if !turn.calls.is_empty() {
            out.key("tool_calls");
            out.open(b'[');
            for call in turn.calls {
                out.open(b'{');
                out.member("id", call.id);
                out.text("type", call.kind);
                out.key(call.kind);
                out.open(b'{');
                out.member("name", call.name);
                out.member(call.with.0, call.with.1);
                out.close(b'}');
                out.close(b'}');
            }
            out.close(b']');
        }
        out.close(b'}');
    }
}

/// Writes a content: a text stays one, and one part of text becomes one.
fn content(path: &str, raw: Option<&str>, kinds: &[&str], out: &mut Writer) -> Result<(), Fault> {
    let raw = raw.unwrap_or(r#""""#);
    if raw.starts_with('"') {
        out.member("content", Some(raw));
        return Ok(());
    }
    let mut parts = objects(path, raw)?;
    if let Some(part) = parts.iter().find(|part| !kinds.contains(&part.word("type").as_str())) {
        return Err(refused(&part.path));
    }
    if let [only] = parts.as_mut_slice()
        && !only.is("input_image")
    {
        out.member("content", only.take("text"));
        return Ok(());
    }
    if parts.is_empty() {
        out.text("content", "");
        return Ok(());
    }
    out.key("content");
    out.open(b'[');
    for mut part in parts {
        out.open(b'{');
        if part.is("input_image") {
            out.text("type", "image_url");
            out.key("image_url");
            out.open(b'{');
            out.member("url", part.take("image_url"));
            out.member("detail", part.take("detail"));
            out.close(b'}');
        } else {
            out.text("type", "text");
            out.member("text", part.take("text"));
        }
        out.close(b'}');
        part.leave(&["type", "annotations", "logprobs"]);
        part.end()?;
    }
    out.close(b']');
    Ok(())
}
