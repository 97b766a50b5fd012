//! The gateway API of Ridges (ridgesai/ridges, `inference_gateway/main.py` and `models.py`), on top
//! of OpenAI's formats.
//!
//! There are two generations of it, which the answer's shape follows: today's agents name
//! `evaluation_run_id` and read an object, older ones name `run_id` and read its one value alone.

mod embedding;
mod error;
mod inference;
mod read;
mod told;

pub(in crate::protocol) use error::body as error_body;
pub(in crate::protocol) use error::status;

pub use embedding::{Embedding, embedding_answer, embedding_schema};
pub use error::schema as error_schema;
pub use inference::{inference_answer, inference_schema, to_chat};
pub use told::{EmbeddingModel, Exact, InferenceModel, SidecarModel, SidecarUsage, Usage};

/// A request in one of OpenAI's formats, and the shape that its answer shall have.
#[derive(Debug)]
pub struct Asked {
    /// The body.
    pub body: Vec<u8>,
    /// The shape.
    pub shape: Shape,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object.
    Object,
    /// The one value that the older generation reads.
    Bare,
}

impl Shape {
    /// What was sent decides. A request that names no run, because its credential does, is new.
    const fn of(evaluation_run_id: Option<&str>, run_id: Option<&str>) -> Self {
        match (evaluation_run_id, run_id) {
            (None, Some(_)) => Self::Bare,
            (Some(_), _) | (None, None) => Self::Object,
        }
    }
}
