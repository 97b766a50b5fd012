//! OpenAI's chat completions: the fields of a request, its answer and its stream.

mod table;
pub mod usage;
pub mod answer;
mod chunk;
pub mod stream;

pub use answer::{Answer, AnswerFault, ProviderError, read_answer, read_error};
pub use stream::{StreamFault, StreamMeter};
pub use table::TOP as TABLE;
