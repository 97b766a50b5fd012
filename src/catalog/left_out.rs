//! Why a row of a price map is left out.

/// Why a row is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// Somebody else serves it.
    #[error("the provider {0} is not known here")]
    Provider(String),
    /// It makes neither messages nor vectors.
    #[error("the mode {0} is not served")]
    Mode(String),
    /// A price is missing.
    #[error("no price: `{0}` is missing")]
    Unpriced(&'static str),
    /// It would cost nothing, so that no cap would hold it.
    #[error("no price: `input_cost_per_token` is 0")]
    Free,
    /// How much it takes or gives is not told.
    #[error("no bound: `{0}` is missing or no number of tokens")]
    Unbounded(&'static str),
    /// A price that is no decimal number, or one that would not stay exact.
    #[error("`{field}` {text} is no price that stays exact")]
    Inexact {
        /// Which.
        field: String,
        /// The price.
        text: String,
    },
    /// A price of something that is not told apart here.
    #[error("`{0}` is a price of a class that is not known here")]
    Class(String),
    /// Steps other than one for long requests.
    #[error("`tiered_pricing` has steps that are not known here")]
    Tiers,
    /// Each of its searches is charged besides.
    #[error("each of its searches is charged besides")]
    Searches,
    /// It stands for the fine-tuned models of a customer.
    #[error("it stands for models of a customer, which have names of their own")]
    FineTuned,
    /// It is a price of a region.
    #[error("it is the price of a region, not the name of a model")]
    Region,
    /// The key is there twice.
    #[error("the map has this key twice")]
    Twice,
    /// Another row names the model with its provider.
    #[error("another row of the map names the model together with its provider")]
    Bare,
    /// Not an object, or one without these members.
    #[error("it is no row of a price map")]
    Malformed,
    /// The catalogue has the same id for something else.
    #[error("the catalogue has this model for something else")]
    OtherKind,
    /// A rule of catalogues.
    #[error("{0}")]
    Refused(String),
}

impl LeftOut {
    /// In which sum it is counted.
    pub const fn group(&self) -> &'static str {
        match self {
            Self::Provider(_) => "of other providers",
            Self::Mode(_) => "of other modes",
            Self::Unpriced(_) | Self::Free => "without a price",
            Self::Unbounded(_) => "without a bound",
            Self::Inexact { .. } => "with prices that are not exact",
            Self::Class(_) | Self::Tiers | Self::Searches => "with prices of other classes",
            Self::FineTuned | Self::Region | Self::Bare => "that name no model",
            Self::Twice | Self::Malformed | Self::OtherKind | Self::Refused(_) => "that are wrong",
        }
    }
}
