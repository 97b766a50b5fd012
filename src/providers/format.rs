/// A wire format that calls are made in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions.
    #[default]
    Chat,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Embeddings, Self::Messages, Self::Responses];

    /// The path of its endpoint below a provider's base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
            Self::Responses => "/responses",
        }
    }
}
