//! The table of fields: what of a request is passed, bounded, forced or refused.
//!
//! The parser is driven by these rows, so the documentation made from them cannot differ from it.
//! A field without a row is refused by name.

use std::fmt::Write;

use super::table;

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It reaches the provider as it came.
    Passed,
    /// It reaches the provider lowered to what was reserved.
    Bounded,
    /// The gateway decides; what the client gave is checked and taken out.
    Forced,
    /// The request is refused, unless the value is `null`.
    Refused,
}

impl Action {
    /// The word in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Bounded => "bounded",
            Self::Forced => "forced",
            Self::Refused => "refused",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The path of the object that it is a member of, as `messages[].`; empty at the top.
    pub at: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What happens to it.
    pub action: Action,
    /// What to know about it; for a refused field why.
    pub note: &'static str,
    pub(super) shape: Shape,
    pub(super) counts: Counts,
}

impl Field {
    /// The whole path, as `messages[].content`.
    pub fn path(&self) -> String {
        format!("{}{}", self.at, self.name)
    }
}

/// Every row, in the order of the documentation.
pub fn table() -> impl Iterator<Item = &'static Field> {
    Place::ALL.into_iter().flat_map(Place::fields)
}

/// The table for the documentation.
pub fn markdown() -> String {
    let mut text = String::from("| field | | note |\n|---|---|---|\n");
    for field in table() {
        let (path, action) = (field.path(), field.action.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{path}` | {action} | {} |", field.note);
    }
    text
}

/// How a field's bytes become input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Not at all, or by a constant of the model.
    No,
    /// As the text that it decodes to.
    Text,
    /// As a structure, which the provider renders in its own way.
    Structure,
}

/// What a field's value must look like, and what is done with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Refused,
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, which names the member that carries the rest.
    Tag(&'static [&'static str]),
    Number,
    Integer,
    Flag,
    /// Any JSON object.
    Free,
    /// Any JSON array.
    List,
    /// An object of numbers.
    Numbers,
    /// One string, or at most this many.
    Texts(usize),
    Object(Place),
    /// An array of at most this many objects.
    Array(Place, usize),
    /// A string or an object.
    TextOr(Place),
    /// A message's content.
    Content,
    ImageUrl,
    /// Nothing, or an empty array.
    Empty,
    Model,
    Stream,
    IncludeUsage,
    Choices,
    Limit,
    Seed,
    Store,
    Tier,
    Modalities,
    Metadata,
    RunName,
}

/// The objects that a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    StreamOptions,
    Message,
    Part,
    ImageUrl,
    ToolCall,
    CalledFunction,
    CalledCustom,
    LegacyCall,
    Tool,
    Function,
    Custom,
    LegacyFunction,
    ToolChoice,
    ChosenName,
    AllowedTools,
    AllowedTool,
    AllowedName,
    LegacyChoice,
}

impl Place {
    pub(super) const ALL: [Self; 19] = [
        Self::Top,
        Self::StreamOptions,
        Self::Message,
        Self::Part,
        Self::ImageUrl,
        Self::ToolCall,
        Self::CalledFunction,
        Self::CalledCustom,
        Self::LegacyCall,
        Self::Tool,
        Self::Function,
        Self::Custom,
        Self::LegacyFunction,
        Self::ToolChoice,
        Self::ChosenName,
        Self::AllowedTools,
        Self::AllowedTool,
        Self::AllowedName,
        Self::LegacyChoice,
    ];

    /// The rows of this object.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Top => &table::TOP,
            Self::StreamOptions => &table::STREAM_OPTIONS,
            Self::Message => &table::MESSAGE,
            Self::Part => &table::PART,
            Self::ImageUrl => &table::IMAGE_URL,
            Self::ToolCall => &table::TOOL_CALL,
            Self::CalledFunction => &table::CALLED_FUNCTION,
            Self::CalledCustom => &table::CALLED_CUSTOM,
            Self::LegacyCall => &table::LEGACY_CALL,
            Self::Tool => &table::TOOL,
            Self::Function => &table::FUNCTION,
            Self::Custom => &table::CUSTOM,
            Self::LegacyFunction => &table::LEGACY_FUNCTION,
            Self::ToolChoice => &table::TOOL_CHOICE,
            Self::ChosenName => &table::CHOSEN_NAME,
            Self::AllowedTools => &table::ALLOWED_TOOLS,
            Self::AllowedTool => &table::ALLOWED_TOOL,
            Self::AllowedName => &table::ALLOWED_NAME,
            Self::LegacyChoice => &table::LEGACY_CHOICE,
        }
    }

    /// The members that must be there and not null.
    pub(super) const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Top => &["model", "messages"],
            Self::Message => &["role"],
            Self::Part | Self::Tool | Self::ToolChoice | Self::AllowedTool => &["type"],
            Self::ImageUrl => &["url"],
            Self::StreamOptions
            | Self::ToolCall
            | Self::CalledFunction
            | Self::CalledCustom
            | Self::LegacyCall
            | Self::Function
            | Self::Custom
            | Self::LegacyFunction
            | Self::ChosenName
            | Self::AllowedTools
            | Self::AllowedName
            | Self::LegacyChoice => &[],
        }
    }
}
