//! OpenAI's chat completions: the request, its answer and its stream.
//!
//! What is accepted is a table ([`fields`]); the parser only walks it. Does not know which models
//! exist, what they cost or where they are served.

pub mod fields;
pub mod schema;
mod table;
mod image;
mod parse;
mod visit;
mod leaf;
mod count;
pub mod request;
pub mod usage;
pub mod answer;
mod chunk;
pub mod stream;

pub use answer::{Answer, AnswerFault, ProviderError, read_answer, read_error};
pub use count::TextCounter;
pub use request::{ChatRequest, UpstreamBody};
pub use stream::{StreamFault, StreamMeter};
