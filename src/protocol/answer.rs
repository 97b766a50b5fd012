//! Answers that come in one piece.

use super::format::Format;
use super::provider_error::ProviderError;
use super::{chat, embeddings, json, messages, responses};
use crate::domain::settlement::ReportedUsage;
use crate::domain::tier::ServedTier;

/// The longest model name that is believed, in bytes.
const MAX_MODEL_BYTES: usize = 256;

/// What the gateway needs of an answer; the rest is passed unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The model that answered, as the provider names it.
    pub served_model: Option<String>,
    /// The service tier that it was served in, where a provider of chat or responses names one.
    pub served_tier: Option<ServedTier>,
    /// What it says was used.
    pub usage: Option<ReportedUsage>,
}

impl Answer {
    /// Who answered, and how.
    pub fn served(&self) -> Served<'_> {
        Served { model: self.served_model.as_deref(), tier: self.served_tier.as_ref() }
    }
}

/// Who answered, and how, as far as an answer has said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served<'a> {
    /// The model, as the provider names it.
    pub model: Option<&'a str>,
    /// The service tier.
    pub tier: Option<&'a ServedTier>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// It is no JSON object, or one that lacks what an answer has and does not say why.
    Garbage,
    /// It is an error under a status of success.
    Provider(ProviderError),
}

/// Reads the body of an answer that was not streamed.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub fn read_answer(format: Format, body: &[u8]) -> Result<Answer, AnswerFault> {
    match format {
        Format::Chat => chat::answer::read(body),
        Format::Embeddings => embeddings::answer::read(body),
        Format::Messages => messages::answer::read(body),
        Format::Responses => responses::answer::read(body),
    }
}

/// Whether an answer that was not streamed has anything in it that costs output tokens.
pub fn has_output(format: Format, body: &[u8]) -> bool {
    match format {
        Format::Chat => chat::answer::has_output(body),
        Format::Embeddings => false,
        Format::Messages => messages::answer::has_output(body),
        Format::Responses => responses::answer::has_output(body),
    }
}

/// The service tier that a member names. What is no word is a tier that nobody knows.
pub(in crate::protocol) fn service_tier(raw: &str) -> Option<ServedTier> {
    match json::text(raw) {
        Some(word) => ServedTier::read(&word),
        None => Some(raw).filter(|raw| *raw != "null").and_then(ServedTier::read),
    }
}

/// A model's name, unless it is something that no model is called.
pub(in crate::protocol) fn model_name(raw: &str) -> Option<String> {
    let name: String = serde_json::from_str(raw).ok()?;
    let sane = (1..=MAX_MODEL_BYTES).contains(&name.len());
    (sane && !name.chars().any(char::is_control)).then_some(name)
}
