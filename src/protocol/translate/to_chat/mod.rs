//! A messages request as a chat request.
//!
//! Sources: Anthropic's API reference (create a message); OpenAI's API reference (create a chat
//! completion).

mod turns;
mod blocks;
mod options;

use super::messages_rules::TOP;
use super::read::{Members, Reader};
use super::write::Writer;
use crate::domain::fault::Fault;
use crate::domain::usage::MAX_TOKENS;

/// Translates a messages request that the messages table of fields accepts.
///
/// Thinking of earlier turns is left out: it costs nothing and says nothing to another provider.
///
/// # Errors
/// `parameter_not_allowed` for what has no counterpart and `invalid_request` for what is malformed;
/// both name the field.
pub fn messages_to_chat(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut reader = Reader::new("chat completions");
    let text = std::str::from_utf8(body).map_err(|_| reader.wrong("must be UTF-8"))?;
    let (top, messages) = reader.body(text, &[TOP])?;

    let mut out = Writer::with_capacity(text.len() + 256);
    out.raw("{").member("model", reader.required_string(&top, "model")?);
    out.key("messages").raw("[");
    if let Some(system) = top.get("system") {
        reader.within("system", |reader| turns::system(reader, system, &mut out))?;
    }
    let messages = reader.messages(messages)?;
    reader.within("messages", |reader| turns::write(reader, messages, &mut out))?;
    out.raw("]");
    limit(&mut reader, &top, &mut out)?;
    for name in ["temperature", "top_p", "top_k"] {
        out.optional(name, top.get(name));
    }
    if let Some(raw) = top.get("stop_sequences")
        && reader.within("stop_sequences", |reader| Ok(!reader.list(raw)?.is_empty()))?
    {
        out.member("stop", raw);
    }
    options::tools(&mut reader, &top, &mut out)?;
    options::output(&mut reader, &top, &mut out)?;
    out.optional("stream", top.get("stream")).raw("}");
    Ok(out.into_bytes())
}

fn limit(reader: &mut Reader, top: &Members<'_>, out: &mut Writer) -> Result<(), Fault> {
    let Some(raw) = top.get("max_tokens") else { return Ok(()) };
    reader.within("max_tokens", |reader| match raw.parse::<u64>() {
        Ok(1..=MAX_TOKENS) => {
            out.member("max_tokens", raw);
            Ok(())
        }
        Ok(0) => Err(reader.refuse("chat has no caches to fill without an answer")),
        _ => Err(reader.wrong("must be an integer from 1 to 2147483647")),
    })
}
