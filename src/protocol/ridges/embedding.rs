//! `POST /api/embedding`: one text, one vector.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Asked, Shape, read};
use crate::domain::fault::Fault;

/// A request.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_run_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<Cow<'a, str>>,
    /// The model; the older generation leaves the choice to the gateway.
    pub model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Cow<'a, str>,
}

impl<'a> Embedding<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// If it is anything else; the member is named.
    pub fn read(body: &'a [u8]) -> Result<Self, Fault> {
        read::read(body)
    }

    /// The runs that it names.
    pub fn run_names(&self) -> Vec<String> {
        let names = [&self.evaluation_run_id, &self.run_id];
        names.into_iter().flatten().map(|name| name.clone().into_owned()).collect()
    }

    /// The same as OpenAI's embeddings. The names of runs stay in it, for the gateway to compare.
    pub fn into_asked(self) -> Asked {
        Asked {
            shape: Shape::of(self.evaluation_run_id.as_deref(), self.run_id.as_deref()),
            // Strings always serialise; the fallback is refused as a body without a model.
            body: serde_json::to_vec(&self).unwrap_or_else(|_| b"{}".to_vec()),
        }
    }
}

/// An answer of OpenAI's embeddings in the shape that was asked; `None` if it has no vector.
pub fn embedding_answer(body: &[u8], shape: Shape) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        data: Vec<Embedded<'a>>,
    }

    #[derive(Deserialize, Serialize)]
    struct Embedded<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
    }

    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    let first = whole.data.first()?;
    match shape {
        Shape::Object => serde_json::to_vec(first).ok(),
        Shape::Bare => Some(first.embedding.get().as_bytes().to_vec()),
    }
}

/// The JSON Schema of a request.
pub fn embedding_schema() -> Value {
    json!({
        "type": "object",
        "required": ["input"],
        "additionalProperties": false,
        "properties": {
            "evaluation_run_id": {"type": ["string", "null"], "format": "uuid"},
            "run_id": {"type": ["string", "null"], "format": "uuid"},
            "model": {"type": ["string", "null"]},
            "input": {"type": "string"},
        },
    })
}
