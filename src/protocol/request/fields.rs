//! The table of fields: what of a request is passed, bounded, forced or refused.
//!
//! The parser is driven by these rows, so the documentation made from them cannot differ from it.
//! A field without a row is refused by name.

use std::fmt::Write;

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
    pub(in crate::protocol) shape: Shape,
    pub(in crate::protocol) counts: Counts,
}

impl Field {
    /// A member of the request itself, which counts as no input.
    pub(in crate::protocol) const fn top(
        name: &'static str,
        action: Action,
        shape: Shape,
        note: &'static str,
    ) -> Self {
        Self { at: "", name, action, note, shape, counts: Counts::No }
    }

    /// The same, whose value becomes input.
    pub(in crate::protocol) const fn counted(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// The whole path, as `messages[].content`.
    pub fn path(&self) -> String {
        format!("{}{}", self.at, self.name)
    }
}

/// The table of a format for its documentation.
pub fn markdown(root: &'static Object) -> String {
    let mut text = String::from("| field | | note |\n|---|---|---|\n");
    for field in root.rows() {
        let (path, action) = (field.path(), field.action.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{path}` | {action} | {} |", field.note);
    }
    text
}

/// How a field's bytes become input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Counts {
    /// Not at all, or by a constant of the model.
    No,
    /// As the text that it decodes to.
    Text,
    /// As a structure, which the provider renders in its own way.
    Structure,
    /// As the numbers in it, each of which is a token.
    Ids,
    /// As its bytes, whatever the vocabulary: only the provider can read it.
    Opaque,
}

/// What a field's value must look like, and what is done with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) enum Shape {
    Refused,
    Text,
    /// A string that is a message of its own.
    Message,
    /// One of these words.
    Word(&'static [&'static str]),
    /// This word; any other is refused for the reason in the row's note.
    Only(&'static str),
    /// An array of these words; any other is refused for the reason in the row's note.
    Words(&'static [&'static str]),
    /// `false`; `true` is refused for the reason in the row's note.
    Off,
    /// The word of one of the object's variants.
    Tag,
    Number,
    Integer,
    /// A whole number from 1.
    Count,
    Flag,
    /// Any JSON object.
    Free,
    /// Any JSON array.
    List,
    /// An object of numbers.
    Numbers,
    /// One string, or at most this many.
    Texts(usize),
    /// What is to be embedded: texts or token ids, each counted.
    Inputs,
    Nested(&'static Object),
    /// An array of at most this many objects.
    Array(&'static Object, usize),
    /// A string or an object.
    TextOr(&'static Object),
    /// A string, or an array of at most this many objects.
    TextOrArray(&'static Object, usize),
    ImageUrl,
    /// The base64 of an image.
    ImageData,
    /// A mark that what stands before it is to be written to a cache.
    CacheMark,
    /// How long a cache keeps what is written to it.
    Lifetime,
    /// What a thinking model may spend on it, in tokens.
    Budget,
    /// Nothing, or an empty array.
    Empty,
    Model,
    Stream,
    IncludeUsage,
    /// Whether the usage tells its cost.
    IncludeCost,
    Choices,
    Limit,
    Seed,
    Store,
    Tier,
    Modalities,
    Metadata,
    RunName,
}

/// What elements of an array of such objects are counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Tally {
    /// Parts, tool calls and whatever else there may be many of.
    Item,
    /// Messages. There must be one; a string in place of their array is one too.
    Message,
    /// Tools.
    Tool,
}

/// One of the forms of an object, chosen by its [`Shape::Tag`].
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Variant {
    /// The tag.
    pub(in crate::protocol) word: &'static str,
    /// The members that it may have besides those of all variants.
    pub(in crate::protocol) members: &'static [&'static str],
    /// Those of them that it must have.
    pub(in crate::protocol) required: &'static [&'static str],
}

/// An object that requests of a format are made of.
#[derive(Debug)]
pub struct Object {
    /// The name of its schema.
    pub name: &'static str,
    pub(in crate::protocol) fields: &'static [Field],
    /// The members that must be there and not null.
    pub(in crate::protocol) required: &'static [&'static str],
    pub(in crate::protocol) variants: &'static [Variant],
    /// What it is without a tag; `None` if it may then be anything.
    pub(in crate::protocol) untagged: Option<&'static Variant>,
    pub(in crate::protocol) tally: Tally,
}

impl Object {
    pub(in crate::protocol) const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields, required: &[], variants: &[], untagged: None, tally: Tally::Item }
    }

    pub(in crate::protocol) const fn requiring(self, required: &'static [&'static str]) -> Self {
        Self { required, ..self }
    }

    pub(in crate::protocol) const fn tagged(self, variants: &'static [Variant]) -> Self {
        Self { variants, ..self }
    }

    pub(in crate::protocol) const fn otherwise(self, untagged: &'static Variant) -> Self {
        Self { untagged: Some(untagged), ..self }
    }

    pub(in crate::protocol) const fn tallied(self, tally: Tally) -> Self {
        Self { tally, ..self }
    }

    /// The rows of this object and of those below it, in the order of the documentation.
    pub fn rows(&'static self) -> impl Iterator<Item = &'static Field> {
        self.all().into_iter().flat_map(|object| object.fields)
    }

    /// This object and those below it, each once.
    pub(in crate::protocol) fn all(&'static self) -> Vec<&'static Self> {
        let mut found = Vec::new();
        self.add_all(&mut found);
        found
    }

    fn add_all(&'static self, found: &mut Vec<&'static Self>) {
        if found.iter().any(|known| std::ptr::eq(*known, self)) {
            return;
        }
        found.push(self);
        for below in self.fields.iter().filter_map(|field| field.shape.below()) {
            below.add_all(found);
        }
    }

    /// The words of its variants.
    pub(in crate::protocol) fn words(&self) -> impl Iterator<Item = &'static str> {
        self.variants.iter().map(|variant| variant.word)
    }
}

impl Variant {
    /// The variant that has the member that its tag names.
    pub(in crate::protocol) const fn named(name: &'static [&'static str; 1]) -> Self {
        let [word] = *name;
        Self { word, members: name, required: name }
    }
}

impl Shape {
    /// The objects that a value of this shape is made of.
    const fn below(self) -> Option<&'static Object> {
        match self {
            Self::Nested(object)
            | Self::Array(object, _)
            | Self::TextOr(object)
            | Self::TextOrArray(object, _) => Some(object),
            _ => None,
        }
    }
}
