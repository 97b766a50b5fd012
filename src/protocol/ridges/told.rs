//! What a run is told of its money and of the models. Ridges writes money as JSON numbers, so here
//! it is one too, but by its exact text.

use std::borrow::Cow;

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::budget::Balance;
use crate::domain::id::RunId;
use crate::domain::usage::Tokens;

/// A JSON number with every digit that the decimal has, and no more.
#[derive(Clone, Copy, Debug)]
pub struct Exact(pub Decimal);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.normalize().to_string();
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl JsonSchema for Exact {
    fn schema_name() -> Cow<'static, str> {
        "ExactNumber".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0})
    }
}

/// What a run has spent, in US dollars.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RidgesUsage")]
pub struct Usage {
    /// What its calls have cost.
    used_cost_usd: Exact,
    /// What is neither spent nor reserved for calls in flight.
    remaining_cost_usd: Exact,
    /// The cap.
    max_cost_usd: Exact,
}

impl Usage {
    /// The usage that a balance shows.
    pub fn of(balance: &Balance) -> Self {
        Self {
            used_cost_usd: Exact(balance.spent),
            remaining_cost_usd: Exact(balance.available()),
            max_cost_usd: Exact(balance.limit),
        }
    }
}

/// A model for `/api/inference`.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RidgesInferenceModel")]
pub struct InferenceModel<'a> {
    /// Its name here.
    pub name: &'a str,
    /// Its id at the provider.
    pub external_name: &'a str,
    /// The most input tokens of one request.
    pub max_input_tokens: Tokens,
    /// What a million input tokens cost that come from no cache.
    pub cost_usd_per_million_input_tokens: Exact,
    /// What a million output tokens cost.
    pub cost_usd_per_million_output_tokens: Exact,
}

/// A model for `/api/embedding`.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RidgesEmbeddingModel")]
pub struct EmbeddingModel<'a> {
    /// What it has in common with the others; its output costs nothing.
    #[serde(flatten)]
    pub model: InferenceModel<'a>,
    /// Always `per_token`.
    pub pricing_mode: &'static str,
}

/// What a run has spent, as the sidecar tells it that Ridges puts in the place of OpenRouter
/// (`GET /api/v1/usage`). Agents there reckon with its numbers, so dollars are numbers here too.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RidgesSidecarUsage")]
pub struct SidecarUsage<'a> {
    /// The run.
    pub evaluation_run_id: RunId,
    /// What its calls have cost.
    pub total_cost_usd: Exact,
    /// What is neither spent nor reserved for calls in flight.
    pub budget_remaining_usd: Exact,
    /// Ended attempts that bought something.
    pub requests: u64,
    /// All input, the cached included.
    pub prompt_tokens: u64,
    /// All output, reasoning included.
    pub completion_tokens: u64,
    /// The same by model.
    pub models: Vec<SidecarModel<'a>>,
}

/// What a run has spent on a model.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "RidgesSidecarModel")]
pub struct SidecarModel<'a> {
    /// Its name here.
    pub model: &'a str,
    /// Ended attempts that bought something.
    pub requests: u64,
    /// All input, the cached included.
    pub prompt_tokens: u64,
    /// All output, reasoning included.
    pub completion_tokens: u64,
    /// What the calls have cost.
    pub cost_usd: Exact,
}
