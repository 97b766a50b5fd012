//! Calls of the tools that a request offers: which, and with what arguments; and values of schemas.
//!
//! Values satisfy the `required` properties of the tool's schema by their simple type, and
//! nothing more. It does not know any tool, nor what a call of it would do.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::plan::Refusal;
use super::request::{ChatRequest, Text};
use super::words::Numbers;

const MAX_DEPTH: u32 = 16;

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

/// A function that the client offers.
#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    function: Option<FunctionName<'a>>,
}

#[derive(Deserialize)]
struct FunctionName<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
struct Schema<'a> {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    #[serde(rename = "enum", borrow)]
    options: Option<Vec<&'a RawValue>>,
    #[serde(rename = "const", borrow)]
    constant: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<BTreeMap<String, &'a RawValue>>,
    required: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    One(String),
    Many(Vec<String>),
}

/// The function to call, if the request wants one called.
///
/// # Errors
/// When the tools are malformed, or a function is chosen that is not offered.
pub(super) fn chosen<'a>(
    request: &ChatRequest<'a>,
    asks_tool: bool,
) -> Result<Option<Function<'a>>, Refusal> {
    let Some(tools) = request.tools else {
        return Ok(None);
    };
    let choice = request.tool_choice.map_or("\"auto\"", RawValue::get);
    let wanted = match choice {
        "\"none\"" => return Ok(None),
        "\"auto\"" if !asks_tool => return Ok(None),
        "\"auto\"" | "\"required\"" => None,
        choice => {
            let named: Named<'_> = serde_json::from_str(choice).map_err(|error| {
                Refusal::invalid(Some("tool_choice"), format!("Invalid 'tool_choice': {error}."))
            })?;
            match named.function {
                None if !asks_tool => return Ok(None),
                name => name.map(|function| function.name),
            }
        }
    };
    let tools: Vec<Tool<'a>> = serde_json::from_str(tools.get())
        .map_err(|error| Refusal::invalid(Some("tools"), format!("Invalid 'tools': {error}.")))?;
    let mut functions = tools.into_iter().filter_map(|tool| tool.function);
    let Some(wanted) = wanted else {
        return Ok(functions.next());
    };
    let found = functions.find(|function| function.name.0 == wanted.0);
    found.map(Some).ok_or_else(|| {
        let message = format!("Invalid 'tool_choice': no tool is named '{}'.", wanted.0);
        Refusal::invalid(Some("tool_choice"), message)
    })
}

/// Arguments for `function`, as JSON text.
pub(super) fn arguments(function: &Function<'_>, numbers: &mut Numbers) -> String {
    let mut out = String::new();
    let schema = function.parameters.map_or_else(Schema::default, schema);
    write_object(&schema, numbers, &mut out, 0);
    out
}

/// A value of the schema `raw`, as JSON text.
pub(super) fn value(raw: &RawValue, numbers: &mut Numbers) -> String {
    let mut out = String::new();
    write_value(Some(raw), numbers, &mut out, 0);
    out
}

/// A schema, or one that asks for nothing when it is of a shape that is not understood.
fn schema(raw: &RawValue) -> Schema<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn write_object(schema: &Schema<'_>, numbers: &mut Numbers, out: &mut String, depth: u32) {
    out.push('{');
    let required = schema.required.as_deref().unwrap_or_default();
    for (index, name) in required.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        super::wire::push_string(out, name);
        out.push(':');
        let property = schema.properties.as_ref().and_then(|all| all.get(name));
        write_value(property.copied(), numbers, out, depth + 1);
    }
    out.push('}');
}

fn write_value(raw: Option<&RawValue>, numbers: &mut Numbers, out: &mut String, depth: u32) {
    let schema = raw.map_or_else(Schema::default, schema);
    let option = schema.options.as_ref().and_then(|options| options.first());
    if let Some(value) = schema.constant.or(option.copied()) {
        out.push_str(value.get());
        return;
    }
    let kind = match &schema.kind {
        Some(Kind::One(kind)) => kind.as_str(),
        Some(Kind::Many(kinds)) => kinds.first().map_or("string", String::as_str),
        None if schema.properties.is_some() => "object",
        None => "string",
    };
    // Writing to a String cannot fail.
    let _ = match kind {
        "integer" => write!(out, "{}", 1 + numbers.below(100)),
        "number" => write!(out, "{}.5", numbers.below(100)),
        "boolean" => write!(out, "true"),
        "null" => write!(out, "null"),
        "array" => write!(out, "[]"),
        "object" if depth >= MAX_DEPTH => write!(out, "{{}}"),
        "object" => {
            write_object(&schema, numbers, out, depth);
            Ok(())
        }
        _ => write!(out, "\"{}\"", numbers.word()),
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TOOLS: &str = r#"[{"type":"function","function":{"name":"a"}},
        {"type":"function","function":{"name":"b","parameters":{"type":"object","properties":{
        "city":{"type":"string"},"days":{"type":"integer"},"ratio":{"type":["number","null"]},
        "deep":{"type":"object","properties":{"on":{"type":"boolean"}},"required":["on"]},
        "list":{"type":"array"},"unit":{"enum":["c","f"]},"odd":true,"left":{"type":"string"}},
        "required":["city","days","ratio","deep","list","unit","odd","unknown"]}}}]"#;

    fn name(rest: &str, asks_tool: bool) -> Result<Option<String>, ()> {
        let body = format!("{{\"model\":\"m\",\"messages\":[]{rest}}}");
        let request = ChatRequest::parse(body.as_bytes()).map_err(|_| ())?;
        let function = chosen(&request, asks_tool).map_err(|_| ())?;
        Ok(function.map(|function| function.name.0.into_owned()))
    }

    #[test]
    fn a_tool_is_called_when_the_request_wants_it() {
        let check = |choice: &str, asks: bool, expected: Result<Option<&str>, ()>| {
            let found = name(&format!(",\"tools\":{TOOLS}{choice}"), asks);
            assert_eq!(found, expected.map(|name| name.map(str::to_owned)), "{choice} {asks}");
        };
        check("", false, Ok(None));
        check("", true, Ok(Some("a")));
        check(",\"tool_choice\":\"auto\"", true, Ok(Some("a")));
        check(",\"tool_choice\":\"none\"", true, Ok(None));
        check(",\"tool_choice\":\"required\"", false, Ok(Some("a")));
        let named = ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"b\"}}";
        check(named, false, Ok(Some("b")));
        check(&named.replace("\"b\"", "\"c\""), false, Err(()));
        check(",\"tool_choice\":5", false, Err(()));
        assert_eq!(name("", true), Ok(None));
    }

    #[test]
    fn arguments_have_the_required_properties_of_their_types() {
        let tools: Vec<Tool<'_>> = serde_json::from_str(TOOLS).unwrap();
        let functions: Vec<_> = tools.into_iter().filter_map(|tool| tool.function).collect();
        let [a, b] = functions.as_slice() else {
            return assert_eq!(functions.len(), 2);
        };
        assert_eq!(arguments(a, &mut Numbers(1)), "{}");
        let text = arguments(b, &mut Numbers(1));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let at = |pointer: &str| value.pointer(pointer).unwrap();
        assert!(at("/city").is_string() && at("/odd").is_string() && at("/unknown").is_string());
        assert!(at("/days").is_u64() && at("/ratio").is_f64() && at("/list").is_array());
        assert_eq!(at("/deep/on"), true);
        assert_eq!(at("/unit"), "c");
        assert!(value.get("left").is_none());
    }
}
