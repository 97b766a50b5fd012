//! Tools, the choice among them, and how the model shall think and answer.

use crate::domain::fault::Fault;
use crate::protocol::translate::effort;
use crate::protocol::translate::messages_rules::{CHOICE, FORMAT, OUTPUT, THINKING, TOOL};
use crate::protocol::translate::read::{Members, Reader};
use crate::protocol::translate::write::Writer;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn tools(reader: &mut Reader, top: &Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let mut tools = Writer::default();
    if let Some(raw) = top.get("tools") {
        reader.within("tools", |reader| {
            for (index, one) in reader.list(raw)?.into_iter().enumerate() {
                reader.at(index, |reader| tool(reader, one.get(), &mut tools))?;
            }
            Ok(())
        })?;
    }
    let choice = match top.get("tool_choice") {
        Some(raw) => {
            reader.within("tool_choice", |reader| Ok(Some(reader.members(raw, &[CHOICE])?)))?
        }
        None => None,
    };
    if tools.is_empty() {
        return Ok(());
    }
    out.key("tools").raw("[").items(&tools).raw("]");
    let Some(choice) = choice else { return Ok(()) };
    reader.within("tool_choice", |reader| {
        out.key("tool_choice");
        match reader.required_text(&choice, "type")?.as_ref() {
            "auto" => out.raw("\"auto\""),
            "none" => out.raw("\"none\""),
            "any" => out.raw("\"required\""),
            "tool" => {
                let name = reader.required_string(&choice, "name")?;
                out.raw(r#"{"type":"function","function":{"#).member("name", name).raw("}}")
            }
            _ => return Err(reader.refuse_at("type", "it is not known there")),
        };
        if choice.is_true("disable_parallel_tool_use") {
            out.member("parallel_tool_calls", "false");
        }
        Ok(())
    })
}

fn tool(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let tool = reader.members(raw, &[TOOL])?;
    let name = reader.required_string(&tool, "name")?;
    let schema = reader.required(&tool, "input_schema")?;
    let out = out.item().raw(r#"{"type":"function","function":{"#);
    out.member("name", name).optional("description", tool.get("description"));
    out.member("parameters", schema).optional("strict", tool.get("strict")).raw("}}");
    Ok(())
}

/// Writes `reasoning_effort` and `response_format`.
pub(super) fn output(
    reader: &mut Reader,
    top: &Members<'_>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let mut word = match top.get("thinking") {
        Some(raw) => reader.within("thinking", |reader| thinking(reader, raw))?,
        None => None,
    };
    let mut schema = None;
    if let Some(raw) = top.get("output_config") {
        reader.within("output_config", |reader| {
            let config = reader.members(raw, &[OUTPUT])?;
            if let Some(raw) = config.get("effort") {
                word = Some(reader.within("effort", |reader| effort_word(reader, raw))?);
            }
            if let Some(raw) = config.get("format") {
                schema = Some(reader.within("format", |reader| format(reader, raw))?);
            }
            Ok(())
        })?;
    }
    if let Some(word) = word {
        out.key("reasoning_effort").text(word);
    }
    if let Some(schema) = schema {
        out.key("response_format").raw(r#"{"type":"json_schema","json_schema":{"#);
        // Chat wants a name; it is only a label.
        out.member("name", "\"answer\"").member("strict", "true").member("schema", schema);
        out.raw("}}");
    }
    Ok(())
}

fn thinking(reader: &mut Reader, raw: &str) -> Result<Option<&'static str>, Fault> {
    let thinking = reader.members(raw, &[THINKING])?;
    match reader.required_text(&thinking, "type")?.as_ref() {
        "adaptive" | "disabled" => Ok(None),
        "enabled" => {
            let budget = reader.required(&thinking, "budget_tokens")?;
            reader.within("budget_tokens", |reader| match budget.parse() {
                Ok(tokens) if tokens >= effort::MIN_BUDGET => Ok(Some(effort::of_budget(tokens))),
                _ => Err(reader.wrong("must be an integer of at least 1024")),
            })
        }
        _ => Err(reader.refuse_at("type", "it is not known there")),
    }
}

fn effort_word(reader: &mut Reader, raw: &str) -> Result<&'static str, Fault> {
    let effort = reader.text(raw)?;
    effort::to_word(&effort).ok_or_else(|| reader.refuse("it is not known there"))
}

fn format<'a>(reader: &mut Reader, raw: &'a str) -> Result<&'a str, Fault> {
    let format = reader.members(raw, &[FORMAT])?;
    if reader.required_text(&format, "type")? != "json_schema" {
        return Err(reader.refuse_at("type", "it is not known there"));
    }
    reader.required(&format, "schema")
}
