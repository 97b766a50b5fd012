//! The table of fields as JSON Schema (draft 2020-12): a body that fits it is one that the parser
//! reads.
//!
//! It is stricter than the parser in one way: a field that is refused is absent, though the parser
//! lets it pass while it is `null`.

use serde_json::{Map, Value, json};

use super::fields::{Action, Field, Place, Shape};
use super::leaf::{MAX_CHOICES, MAX_MODALITIES, MAX_MODEL_BYTES};
use super::parse::MAX_PARTS;
use crate::domain::usage::MAX_TOKENS;

/// The name of the schema of a whole request.
pub const REQUEST: &str = "ChatRequest";

/// The schemas of a request and of the objects that it is made of, by their names. They refer to
/// each other as `prefix` and a name.
pub fn schemas(prefix: &str) -> Map<String, Value> {
    let writer = Writer { prefix };
    Place::ALL.into_iter().map(|place| (name(place), writer.object(place))).collect()
}

fn name(place: Place) -> String {
    match place {
        Place::Top => REQUEST.to_owned(),
        place => format!("Chat{place:?}"),
    }
}

struct Writer<'a> {
    prefix: &'a str,
}

impl Writer<'_> {
    fn reference(&self, place: Place) -> Value {
        json!({"$ref": format!("{}{}", self.prefix, name(place))})
    }

    /// An object; one with a tag is one of several, each with the member that its tag names.
    fn object(&self, place: Place) -> Value {
        let fields = || place.fields().iter().filter(|field| field.action != Action::Refused);
        let tag = fields().find_map(|field| match field.shape {
            Shape::Tag(words) => Some((field.name, words)),
            _ => None,
        });
        let Some((tag, words)) = tag else {
            return self.members(place, fields(), &[]);
        };
        let mut variants: Vec<Value> = words
            .iter()
            .map(|word| {
                let others = |field: &&Field| field.name == *word || !words.contains(&field.name);
                let mut variant = self.members(place, fields().filter(others), &[tag, word]);
                if let Some(slot) = variant.pointer_mut(&format!("/properties/{tag}")) {
                    *slot = json!({"const": word});
                }
                variant
            })
            .collect();
        if !place.required().contains(&tag) {
            let mut untagged = self.members(place, fields(), &[]);
            if let Some(slot) = untagged.pointer_mut(&format!("/properties/{tag}")) {
                *slot = json!({"type": "null"});
            }
            variants.push(untagged);
        }
        json!({"oneOf": variants})
    }

    fn members<'f>(
        &self,
        place: Place,
        fields: impl Iterator<Item = &'f Field>,
        also_required: &[&'static str],
    ) -> Value {
        let mut required: Vec<&str> = place.required().to_vec();
        required.extend(also_required.iter().filter(|name| !place.required().contains(name)));
        let properties: Map<String, Value> = fields
            .map(|field| {
                let value = self.value(field.shape);
                let optional = !required.contains(&field.name);
                let mut value = if optional { nullable(value) } else { value };
                if let Some(members) = value.as_object_mut() {
                    members.insert("x-rungate-action".to_owned(), field.action.as_str().into());
                    if !field.note.is_empty() {
                        members.insert("description".to_owned(), field.note.into());
                    }
                }
                (field.name.to_owned(), value)
            })
            .collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    fn value(&self, shape: Shape) -> Value {
        match shape {
            // Left out by the caller; nothing fits it.
            Shape::Refused => json!({"not": {}}),
            Shape::Text => json!({"type": "string"}),
            Shape::RunName => json!({"type": "string", "format": "uuid"}),
            Shape::Word(words) | Shape::Tag(words) => json!({"type": "string", "enum": words}),
            Shape::Number => json!({"type": "number"}),
            Shape::Integer | Shape::Seed => json!({"type": "integer", "format": "int64"}),
            Shape::Flag | Shape::Stream | Shape::IncludeUsage => json!({"type": "boolean"}),
            Shape::Free => json!({"type": "object"}),
            Shape::List => json!({"type": "array"}),
            Shape::Numbers => {
                json!({"type": "object", "additionalProperties": {"type": "number"}})
            }
            Shape::Texts(most) => one_or(json!({"type": "string"}), most),
            Shape::Object(place) => self.reference(place),
            Shape::Array(place, most) => {
                let least = usize::from(place == Place::Message);
                let items = self.reference(place);
                json!({"type": "array", "items": items, "minItems": least, "maxItems": most})
            }
            Shape::TextOr(place) => json!({"anyOf": [{"type": "string"}, self.reference(place)]}),
            Shape::Content => one_or(self.reference(Place::Part), MAX_PARTS),
            Shape::ImageUrl => {
                let pattern = "^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}$";
                json!({"type": "string", "pattern": pattern})
            }
            Shape::Empty => json!({"type": "array", "maxItems": 0}),
            Shape::Model => {
                json!({"type": "string", "minLength": 1, "maxLength": MAX_MODEL_BYTES})
            }
            Shape::Choices => json!({"type": "integer", "minimum": 1, "maximum": MAX_CHOICES}),
            Shape::Limit => json!({"type": "integer", "minimum": 1, "maximum": MAX_TOKENS}),
            Shape::Store => json!({"const": false}),
            Shape::Tier => json!({"type": "string", "enum": ["auto", "default"]}),
            Shape::Modalities => {
                json!({"type": "array", "items": {"const": "text"}, "maxItems": MAX_MODALITIES})
            }
            Shape::Metadata => {
                let run_id = json!({"type": ["string", "null"], "format": "uuid"});
                json!({"type": "object", "properties": {"run_id": run_id}})
            }
        }
    }
}

/// A string, or an array of at most so many items.
fn one_or(items: Value, most: usize) -> Value {
    let array = json!({"type": "array", "items": items, "maxItems": most});
    json!({"anyOf": [{"type": "string"}, array]})
}

fn nullable(mut value: Value) -> Value {
    let plain = value.get("type").and_then(Value::as_str).map(str::to_owned);
    match (plain, value.as_object_mut()) {
        (Some(kind), Some(members)) if !members.contains_key("enum") => {
            members.insert("type".to_owned(), json!([kind, "null"]));
            value
        }
        _ => json!({"anyOf": [value, {"type": "null"}]}),
    }
}
