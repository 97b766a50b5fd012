//! The wire formats, and what requests in them are made of.

use super::request::fields::Object;
use super::{chat, embeddings, messages};

pub use crate::providers::Format;

impl Format {
    /// What requests in it are made of.
    pub fn table(self) -> &'static Object {
        match self {
            Self::Chat => &chat::TABLE,
            Self::Embeddings => &embeddings::TABLE,
            Self::Messages => &messages::TABLE,
        }
    }
}
