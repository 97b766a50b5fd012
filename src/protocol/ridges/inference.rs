//! `POST /api/inference`: a chat of plain texts, with tools whose parameters are a flat list.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Asked, Shape, read};
use crate::domain::fault::{Code, Fault};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inference<'a> {
    evaluation_run_id: Option<Cow<'a, str>>,
    run_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<Tool<'a>>>,
    tool_mode: Option<ToolMode>,
    stream: Option<bool>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Vec<Parameter<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter<'a> {
    r#type: ParameterType,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    /// As it was before parameters could be optional.
    #[serde(default = "yes")]
    required: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum ParameterType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum ToolMode {
    None,
    Auto,
    Required,
}

/// The same in OpenAI's chat completions.
#[derive(Serialize)]
struct Chat<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    messages: &'a [Message<'a>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'a [Tool<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolMode>,
}

impl Serialize for Tool<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            description: &'a str,
            parameters: Schema<'a>,
        }

        #[derive(Serialize)]
        struct Schema<'a> {
            r#type: ParameterType,
            properties: Properties<'a>,
            required: Vec<&'a str>,
        }

        let required = self.parameters.iter().filter(|parameter| parameter.required);
        let function = Function {
            name: &self.name,
            description: &self.description,
            parameters: Schema {
                r#type: ParameterType::Object,
                properties: Properties(&self.parameters),
                required: required.map(|parameter| &*parameter.name).collect(),
            },
        };
        let mut tool = serializer.serialize_map(Some(2))?;
        tool.serialize_entry("type", "function")?;
        tool.serialize_entry("function", &function)?;
        tool.end()
    }
}

/// In their order; one that stands there twice is refused with the schema that it makes.
struct Properties<'a>(&'a [Parameter<'a>]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Property<'a> {
            r#type: ParameterType,
            description: &'a str,
        }

        serializer.collect_map(self.0.iter().map(|parameter| {
            let Parameter { r#type, name, description, .. } = parameter;
            (name, Property { r#type: *r#type, description })
        }))
    }
}

/// Reads a request and writes it as a chat. The names of runs stay in it, for the gateway to
/// compare.
///
/// # Errors
/// If it is anything else; the member is named.
pub fn to_chat(body: &[u8]) -> Result<Asked, Fault> {
    let asked: Inference<'_> = read::read(body)?;
    if asked.stream == Some(true) {
        let says = "There are no streams here; leave out `stream`, or use /v1/chat/completions.";
        return Err(Fault::new(Code::ParameterNotAllowed, says).param("stream"));
    }
    let tools = asked.tools.as_deref().unwrap_or_default();
    let says = match (asked.tool_mode, tools) {
        (Some(ToolMode::Required), []) => "With the tool_mode `required`, name a tool in `tools`.",
        (Some(ToolMode::None), [_, ..]) => "With the tool_mode `none`, leave out `tools`.",
        _ => "",
    };
    if !says.is_empty() {
        return Err(Fault::new(Code::InvalidRequest, says).param("tool_mode"));
    }
    let chat = Chat {
        evaluation_run_id: asked.evaluation_run_id.as_deref(),
        run_id: asked.run_id.as_deref(),
        model: &asked.model,
        temperature: asked.temperature,
        messages: &asked.messages,
        tools,
        // Providers refuse a choice among no tools.
        tool_choice: asked.tool_mode.filter(|_| !tools.is_empty()),
    };
    Ok(Asked {
        shape: Shape::of(chat.evaluation_run_id, chat.run_id),
        // Strings always serialise; the fallback is refused as a body without a model.
        body: serde_json::to_vec(&chat).unwrap_or_else(|_| b"{}".to_vec()),
    })
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Content>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Called>>,
}

/// A text, or the parts of one, among which thinking has none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Called {
    function: CalledFunction,
}

#[derive(Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Serialize)]
struct Answer {
    content: String,
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize)]
struct ToolCall {
    name: String,
    arguments: Vec<Argument>,
}

#[derive(Serialize)]
struct Argument {
    name: String,
    value: Box<RawValue>,
}

/// The members of the object that a model wrote, in its order and with its digits.
struct Arguments(Vec<Argument>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arguments, A::Error> {
                let mut found = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    found.push(Argument { name, value });
                }
                Ok(Arguments(found))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Called {
    fn told(self) -> Option<ToolCall> {
        let CalledFunction { name, arguments } = self.function;
        // Some models write nothing where there is nothing to say.
        let arguments = match arguments.trim() {
            "" => Vec::new(),
            arguments => serde_json::from_str::<Arguments>(arguments).ok()?.0,
        };
        Some(ToolCall { name, arguments })
    }
}

/// An answer of OpenAI's chat in the shape that was asked; `None` if it has no message, or if the
/// arguments of a call that the model wrote are no object.
pub fn inference_answer(body: &[u8], shape: Shape) -> Option<Vec<u8>> {
    let completion: Completion = serde_json::from_slice(body).ok()?;
    let said = completion.choices.into_iter().next()?.message;
    let content = match said.content {
        Some(Content::Text(text)) => Some(text),
        Some(Content::Parts(parts)) => Some(parts.into_iter().map(|part| part.text).collect()),
        None => None,
    };
    let content = content.or(said.refusal).unwrap_or_default();
    if shape == Shape::Bare {
        return serde_json::to_vec(&content).ok();
    }
    let calls = said.tool_calls.into_iter().flatten();
    let tool_calls = calls.map(Called::told).collect::<Option<Vec<_>>>()?;
    serde_json::to_vec(&Answer { content, tool_calls }).ok()
}

/// The JSON Schema of a request.
pub fn inference_schema() -> Value {
    let text = || json!({"type": "string"});
    let object = |required: Value, properties: Value| {
        json!({
            "type": "object",
            "required": required,
            "additionalProperties": false,
            "properties": properties,
        })
    };
    let message = object(json!(["role", "content"]), json!({"role": text(), "content": text()}));
    let types = ["array", "boolean", "integer", "number", "object", "string"];
    let parameter = object(
        json!(["type", "name", "description"]),
        json!({
            "type": {"type": "string", "enum": types},
            "name": text(),
            "description": text(),
            "required": {"type": "boolean", "default": true},
        }),
    );
    let tool = object(
        json!(["name", "description", "parameters"]),
        json!({
            "name": text(),
            "description": text(),
            "parameters": {"type": "array", "items": parameter},
        }),
    );
    object(
        json!(["model", "messages"]),
        json!({
            "evaluation_run_id": {"type": ["string", "null"], "format": "uuid"},
            "run_id": {"type": ["string", "null"], "format": "uuid"},
            "model": text(),
            "temperature": {"type": ["number", "null"]},
            "messages": {"type": "array", "items": message},
            "tools": {"type": ["array", "null"], "items": tool},
            "tool_mode": {"enum": ["none", "auto", "required", null]},
            "stream": {"enum": [false, null]},
        }),
    )
}
