//! The wire formats.

use super::chat;
use super::request::fields::Object;

/// A wire format that calls are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions.
    Chat,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 1] = [Self::Chat];

    /// What requests in it are made of.
    pub fn table(self) -> &'static Object {
        match self {
            Self::Chat => &chat::TABLE,
        }
    }
}
