//! Translation between OpenAI's chat completions and Anthropic's messages, both ways.
//!
//! Bytes in, bytes out: requests, whole answers and streams. What happens to each field is a row
//! of [`CHAT_TO_MESSAGES`] or [`MESSAGES_TO_CHAT`]; the code reads objects only through these
//! rows, so a field without a row is refused by name. What has no counterpart is refused by name
//! too, unless its value asks for what the other side does anyway. Raw slices are copied where a
//! value means the same on both sides: texts, schemas and arguments keep their bytes.
//!
//! Sources: Anthropic's API reference for `POST /v1/messages` and its guides to streaming, tool
//! use, structured outputs and extended thinking; OpenAI's API reference for chat completions;
//! the types of the official SDKs (`anthropic` 2.12 and `openai` 3.54 for Python). Does not know
//! models or prices, and does not meter: that is done on what the provider sends.

mod between;
mod rules;
mod chat_rules;
mod messages_rules;
mod read;
mod write;
mod effort;
mod to_messages;
mod to_chat;
mod usage;
mod reason;
mod answer_to_chat;
mod answer_to_messages;
mod each;
pub mod forced;
mod stream_to_chat;
mod stream_to_messages;

pub use answer_to_chat::messages_answer_to_chat;
pub use answer_to_messages::chat_answer_to_messages;
pub use between::{Translated, Translation};
pub use chat_rules::ALL as CHAT_TO_MESSAGES;
pub use effort::Thinking;
pub use messages_rules::ALL as MESSAGES_TO_CHAT;
pub use rules::{Fate, Neutral, Rule, markdown};
pub use stream_to_chat::MessagesToChat;
pub use stream_to_messages::ChatToMessages;
pub use to_chat::messages_to_chat;
pub use to_messages::{MessagesBody, chat_to_messages};

use super::stream::StreamFault;

/// How a client of chat completions wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatClient {
    /// When the answer was made, in seconds since 1970; Anthropic's answers do not say.
    pub created: u64,
    /// Whether a stream ends with a chunk that has only the usage.
    pub include_usage: bool,
    /// Whether it sent `functions` and so expects a `function_call`: see [`MessagesBody`].
    pub legacy_functions: bool,
}

/// Translates the events of a provider's stream, in their order.
pub trait Translate: Send {
    /// Takes the data of one event, joined over its lines; appends whole server-sent events of the
    /// client's format, or nothing.
    ///
    /// # Errors
    /// If the event is an error or cannot be understood; the stream is then over, and what `out`
    /// got before stays valid.
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), StreamFault>;

    /// The provider's stream has ended, whole or cut: ends what is open.
    ///
    /// A stream whose reason to stop has come is ended regularly. One that was cut before that gets
    /// no end that the provider did not give: its open block is closed, and an error event of the
    /// client's format may follow.
    fn finish(&mut self, out: &mut Vec<u8>);
}
