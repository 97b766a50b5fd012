//! The events of a streamed answer.

use super::{chunk, usage};
use crate::protocol::answer::model_name;
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::{Seen, StreamFault};

/// Reads the data of an event; tells whether it may pass.
pub(in crate::protocol) fn data(
    text: &[u8],
    show_usage: bool,
    seen: &mut Seen,
) -> Result<bool, StreamFault> {
    if text == b"[DONE]" {
        seen.done = true;
        seen.usage_is_final = seen.usage.is_some();
        return Ok(true);
    }
    let before = seen.text.bytes();
    let chunk = chunk::read(text, &mut seen.text).ok_or(StreamFault::Garbage)?;
    if chunk.is_error() {
        return Err(StreamFault::Provider(read_error(text)));
    }
    if seen.text.bytes() > before {
        seen.usage_is_final = false;
    }
    let served = chunk.model.filter(|_| seen.served_model.is_none());
    if let Some(name) = served.and_then(model_name) {
        seen.served_model = Some(name);
    }
    if let Some(raw) = chunk.service_tier {
        seen.note_tier(raw);
    }
    let Some(raw) = chunk.usage else {
        return Ok(true);
    };
    if let Some(usage) = usage::read(raw) {
        seen.usage = Some(usage);
        seen.usage_is_final = !chunk.choices.any || chunk.choices.finished;
    }
    Ok(show_usage || chunk.choices.any)
}
