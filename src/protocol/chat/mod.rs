//! OpenAI's chat completions: the fields of a request, its answer and its stream.

mod table;
pub mod usage;
pub mod cost;
pub(in crate::protocol) mod answer;
mod chunk;
pub(in crate::protocol) mod stream;

pub use table::TOP as TABLE;
