//! The table of fields as JSON Schema (draft 2020-12): a body that fits it is one that the parser
//! reads.
//!
//! It is stricter than the parser in one way: a field that is refused is absent, though the parser
//! lets it pass while it is `null`.

use serde_json::{Map, Value, json};

use super::fields::{Action, Field, Object, Shape, Tally};
use super::inputs::MAX_INPUTS;
use super::leaf::{MAX_CHOICES, MAX_MODALITIES, MAX_MODEL_BYTES};
use crate::domain::usage::MAX_TOKENS;

/// The schemas of a request and of the objects that it is made of, by their names. They refer to
/// each other as `prefix` and a name.
pub fn schemas(root: &'static Object, prefix: &str) -> Map<String, Value> {
    let writer = Writer { prefix };
    let named = |object: &'static Object| (object.name.to_owned(), writer.object(object));
    root.all().into_iter().map(named).collect()
}

struct Writer<'a> {
    prefix: &'a str,
}

impl Writer<'_> {
    fn reference(&self, object: &Object) -> Value {
        json!({"$ref": format!("{}{}", self.prefix, object.name)})
    }

    /// An object; one with a tag is one of several, each with the member that its tag names.
    fn object(&self, object: &Object) -> Value {
        let fields = || object.fields.iter().filter(|field| field.action != Action::Refused);
        let tag = fields().find(|field| matches!(field.shape, Shape::Tag));
        let Some(tag) = tag.map(|field| field.name) else {
            return self.members(object, fields(), &[]);
        };
        let special = |name: &str| object.variants.iter().any(|one| one.members.contains(&name));
        let mut variants: Vec<Value> = object
            .variants
            .iter()
            .map(|one| {
                let its =
                    |field: &&Field| one.members.contains(&field.name) || !special(field.name);
                let required: Vec<&str> = [tag].iter().chain(one.required).copied().collect();
                let mut variant = self.members(object, fields().filter(its), &required);
                if let Some(slot) = variant.pointer_mut(&format!("/properties/{tag}")) {
                    *slot = json!({"const": one.word});
                }
                variant
            })
            .collect();
        if !object.required.contains(&tag) {
            let its = |field: &&Field| {
                object.untagged.is_none_or(|one| one.members.contains(&field.name))
                    || !special(field.name)
            };
            let also = object.untagged.map_or(&[][..], |one| one.required);
            let mut untagged = self.members(object, fields().filter(its), also);
            if let Some(slot) = untagged.pointer_mut(&format!("/properties/{tag}")) {
                *slot = json!({"type": "null"});
            }
            variants.push(untagged);
        }
        json!({"oneOf": variants})
    }

    fn members<'f>(
        &self,
        object: &Object,
        fields: impl Iterator<Item = &'f Field>,
        also_required: &[&str],
    ) -> Value {
        let mut required: Vec<&str> = object.required.to_vec();
        required.extend(also_required.iter().filter(|name| !object.required.contains(name)));
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
            Shape::Text | Shape::Message => json!({"type": "string"}),
            Shape::RunName => json!({"type": "string", "format": "uuid"}),
            Shape::Word(words) => json!({"type": "string", "enum": words}),
            Shape::Only(word) => json!({"type": "string", "enum": [word]}),
            Shape::Words(words) => {
                let items = json!({"type": "string", "enum": words});
                json!({"type": "array", "items": items, "maxItems": words.len()})
            }
            Shape::Off => json!({"const": false}),
            Shape::Tag => json!({"type": "string"}),
            Shape::Number => json!({"type": "number"}),
            Shape::Integer | Shape::Seed => json!({"type": "integer", "format": "int64"}),
            Shape::ImageData => json!({"type": "string", "contentEncoding": "base64"}),
            Shape::CacheMark => json!({"const": "ephemeral"}),
            Shape::Lifetime => json!({"type": "string", "enum": ["5m", "1h"]}),
            Shape::Count | Shape::Budget => {
                json!({"type": "integer", "minimum": 1, "maximum": MAX_TOKENS})
            }
            Shape::Inputs => inputs(),
            Shape::Flag | Shape::Stream | Shape::IncludeUsage | Shape::IncludeCost => {
                json!({"type": "boolean"})
            }
            Shape::Free => json!({"type": "object"}),
            Shape::List => json!({"type": "array"}),
            Shape::Numbers => {
                json!({"type": "object", "additionalProperties": {"type": "number"}})
            }
            Shape::Texts(most) => one_or(json!({"type": "string"}), most),
            Shape::Nested(object) => self.reference(object),
            Shape::Array(object, most) => {
                let least = usize::from(object.tally == Tally::Message);
                let items = self.reference(object);
                json!({"type": "array", "items": items, "minItems": least, "maxItems": most})
            }
            Shape::TextOr(object) => {
                json!({"anyOf": [{"type": "string"}, self.reference(object)]})
            }
            Shape::TextOrArray(object, most) => self.text_or_array(object, most),
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

    fn text_or_array(&self, object: &Object, most: usize) -> Value {
        let mut either = one_or(self.reference(object), most);
        if object.tally == Tally::Message
            && let Some(Value::Object(array)) = either.pointer_mut("/anyOf/1")
        {
            array.insert("minItems".to_owned(), json!(1));
        }
        either
    }
}

/// What is to be embedded.
fn inputs() -> Value {
    let ids = json!({"type": "array", "minItems": 1, "items": {
        "type": "integer", "minimum": 0, "maximum": u32::MAX,
    }});
    let text = json!({"type": "string"});
    let several = |items: &Value| {
        let (least, most) = (1, MAX_INPUTS);
        json!({"type": "array", "minItems": least, "maxItems": most, "items": items})
    };
    json!({"anyOf": [text, several(&text), ids, several(&ids)]})
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
