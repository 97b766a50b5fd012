//! A request for a response as one for a chat completion, for providers that have nothing else.
//!
//! Values are raw slices of the client's body, so a schema keeps its order and a number its digits.
//! What chat cannot say is refused by name. Left out is only what says nothing there: labels and
//! ids of items; reasoning of earlier turns, for which chat has no place and which OpenAI, too,
//! drops after each turn of the user; `include: ["reasoning.encrypted_content"]`, since there is
//! none to include; a summary of reasoning that is wished for as `auto` or `none`; what the gateway
//! forces.

use super::chat_items::messages;
use super::members::{Members, Writer, refused, words};
use crate::domain::fault::{Code, Fault};

/// What the gateway decides or only reads, and what is as in chat if it is not sent.
const SILENT: [&str; 8] = [
    "store",
    "background",
    "truncation",
    "service_tier",
    "client_metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
];

/// Writes a body that the table of responses accepts as one that the table of chat accepts.
///
/// The names of the run stay in it. A streamed answer asks for its usage, which
/// [`super::ResponsesFromChat`] needs to see.
///
/// # Errors
/// `parameter_not_allowed` for what chat completions cannot say; `invalid_request` if the body is
/// not one that the table of responses accepts.
pub fn responses_to_chat(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| unread(""))?;
    let mut top = Members::read("", text)?;
    let mut out = Writer::default();
    out.open(b'{');
    for name in ["model", "temperature", "top_p"] {
        out.member(name, top.take(name));
    }
    for name in ["run_id", "evaluation_run_id", "metadata"] {
        out.member(name, top.take(name));
    }
    out.member("max_completion_tokens", top.take("max_output_tokens"));
    let stream = top.take("stream");
    out.member("stream", stream);
    let options = top.nested("stream_options")?;
    if let Some(mut options) = options {
        // What is translated carries neither.
        options.leave(&["include_obfuscation", "reasoning_summary_delivery"]);
        options.end()?;
    }
    if stream == Some("true") {
        out.member("stream_options", Some(r#"{"include_usage":true}"#));
    }
    out.key("messages");
    messages(&mut top, &mut out)?;
    let has_tools = tools(&mut top, &mut out)?;
    choice(&mut top, has_tools, &mut out)?;
    let parallel = top.take("parallel_tool_calls");
    // Chat refuses it where there are no tools.
    out.member("parallel_tool_calls", parallel.filter(|_| has_tools));
    format(&mut top, &mut out)?;
    reasoning(&mut top, &mut out)?;
    if let Some(raw) = top.take("include") {
        for word in words(raw) {
            if word != "reasoning.encrypted_content" {
                return Err(refused("include"));
            }
        }
    }
    top.leave(&SILENT);
    top.end()?;
    out.close(b'}');
    Ok(out.into_bytes())
}

pub(super) fn unread(path: &str) -> Fault {
    let fault = Fault::new(Code::InvalidRequest, "The body cannot be read as a request.");
    if path.is_empty() { fault } else { fault.param(path.to_owned()) }
}

/// Writes the tools; tells whether there are any.
fn tools(top: &mut Members<'_>, out: &mut Writer) -> Result<bool, Fault> {
    let tools = top.array("tools")?;
    if tools.is_empty() {
        return Ok(false);
    }
    out.key("tools");
    out.open(b'[');
    for mut tool in tools {
        let kind = tool.word("type");
        let kind = if kind == "custom" { "custom" } else { "function" };
        if !tool.is(kind) {
            return Err(refused(&tool.path));
        }
        out.open(b'{');
        out.text("type", kind);
        out.key(kind);
        out.open(b'{');
        for name in ["name", "description"] {
            out.member(name, tool.take(name));
        }
        if kind == "function" {
            for name in ["parameters", "strict"] {
                out.member(name, tool.take(name));
            }
        } else if let Some(format) = tool.nested("format")? {
            out.key("format");
            custom_format(format, out)?;
        }
        tool.leave(&["type"]);
        if tool.take("defer_loading") == Some("true") {
            return Err(refused(&tool.path_to("defer_loading")));
        }
        tool.end()?;
        out.close(b'}');
        out.close(b'}');
    }
    out.close(b']');
    Ok(true)
}

/// Chat keeps a grammar in a member of its own.
fn custom_format(mut format: Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let kind = format.word("type");
    out.open(b'{');
    out.text("type", &kind);
    match kind.as_str() {
        "text" => {}
        "grammar" => {
            out.key("grammar");
            out.open(b'{');
            for name in ["definition", "syntax"] {
                out.member(name, format.take(name));
            }
            out.close(b'}');
        }
        _ => return Err(refused(&format.path)),
    }
    format.leave(&["type"]);
    format.end()?;
    out.close(b'}');
    Ok(())
}

fn choice(top: &mut Members<'_>, has_tools: bool, out: &mut Writer) -> Result<(), Fault> {
    let word = top.word("tool_choice");
    let Some(raw) = top.take("tool_choice") else { return Ok(()) };
    if raw.starts_with('"') {
        // Chat refuses a choice among no tools.
        let idle = !has_tools && matches!(word.as_str(), "auto" | "none");
        out.member("tool_choice", Some(raw).filter(|_| !idle));
        return Ok(());
    }
    let mut choice = Members::read("tool_choice", raw)?;
    out.key("tool_choice");
    if !choice.is("allowed_tools") {
        return named(choice, out);
    }
    out.open(b'{');
    out.text("type", "allowed_tools");
    out.key("allowed_tools");
    out.open(b'{');
    out.member("mode", choice.take("mode"));
    out.key("tools");
    out.open(b'[');
    for tool in choice.array("tools")? {
        named(tool, out)?;
    }
    out.close(b']');
    out.close(b'}');
    out.close(b'}');
    choice.leave(&["type"]);
    choice.end()
}

/// A tool by its name: `{type, name}` becomes `{type, TYPE: {name}}`.
fn named(mut tool: Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let kind = if tool.is("custom") { "custom" } else { "function" };
    if !tool.is(kind) {
        return Err(refused(&tool.path));
    }
    out.open(b'{');
    out.text("type", kind);
    out.key(kind);
    out.open(b'{');
    out.member("name", tool.take("name"));
    out.close(b'}');
    out.close(b'}');
    tool.leave(&["type"]);
    tool.end()
}

fn format(top: &mut Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let Some(mut text) = top.nested("text")? else { return Ok(()) };
    out.member("verbosity", text.take("verbosity"));
    if let Some(mut format) = text.nested("format")? {
        match format.word("type").as_str() {
            "text" => {}
            "json_object" => out.member("response_format", Some(r#"{"type":"json_object"}"#)),
            "json_schema" => {
                out.key("response_format");
                out.open(b'{');
                out.text("type", "json_schema");
                out.key("json_schema");
                out.open(b'{');
                for name in ["name", "description", "schema", "strict"] {
                    out.member(name, format.take(name));
                }
                out.close(b'}');
                out.close(b'}');
            }
            _ => return Err(refused("text.format")),
        }
        format.leave(&["type"]);
        format.end()?;
    }
    text.end()
}

fn reasoning(top: &mut Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let Some(mut reasoning) = top.nested("reasoning")? else { return Ok(()) };
    out.member("reasoning_effort", reasoning.take("effort"));
    for name in ["summary", "generate_summary"] {
        reasoning.leave_words(name, &["auto", "none"]);
    }
    reasoning.leave_words("context", &["auto", "current_turn"]);
    reasoning.end()
}
