//! How the model shall think and answer: `thinking` and `output_config`.

use super::turns::Turns;
use crate::domain::fault::Fault;
use crate::protocol::translate::chat_rules::{FORMAT, SCHEMA};
use crate::protocol::translate::effort::{MIN_BUDGET, Thinking, of_word};
use crate::protocol::translate::read::{Members, Reader, has_member};
use crate::protocol::translate::write::Writer;

/// What thinking depends on.
pub(super) struct Limits<'t> {
    pub(super) thinking: Thinking,
    /// The output limit, in tokens.
    pub(super) limit: Option<u64>,
    pub(super) turns: &'t Turns,
}

/// Writes `thinking` and `output_config`.
pub(super) fn write(
    reader: &mut Reader,
    top: &Members<'_>,
    limits: Limits<'_>,
    out: &mut Writer,
) -> Result<(), Fault> {
    let mut config = Writer::default();
    if let Some(raw) = top.get("reasoning_effort") {
        reader
            .within("reasoning_effort", |reader| effort(reader, raw, &limits, &mut config, out))?;
    }
    if let Some(raw) = top.get("response_format") {
        reader.within("response_format", |reader| format(reader, raw, &mut config))?;
    }
    if !config.is_empty() {
        out.key("output_config").raw("{").items(&config).raw("}");
    }
    Ok(())
}

fn effort(
    reader: &mut Reader,
    raw: &str,
    limits: &Limits<'_>,
    config: &mut Writer,
    out: &mut Writer,
) -> Result<(), Fault> {
    let word = reader.text(raw)?;
    if word == "none" {
        out.member("thinking", r#"{"type":"disabled"}"#);
        return Ok(());
    }
    let Some((effort, budget)) = of_word(&word) else {
        return Err(reader.refuse("it is not known there"));
    };
    match limits.thinking {
        Thinking::Adaptive => {
            out.member("thinking", r#"{"type":"adaptive"}"#);
            config.key("effort").text(effort);
        }
        // A turn that began with thinking must go on with the same, signed; chat does not keep it.
        Thinking::Budget if limits.turns.ends_in_results => {}
        Thinking::Budget => {
            let budget = budget.min(limits.limit.map_or(budget, |limit| limit / 2));
            if budget < MIN_BUDGET {
                return Err(reader.refuse("thinking takes an output limit of at least 2048"));
            }
            out.key("thinking").raw(r#"{"type":"enabled","budget_tokens":"#);
            out.raw(&budget.to_string()).raw("}");
        }
    }
    Ok(())
}

fn format(reader: &mut Reader, raw: &str, config: &mut Writer) -> Result<(), Fault> {
    let format = reader.members(raw, &[FORMAT])?;
    match reader.required_text(&format, "type")?.as_ref() {
        "text" => Ok(()),
        "json_object" => Err(reader.refuse("without a schema there is no JSON mode; give one")),
        "json_schema" => {
            let schema = reader.required(&format, "json_schema")?;
            reader.within("json_schema", |reader| json_schema(reader, schema, config))
        }
        _ => Err(reader.refuse_at("type", "it is not known there")),
    }
}

fn json_schema(reader: &mut Reader, raw: &str, config: &mut Writer) -> Result<(), Fault> {
    let named = reader.members(raw, &[SCHEMA])?;
    let schema = reader.required(&named, "schema")?;
    if !schema.starts_with('{') {
        return reader.within("schema", |reader| Err(reader.wrong("must be an object")));
    }
    config.key("format").raw(r#"{"type":"json_schema""#).key("schema");
    match named.get("description") {
        Some(description) if !has_member(schema, "description").0 => {
            config.object_with("description", description, schema)
        }
        _ => config.raw(schema),
    };
    config.raw("}");
    Ok(())
}
