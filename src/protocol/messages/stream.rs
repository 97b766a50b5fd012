//! The events of a streamed answer.
//!
//! `message_start` tells the input and a placeholder for the output, each `message_delta` what has
//! been made of it so far, `message_stop` is the last word (guide "Streaming Messages"). So the
//! usage counts once a delta has told it, and is final with the reason why the answer stopped.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::answer::model_name;
use crate::protocol::provider_error::read_error;
use crate::protocol::stream::{Seen, StreamFault};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Start<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow)]
    partial_json: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

/// Reads the data of an event; tells whether it may pass.
pub(in crate::protocol) fn data(text: &[u8], seen: &mut Seen) -> Result<bool, StreamFault> {
    let event: Event<'_> = serde_json::from_slice(text).map_err(|_| StreamFault::Garbage)?;
    match event.kind.as_deref() {
        Some("error") => return Err(StreamFault::Provider(read_error(text))),
        None if event.error.is_some() => return Err(StreamFault::Provider(read_error(text))),
        None => return Err(StreamFault::Garbage),
        Some("message_start") => {
            let Some(start) = event.message else { return Err(StreamFault::Garbage) };
            if let Some(usage) = start.usage {
                seen.counted.take(usage.get());
            }
            seen.served_model = start.model.and_then(|raw| model_name(raw.get()));
        }
        Some("content_block_start") => {
            let block = event.content_block.as_ref();
            let texts = block.map(|block| [&block.name, &block.text, &block.data]);
            for text in texts.into_iter().flatten().flatten() {
                seen.text.push(text);
            }
            seen.usage_is_final = false;
        }
        Some("content_block_delta") => {
            let delta = event.delta.as_ref();
            let texts = delta.map(|delta| [&delta.text, &delta.thinking, &delta.partial_json]);
            for text in texts.into_iter().flatten().flatten() {
                seen.text.push(text);
            }
            seen.usage_is_final = false;
        }
        Some("message_delta") => {
            if let Some(usage) = event.usage {
                seen.counted.take(usage.get());
                seen.usage = seen.counted.usage();
                let stopped = event.delta.as_ref().and_then(|delta| delta.stop_reason);
                seen.usage_is_final = stopped.is_some();
            }
        }
        Some("message_stop") => {
            seen.done = true;
            seen.usage_is_final = seen.usage.is_some();
        }
        // `ping`, `content_block_stop`, and what may come: it passes.
        Some(_) => {}
    }
    Ok(true)
}
