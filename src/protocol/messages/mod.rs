//! Anthropic's messages: the fields of a request, its answer, its stream and its errors.

pub(in crate::protocol) mod answer;
pub mod count;
pub mod error;
pub(in crate::protocol) mod stream;
mod table;
pub(in crate::protocol) mod usage;

pub use table::TOP as TABLE;
