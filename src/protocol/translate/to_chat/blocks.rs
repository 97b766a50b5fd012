//! Blocks of a turn as the content of a message: a string for a single text, else parts.

use std::borrow::Cow;

use crate::domain::fault::Fault;
use crate::protocol::translate::messages_rules::{BLOCK, IMAGE, SOURCE, TEXT};
use crate::protocol::translate::read::{Members, Reader};
use crate::protocol::translate::write::{Writer, inner};

/// What of a turn is said.
#[derive(Default)]
pub(super) struct Blocks<'a> {
    /// The only text so far, as a raw string.
    single: Option<Cow<'a, str>>,
    parts: Writer,
    /// What the next text begins with, as it stands in JSON.
    prefix: &'static str,
}

impl<'a> Blocks<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.single.is_none() && self.parts.is_empty()
    }

    /// The next text begins with this, which needs no escaping.
    pub(super) const fn begin_with(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// Adds a raw string.
    pub(super) fn text(&mut self, raw: &'a str) {
        let text = match std::mem::take(&mut self.prefix) {
            "" => Cow::Borrowed(raw),
            prefix => Cow::Owned(format!("\"{prefix}{}\"", inner(raw))),
        };
        self.add(text);
    }

    fn add(&mut self, text: Cow<'a, str>) {
        if self.is_empty() {
            self.single = Some(text);
        } else {
            self.spread();
            text_part(&text, &mut self.parts);
        }
    }

    /// Says whose image follows; `id` is a raw string.
    pub(super) fn label(&mut self, id: &str) {
        let prefix = std::mem::take(&mut self.prefix);
        let text = format!("\"{prefix}Image in the result of tool call {}:\"", inner(id));
        self.add(Cow::Owned(text));
    }

    pub(super) fn text_block(&mut self, reader: &mut Reader, raw: &'a str) -> Result<(), Fault> {
        let block = reader.members(raw, &[BLOCK, TEXT])?;
        self.text(reader.required_string(&block, "text")?);
        Ok(())
    }

    pub(super) fn image_block(&mut self, reader: &mut Reader, raw: &str) -> Result<(), Fault> {
        let block = reader.members(raw, &[BLOCK, IMAGE])?;
        let source = reader.required(&block, "source")?;
        self.spread();
        reader.within("source", |reader| {
            let source = reader.members(source, &[SOURCE])?;
            if reader.required_text(&source, "type")? != "base64" {
                return Err(reader.refuse_at("type", "send the image's data, as `base64`"));
            }
            let media_type = inner(reader.required_string(&source, "media_type")?);
            let data = inner(reader.required_string(&source, "data")?);
            let out = self.parts.item().raw(r#"{"type":"image_url","image_url":{"url":"data:"#);
            out.raw(media_type).raw(";base64,").raw(data).raw("\"}}");
            Ok(())
        })
    }

    /// Writes the content.
    pub(super) fn write(&self, out: &mut Writer) {
        match &self.single {
            Some(text) => out.raw(text),
            None if self.parts.is_empty() => out.raw("\"").raw(self.prefix).raw("\""),
            None => out.raw("[").items(&self.parts).raw("]"),
        };
    }

    /// From a string to parts.
    fn spread(&mut self) {
        if let Some(text) = self.single.take() {
            text_part(&text, &mut self.parts);
        }
    }
}

fn text_part(raw: &str, out: &mut Writer) {
    out.item().raw(r#"{"type":"text","text":"#).raw(raw).raw("}");
}

/// A call, as one of `tool_calls`.
pub(super) fn tool_use(
    reader: &mut Reader,
    call: &Members<'_>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let id = reader.required_string(call, "id")?;
    let name = reader.required_string(call, "name")?;
    let input = reader.required(call, "input")?;
    let out = out.item().raw("{").member("id", id).raw(r#","type":"function","function":{"#);
    out.member("name", name).key("arguments").text(input).raw("}}");
    Ok(())
}
