//! OpenAI's Responses: the fields of a request, its answer and its stream; and all three by way of
//! chat completions, for providers that have nothing else.
//!
//! Only what is stateless: nothing is stored at the provider and nothing stored is referred to.

mod table;
mod usage;
pub(in crate::protocol) mod answer;
pub(in crate::protocol) mod stream;
mod error;
mod wire;
mod to_chat;
mod members;
mod chat_items;
mod from_chat;
mod from_chat_stream;
mod entry;

pub use error::error_event;
pub use from_chat::chat_answer_to_responses;
pub use from_chat_stream::ResponsesFromChat;
pub use table::TOP as TABLE;
pub use to_chat::responses_to_chat;
