/// A wire format that calls are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Embeddings, Self::Messages];

    /// The path of its endpoint below a provider's base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
        }
    }
}
