//! Tools and the choice among them.

use crate::domain::fault::Fault;
use crate::protocol::translate::chat_rules::{
    CHOICE, CHOSEN, FUNCTION, LEGACY_CHOICE, LEGACY_FUNCTION, TOOL,
};
use crate::protocol::translate::read::{Members, Reader, has_member};
use crate::protocol::translate::write::Writer;

/// What a tool without parameters takes.
const NOTHING: &str = r#"{"type":"object","properties":{}}"#;

/// Writes `tools` and `tool_choice`.
pub(super) fn write(reader: &mut Reader, top: &Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let mut tools = Writer::default();
    if let Some(raw) = top.get("tools") {
        reader.within("tools", |reader| {
            for (index, one) in reader.list(raw)?.into_iter().enumerate() {
                reader.at(index, |reader| tool(reader, one.get(), &mut tools))?;
            }
            Ok(())
        })?;
    }
    if let Some(raw) = top.get("functions") {
        reader.within("functions", |reader| {
            for (index, one) in reader.list(raw)?.into_iter().enumerate() {
                reader.at(index, |reader| {
                    let function = reader.members(one.get(), &[LEGACY_FUNCTION])?;
                    definition(reader, &function, &mut tools)
                })?;
            }
            Ok(())
        })?;
    }
    let choice = choice(reader, top)?;
    if tools.is_empty() {
        // Anthropic takes a choice only beside tools, and `auto` or `none` says nothing then.
        return match choice {
            Choice::Any | Choice::Tool(_) => Err(reader.wrong("names no tools to choose from")),
            Choice::Unsaid | Choice::Auto | Choice::None => Ok(()),
        };
    }
    out.key("tools").raw("[").items(&tools).raw("]");
    // An answer in the old form holds one call.
    let one_call =
        top.get("parallel_tool_calls") == Some("false") || top.get("functions").is_some();
    choice.write(one_call, out);
    Ok(())
}

fn tool(reader: &mut Reader, raw: &str, out: &mut Writer) -> Result<(), Fault> {
    let tool = reader.members(raw, &[TOOL])?;
    let function = reader.required(&tool, "function")?;
    reader.within("function", |reader| {
        let function = reader.members(function, &[FUNCTION])?;
        definition(reader, &function, out)
    })
}

fn definition(reader: &mut Reader, function: &Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let name = reader.required_string(function, "name")?;
    out.item().raw("{").member("name", name).optional("description", function.get("description"));
    out.key("input_schema");
    match function.get("parameters") {
        None => out.raw(NOTHING),
        Some(schema) => match has_member(schema, "type") {
            (true, _) => out.raw(schema),
            (false, true) => out.object_with("type", "\"object\"", schema),
            (false, false) => out.raw(NOTHING),
        },
    };
    if function.is_true("strict") {
        out.member("strict", "true");
    }
    out.raw("}");
    Ok(())
}

enum Choice<'a> {
    Unsaid,
    Auto,
    None,
    Any,
    /// The raw name of one.
    Tool(&'a str),
}

impl Choice<'_> {
    fn write(&self, one_call: bool, out: &mut Writer) {
        let kind = match self {
            Self::Unsaid if !one_call => return,
            Self::Unsaid | Self::Auto => "\"auto\"",
            Self::None => "\"none\"",
            Self::Any => "\"any\"",
            Self::Tool(_) => "\"tool\"",
        };
        out.key("tool_choice").raw("{").member("type", kind);
        if let Self::Tool(name) = self {
            out.member("name", name);
        }
        if one_call && !matches!(self, Self::None) {
            out.member("disable_parallel_tool_use", "true");
        }
        out.raw("}");
    }
}

fn choice<'a>(reader: &mut Reader, top: &Members<'a>) -> Result<Choice<'a>, Fault> {
    let (key, raw) = match (top.get("tool_choice"), top.get("function_call")) {
        (Some(_), Some(_)) => {
            return Err(reader.refuse_at("function_call", "`tool_choice` says it already"));
        }
        (Some(raw), None) => ("tool_choice", raw),
        (None, Some(raw)) => ("function_call", raw),
        (None, None) => return Ok(Choice::Unsaid),
    };
    reader.within(key, |reader| {
        if raw.starts_with('"') {
            return match reader.text(raw)?.as_ref() {
                "auto" => Ok(Choice::Auto),
                "none" => Ok(Choice::None),
                "required" => Ok(Choice::Any),
                _ => Err(reader.refuse("it is not known there")),
            };
        }
        let name = if key == "function_call" {
            let chosen = reader.members(raw, &[LEGACY_CHOICE])?;
            reader.required_string(&chosen, "name")?
        } else {
            let choice = reader.members(raw, &[CHOICE])?;
            let function = reader.required(&choice, "function")?;
            reader.within("function", |reader| {
                let chosen = reader.members(function, &[CHOSEN])?;
                reader.required_string(&chosen, "name")
            })?
        };
        Ok(Choice::Tool(name))
    })
}
