//! OpenAI's embeddings: the fields of a request, and its answer.

pub(in crate::protocol) mod answer;
mod table;

pub use answer::vectors;
pub use table::TOP as TABLE;
