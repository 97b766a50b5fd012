//! The rows of the table of fields.
//!
//! Sources: OpenAI's API reference for embeddings; Mistral's and Azure's are parts of it.

use crate::protocol::request::fields::Action::{Forced, Passed};
use crate::protocol::request::fields::Shape::{
    Count, Inputs, Metadata, Model, RunName, Text, Word,
};
use crate::protocol::request::fields::{Counts, Field, Object};

/// A request.
pub static TOP: Object = Object::new(
    "EmbeddingRequest",
    &[
        Field::top(
            "model",
            Forced,
            Model,
            "required; replaced by the provider's name for the model",
        ),
        Field::top("input", Passed, Inputs, "required; a string, up to 2048 of them, or token ids")
            .counted(Counts::Text),
        Field::top("dimensions", Passed, Count, "1 to 2147483647"),
        Field::top("encoding_format", Passed, Word(&["float", "base64"]), "float or base64"),
        Field::top("user", Forced, Text, "never sent: it would tie runs together at the provider"),
        Field::top("metadata", Forced, Metadata, "read for `run_id`, never sent"),
        Field::top("run_id", Forced, RunName, "names the run; taken out"),
        Field::top("evaluation_run_id", Forced, RunName, "as `run_id`"),
    ],
)
.requiring(&["model", "input"]);
