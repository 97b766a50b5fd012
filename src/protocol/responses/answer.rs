//! Answers that come in one piece.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::protocol::answer::{Answer, AnswerFault, model_name, service_tier};
use crate::protocol::json;
use crate::protocol::provider_error::read_error;

/// What the meter needs of a response object.
#[derive(Debug, Deserialize)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

impl Response<'_> {
    /// Whether it says that something failed.
    fn is_error(&self) -> bool {
        let is = |raw: Option<&RawValue>, word: &str| {
            raw.and_then(|raw| json::text(raw.get())).is_some_and(|text| text == word)
        };
        let complains = self.message.or(self.detail).is_some();
        self.error.is_some()
            || is(self.status, "failed")
            || is(self.object, "error")
            || (complains && self.output.is_none())
    }

    /// Whether there is more to come, elsewhere: nothing here asked for that.
    fn is_unfinished(&self) -> bool {
        let status = self.status.and_then(|raw| json::text(raw.get()));
        status.is_some_and(|status| matches!(&*status, "queued" | "in_progress"))
    }
}

/// Reads the body of an answer that was not streamed.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub(in crate::protocol) fn read(body: &[u8]) -> Result<Answer, AnswerFault> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let response = serde_json::from_slice::<Response<'_>>(body);
    let (true, Ok(response)) = (is_object, response) else {
        return Err(AnswerFault::Garbage);
    };
    if response.is_error() {
        return Err(AnswerFault::Provider(read_error(body)));
    }
    if response.output.is_none() || response.is_unfinished() {
        return Err(AnswerFault::Garbage);
    }
    Ok(Answer {
        served_model: response.model.and_then(|raw| model_name(raw.get())),
        served_tier: response.service_tier.and_then(|raw| service_tier(raw.get())),
        usage: response.usage.and_then(|raw| usage::read(raw.get())),
    })
}

/// Whether an answer has anything in it that costs output tokens.
pub(in crate::protocol) fn has_output(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        output: Vec<&'a RawValue>,
    }

    serde_json::from_slice::<Said<'_>>(body).is_ok_and(|said| !said.output.is_empty())
}
