//! Embeddings: vectors that depend on the model and on what is embedded, and on nothing else.

use std::fmt::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::directive::Directives;
use super::plan::Refusal;
use super::prompt::tokenizer_of;
use super::request::Text;
use super::wire::push_string;
use super::words::{self, Numbers};
use crate::catalog::tokenizer::Tokenizer;

/// Dimensions of a vector, if none are asked for: those of `text-embedding-3-small`.
const USUAL_DIMENSIONS: u64 = 1536;
/// The most dimensions that any model of OpenAI's makes.
const MAX_DIMENSIONS: u64 = 3072;
/// The most inputs of one request.
const MAX_INPUTS: usize = 2048;
/// Components are thousandths between -0.5 and 0.5.
const STEPS: u64 = 1001;
const HALF: i64 = 500;

/// The fields of a body that an answer depends on.
#[derive(Deserialize)]
struct EmbeddingRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    dimensions: Option<u64>,
    #[serde(borrow)]
    encoding_format: Option<Text<'a>>,
}

/// One of the things to embed.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Ids(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    One(Input),
    Several(Vec<Input>),
}

/// An answer, and what was asked of it.
pub(super) struct Embedded {
    /// The whole body.
    pub(super) body: String,
    /// What its texts and its header ask for.
    pub(super) directives: Directives,
}

/// Embeds the inputs of `body`; `header` holds directives that win over those in the inputs.
///
/// # Errors
/// When the body breaks the wire format, or a directive is not understood.
pub(super) fn make(body: &[u8], header: Option<&str>) -> Result<Embedded, Refusal> {
    let request: EmbeddingRequest<'_> = serde_json::from_slice(body).map_err(|error| {
        Refusal::invalid(None, format!("We could not parse the JSON body: {error}."))
    })?;
    let model = request.model.as_ref().map(|model| &*model.0);
    let model = model.ok_or_else(|| Refusal::invalid(Some("model"), "Missing 'model'."))?;
    let inputs = inputs(request.input)?;
    let dimensions = request.dimensions.unwrap_or(USUAL_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("Invalid 'dimensions': must be from 1 to {MAX_DIMENSIONS}.");
        return Err(Refusal::invalid(Some("dimensions"), message));
    }
    let base64 = match request.encoding_format.as_ref().map(|format| &*format.0) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "Invalid 'encoding_format': must be float or base64.";
            return Err(Refusal::invalid(Some("encoding_format"), message));
        }
    };
    let mut directives = Directives::default();
    for input in &inputs {
        if let Input::Text(text) = input {
            directives.apply_text(text)?;
        }
    }
    if let Some(header) = header {
        directives.apply(header)?;
    }
    let body = write(model, &inputs, dimensions, base64, &directives);
    Ok(Embedded { body, directives })
}

fn inputs(raw: Option<&RawValue>) -> Result<Vec<Input>, Refusal> {
    let wrong = || Refusal::invalid(Some("input"), "'input' must be texts or arrays of token ids.");
    let raw = raw.ok_or_else(wrong)?;
    let inputs = match serde_json::from_str(raw.get()).map_err(|_| wrong())? {
        Inputs::One(input) => vec![input],
        Inputs::Several(inputs) => inputs,
    };
    let empty = |input: &Input| match input {
        Input::Text(text) => text.is_empty(),
        Input::Ids(ids) => ids.is_empty(),
    };
    if inputs.is_empty() || inputs.len() > MAX_INPUTS || inputs.iter().any(empty) {
        return Err(wrong());
    }
    Ok(inputs)
}

fn write(
    model: &str,
    inputs: &[Input],
    dimensions: u64,
    base64: bool,
    directives: &Directives,
) -> String {
    let tokenizer = tokenizer_of(model);
    let mut out = "{\"object\":\"list\",\"data\":[".to_owned();
    for (index, input) in inputs.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":");
        push_vector(&mut out, vector(model, input, dimensions), base64);
        out.push('}');
    }
    out.push_str("],\"model\":");
    push_string(&mut out, directives.served.as_deref().unwrap_or(model));
    if !directives.no_usage {
        let counted = inputs.iter().map(|input| tokens(input, tokenizer)).sum::<u64>();
        let told =
            directives.usage.map_or_else(|| counted.to_string(), |(input, _)| input.to_string());
        let _ = write!(out, ",\"usage\":{{\"prompt_tokens\":{told},\"total_tokens\":{told}}}");
    }
    out.push('}');
    out
}

fn tokens(input: &Input, tokenizer: Tokenizer) -> u64 {
    match input {
        Input::Text(text) => tokenizer.count(text),
        Input::Ids(ids) => ids.len() as u64,
    }
}

/// The components, in thousandths.
fn vector(model: &str, input: &Input, dimensions: u64) -> impl Iterator<Item = i64> {
    let seed = words::hash(0, model.as_bytes());
    let seed = match input {
        Input::Text(text) => words::hash(seed, text.as_bytes()),
        Input::Ids(ids) => ids.iter().fold(seed, |seed, id| words::hash(seed, &id.to_le_bytes())),
    };
    let mut numbers = Numbers(seed);
    (0..dimensions).map(move |_| numbers.below(STEPS).cast_signed() - HALF)
}

fn push_vector(out: &mut String, components: impl Iterator<Item = i64>, base64: bool) {
    if base64 {
        let thousandths = components
            .map(|component| f32::from(i16::try_from(component).unwrap_or_default()) / 1000.0);
        let bytes: Vec<u8> = thousandths.flat_map(f32::to_le_bytes).collect();
        push_string(out, &BASE64_STANDARD.encode(bytes));
        return;
    }
    out.push('[');
    for (index, component) in components.enumerate() {
        let (comma, sign) =
            (if index > 0 { "," } else { "" }, if component < 0 { "-" } else { "" });
        let _ = write!(out, "{comma}{sign}0.{:03}", component.unsigned_abs());
    }
    out.push(']');
}
