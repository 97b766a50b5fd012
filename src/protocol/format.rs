//! The wire formats, and what requests in them are made of.

use super::request::fields::Object;
use super::{chat, embeddings, error, messages, responses};
use crate::domain::fault::Fault;

pub use crate::providers::Format;

impl Format {
    /// What requests in it are made of.
    pub fn table(self) -> &'static Object {
        match self {
            Self::Chat => &chat::TABLE,
            Self::Embeddings => &embeddings::TABLE,
            Self::Messages => &messages::TABLE,
            Self::Responses => &responses::TABLE,
        }
    }

    /// The body of an error answer, as clients of this format read it; `status` is its status.
    pub fn error_body(self, fault: &Fault, status: u16, request_id: &str) -> Vec<u8> {
        match self {
            Self::Chat | Self::Embeddings | Self::Responses => error::body(fault, request_id),
            Self::Messages => messages::error::body(fault, status, request_id),
        }
    }

    /// An error inside a stream that has begun.
    pub fn error_event(self, fault: &Fault, request_id: &str) -> Vec<u8> {
        match self {
            Self::Chat | Self::Embeddings => error::event(fault, request_id),
            Self::Messages => messages::error::event(fault, fault.code().status(), request_id),
            Self::Responses => responses::error_event(fault, request_id),
        }
    }
}
