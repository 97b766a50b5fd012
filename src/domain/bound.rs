//! How many tokens a request can turn into at most, before anybody has counted them.

use super::usage::Tokens;

/// What a provider adds around the text that it is sent, as upper bounds per model.
///
/// The numbers stand in the catalogue, each with its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundConstants {
    /// Once per request (priming of the answer, system preamble).
    pub per_request: u32,
    /// For each message (role and separators).
    pub per_message: u32,
    /// For each tool offered (the wrapping around its schema).
    pub per_tool: u32,
    /// For each image of any size; `None` if this model's images are not bounded.
    pub per_image: Option<u32>,
}

/// The countable shape of a request's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputShape {
    /// Messages in the conversation.
    pub messages: u32,
    /// Tools offered.
    pub tools: u32,
    /// Images within the messages.
    pub images: u32,
}

/// The most input tokens that a request can be counted as.
///
/// `text` is either the bytes of the raw JSON – every tokeniser in use is byte-level or falls back
/// to bytes, so none emits more than one token per UTF-8 byte that it reads (byte-level BPE as in
/// GPT-2, after Sennrich et al. 2016; SentencePiece with byte fallback) –, with what they gain
/// where the tokeniser normalises first ([`super::normal`]), or a count by the model's vocabulary.
/// No request is served with more input than the context window holds, so that bounds it too.
///
/// Images must have been refused where `per_image` is `None`; here they then count as the window.
pub fn input_bound(
    text: Tokens,
    shape: InputShape,
    constants: &BoundConstants,
    context_window: Tokens,
) -> Tokens {
    let images = match (shape.images, constants.per_image) {
        (0, _) => Tokens::ZERO,
        (count, Some(each)) => Tokens::new(u64::from(each)).times(u64::from(count)),
        (_, None) => context_window,
    };
    let scaffold = u64::from(constants.per_request)
        .saturating_add(u64::from(constants.per_message) * u64::from(shape.messages))
        .saturating_add(u64::from(constants.per_tool) * u64::from(shape.tools));
    text.plus(images).plus(Tokens::new(scaffold)).min(context_window)
}

/// One part in this many of what a provider counted is added to it.
const ESTIMATE_MARGIN: u64 = 20;

/// The most input tokens that a request can be billed, whose input its provider counted before.
///
/// Anthropic's guide "Token counting" calls its count an estimate: the tokens of the message itself
/// may differ "by a small amount", of which it gives no number. (It may also count tokens that
/// Anthropic adds and does not bill, which only makes it larger.) So all that [`input_bound`] adds
/// around the text is added again, though the count has it in it, and a twentieth of the count.
/// Images are counted with the rest.
pub fn estimate_bound(
    counted: Tokens,
    shape: InputShape,
    constants: &BoundConstants,
    context_window: Tokens,
) -> Tokens {
    let margin = Tokens::new(counted.count().div_ceil(ESTIMATE_MARGIN));
    let around = InputShape { images: 0, ..shape };
    input_bound(counted.plus(margin), around, constants, context_window)
}

/// What limits the output of one choice of one call.
#[derive(Clone, Copy, Debug)]
pub struct OutputLimits {
    /// The most that the model can produce.
    pub model_maximum: Tokens,
    /// The run's own limit per call, if it has one.
    pub run_maximum: Option<Tokens>,
    /// What is assumed where the client asked for nothing.
    pub default: Tokens,
}

/// The output bound that is reserved for and written into the upstream request.
pub fn output_bound(asked: Option<Tokens>, limits: &OutputLimits) -> Tokens {
    let wanted = asked.unwrap_or(limits.default).min(limits.model_maximum);
    limits.run_maximum.map_or(wanted, |maximum| wanted.min(maximum))
}
