//! The members that a body may have: one table for reading it and for describing it.

use serde_json::{Map, Value, json};

use crate::domain::organization::MAX_IDENTITY_BYTES;
use crate::domain::run::RunState;
use crate::protocol::translate::forced::{PARAMETERS, Values};
use crate::providers::REGISTRY;

/// One member.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    /// Whether it may be `null`: the same as to leave it out, unless `about` says otherwise.
    pub(super) nullable: bool,
    pub(super) about: &'static str,
}

/// What a member may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Uuid,
    /// Dollars: decimal text, or a number that is read as the text that it is.
    Usd,
    /// One of these states.
    State(&'static [RunState]),
    Count(Range),
    Flag,
    Instant,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Between one and so many strings.
    Names(usize),
    /// What something is called, in at most so many bytes.
    Label(usize),
    /// What somebody signs in with, in at most so many bytes.
    SignIn(usize),
    /// A name in a client's certificate.
    CertificateName,
    /// A secret of between so many characters and so many bytes.
    Password(usize, usize),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// An object of these members.
    Object(&'static [Member]),
    /// At most so many objects of these members.
    Objects(&'static [Member], usize),
    /// An object of at most so many bytes.
    Notes(usize),
    /// A string of at most so many bytes.
    Text(usize),
    /// An object of at most so many strings.
    Aliases(usize),
    /// Parameters that can be forced.
    Parameters,
    /// The name of a provider.
    Provider,
}

/// What a number may be.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Range {
    pub(super) const fn new(least: u64, most: u64) -> Self {
        Self { least, most }
    }
}

/// A member that may be left out or be `null`.
pub(super) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, required: false, nullable: true, about }
}

/// A member that may be left out, and is not `null`.
pub(super) const fn not_null(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, required: false, nullable: false, about }
}

/// The schema of an object of these members.
pub(super) fn schema(members: &[Member]) -> Value {
    let required = members.iter().filter(|member| member.required).map(|member| member.name);
    let properties = members.iter().map(|member| (member.name.to_owned(), member.schema()));
    json!({
        "type": "object",
        "properties": properties.collect::<Map<String, Value>>(),
        "required": required.collect::<Vec<&str>>(),
        "additionalProperties": false,
    })
}

impl Member {
    fn schema(&self) -> Value {
        let value = self.kind.schema();
        let null = self.nullable.then(|| json!({"type": "null"}));
        let one_of: Vec<Value> = std::iter::once(value).chain(null).collect();
        json!({"description": self.about, "anyOf": one_of})
    }
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::Usd => {
                let text = r"^[0-9]{1,10}(\.[0-9]{1,18})?$";
                json!({"anyOf": [
                    {"type": "string", "pattern": text},
                    {"type": "number", "minimum": 0, "exclusiveMaximum": 10_000_000_000_u64},
                ]})
            }
            Self::State(states) => {
                let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
                json!({"type": "string", "enum": words})
            }
            Self::Count(Range { least, most }) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::Flag => json!({"type": "boolean"}),
            Self::Instant => json!({"type": "string", "format": "date-time"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Names(most) => {
                let name = json!({"type": "string"});
                json!({"type": "array", "items": name, "minItems": 1, "maxItems": most})
            }
            Self::Label(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
            Self::CertificateName => json!({
                "type": "string",
                "pattern": "^(san:(dns|uri|email)|subject):[^\\u0000-\\u001f\\u007f-\\u009f]+$",
                "maxLength": MAX_IDENTITY_BYTES,
            }),
            Self::SignIn(most) => {
                json!({"type": "string", "pattern": "^[A-Za-z0-9._@+-]+$", "maxLength": most})
            }
            Self::Password(least, most) => {
                json!({"type": "string", "minLength": least, "maxLength": most})
            }
            Self::Words(words) => {
                let word = json!({"type": "string", "enum": words});
                json!({"type": "array", "items": word, "minItems": 1, "maxItems": words.len()})
            }
            Self::Object(members) => schema(members),
            Self::Objects(members, most) => {
                json!({"type": "array", "items": schema(members), "maxItems": most})
            }
            Self::Notes(most) => {
                json!({"type": "object", "description": format!("At most {most} bytes.")})
            }
            Self::Text(most) => json!({"type": "string", "maxLength": most}),
            Self::Aliases(most) => {
                let name = json!({"type": "string", "minLength": 1});
                json!({"type": "object", "additionalProperties": name, "maxProperties": most})
            }
            Self::Provider => {
                let names: Vec<&str> = REGISTRY.iter().map(|known| known.name).collect();
                json!({"type": "string", "enum": names})
            }
            Self::Parameters => {
                let known = PARAMETERS.iter();
                let known = known.map(|known| (known.name.to_owned(), values(known.values)));
                json!({
                    "type": "object",
                    "properties": known.collect::<Map<String, Value>>(),
                    "additionalProperties": false,
                })
            }
        }
    }
}

/// What a forced parameter may be.
fn values(values: Values) -> Value {
    match values {
        Values::Number(least, most) => {
            json!({"type": "number", "minimum": least, "maximum": most})
        }
        Values::Whole(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Values::Word(words) => json!({"type": "string", "enum": words}),
    }
}
