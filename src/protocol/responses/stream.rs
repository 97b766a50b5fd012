//! The events of a streamed answer.
//!
//! Each says its type in its data; the `event` line only repeats it. Whatever ends in `.delta` is
//! output, in which an estimate is made: texts, refusals, arguments, summaries of reasoning. The
//! usage is in the last event and nowhere else.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Response;
use super::usage;
use crate::protocol::answer::model_name;
use crate::protocol::json;
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::{Seen, StreamFault};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

/// What of an item is made of output tokens and comes in no delta.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

/// Reads the data of an event; tells whether it may pass.
pub(in crate::protocol) fn data(text: &[u8], seen: &mut Seen) -> Result<bool, StreamFault> {
    if text == b"[DONE]" {
        seen.done = true;
        return Ok(true);
    }
    let is_object = text.starts_with(b"{");
    let event = serde_json::from_slice::<Event<'_>>(text);
    let (true, Ok(event)) = (is_object, event) else {
        return Err(StreamFault::Garbage);
    };
    let kind = match event.kind {
        Some(raw) => json::text(raw.get()).ok_or(StreamFault::Garbage)?,
        None => Cow::Borrowed(""),
    };
    let complains = event.message.or(event.detail).is_some() && kind.is_empty();
    if event.error.is_some() || kind == "error" || complains {
        return Err(StreamFault::Provider(read_error(text)));
    }
    match &*kind {
        "response.output_item.added" => {
            let item = event.item.and_then(|raw| serde_json::from_str::<Item<'_>>(raw.get()).ok());
            push(item.and_then(|item| item.name), seen)?;
        }
        kind if kind.ends_with(".delta") => push(event.delta, seen)?,
        kind => {
            if let Some(raw) = event.response {
                response(kind, raw.get(), seen)?;
            }
        }
    }
    Ok(true)
}

fn push(text: Option<&RawValue>, seen: &mut Seen) -> Result<(), StreamFault> {
    let Some(raw) = text.map(RawValue::get).filter(|raw| raw.starts_with('"')) else {
        return Ok(());
    };
    seen.text.push(&json::text(raw).ok_or(StreamFault::Garbage)?);
    seen.usage_is_final = false;
    Ok(())
}

/// Reads the response that an event tells about.
fn response(kind: &str, raw: &str, seen: &mut Seen) -> Result<(), StreamFault> {
    let response: Response<'_> = serde_json::from_str(raw).map_err(|_| StreamFault::Garbage)?;
    if seen.served_model.is_none() {
        seen.served_model = response.model.and_then(|raw| model_name(raw.get()));
    }
    let ends = matches!(kind, "response.completed" | "response.incomplete" | "response.failed");
    if let Some(usage) = response.usage.and_then(|raw| usage::read(raw.get())) {
        seen.usage = Some(usage);
        seen.usage_is_final = ends;
    }
    // Earlier events only repeat what was asked for.
    if let Some(raw) = response.service_tier.filter(|_| ends) {
        seen.note_tier(raw.get());
    }
    if kind == "response.failed" {
        return Err(StreamFault::Provider(read_error(raw.as_bytes())));
    }
    seen.done |= ends;
    Ok(())
}
