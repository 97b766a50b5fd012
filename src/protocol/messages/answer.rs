//! Answers that come in one piece.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Counted;
use crate::protocol::answer::{Answer, AnswerFault, model_name};
use crate::protocol::provider_error::read_error;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

/// Reads the body of an answer.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub(in crate::protocol) fn read(body: &[u8]) -> Result<Answer, AnswerFault> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let wire = serde_json::from_slice::<Wire<'_>>(body);
    let (true, Ok(wire)) = (is_object, wire) else {
        return Err(AnswerFault::Garbage);
    };
    let complains = wire.error.or(wire.message).or(wire.detail).is_some();
    if wire.error.is_some() || (complains && wire.content.is_none()) {
        return Err(AnswerFault::Provider(read_error(body)));
    }
    if wire.content.is_none_or(|content| !content.get().starts_with('[')) {
        return Err(AnswerFault::Garbage);
    }
    let mut counted = Counted::default();
    if let Some(usage) = wire.usage {
        counted.take(usage.get());
    }
    Ok(Answer {
        served_model: wire.model.and_then(|raw| model_name(raw.get())),
        served_tier: None,
        usage: counted.usage(),
    })
}

/// Whether an answer has anything in it that costs output tokens.
pub(in crate::protocol) fn has_output(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
    }

    serde_json::from_slice::<Said<'_>>(body).is_ok_and(|said| !said.content.is_empty())
}
