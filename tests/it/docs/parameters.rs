//! What becomes of each field at each provider: not written down but tried, by the code that makes
//! the body upstream.

use std::collections::BTreeMap;

use rungate::domain::id::RunId;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::request::fields::{Action, Field};
use rungate::protocol::translate::{ChatClient, Thinking, Translation};
use rungate::providers::{Provider, REGISTRY};
use serde_json::{Map, Value, json};

const RUN: &str = "11111111-2222-4333-8444-555555555555";
/// Fields that bound the output, in every format.
const LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// A value that says something, for a field of any format that has the name.
fn sample(format: Format, name: &str) -> Value {
    let schema = json!({"type": "object"});
    match (format, name) {
        (_, "temperature" | "top_p" | "min_p" | "presence_penalty" | "frequency_penalty") => {
            json!(0.5)
        }
        (_, "repetition_penalty") => json!(1.5),
        (_, "top_k" | "seed" | "dimensions" | "max_tool_calls") => json!(7),
        (_, "n") => json!(2),
        (_, "top_logprobs") => json!(1),
        (_, name) if LIMITS.contains(&name) => json!(3000),
        (_, "stream" | "logprobs") => json!(true),
        (_, "parallel_tool_calls" | "store" | "background") => json!(false),
        (Format::Chat, "stream_options") => json!({"include_usage": true}),
        (_, "stream_options") => json!({"include_obfuscation": false}),
        (_, "stop" | "stop_sequences") => json!(["x"]),
        (_, "logit_bias") => json!({"1": 2}),
        (_, "response_format") => {
            json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
        }
        (Format::Chat, "tools") => json!([{"type": "function", "function": {"name": "f"}}]),
        (Format::Messages, "tools") => json!([{"name": "f", "input_schema": schema}]),
        (_, "tools") => json!([{"type": "function", "name": "f", "parameters": schema}]),
        (Format::Messages, "tool_choice") => json!({"type": "any"}),
        (_, "tool_choice") => json!("required"),
        (_, "functions") => json!([{"name": "f"}]),
        (_, "function_call") => json!({"name": "f"}),
        (_, "reasoning_effort" | "verbosity") => json!("low"),
        (_, "service_tier") => json!("auto"),
        (_, "modalities") => json!(["text"]),
        (_, "metadata" | "client_metadata") => json!({}),
        (_, "run_id" | "evaluation_run_id") => json!(RUN),
        (_, "thinking") => json!({"type": "enabled", "budget_tokens": 1024}),
        (_, "output_config") => json!({"effort": "low"}),
        (_, "cache_control") => json!({"type": "ephemeral"}),
        (_, "text") => json!({"verbosity": "low"}),
        (_, "reasoning") => json!({"effort": "low"}),
        (_, "include") => json!(["reasoning.encrypted_content"]),
        (_, "truncation") => json!("disabled"),
        (_, "encoding_format") => json!("base64"),
        (_, "messages") => json!([{"role": "user", "content": "other"}]),
        _ => json!("other"),
    }
}

/// A body to put a field into, with what the field needs beside it.
fn body(format: Format, name: &str) -> Map<String, Value> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut body = match format {
        Format::Chat => json!({"model": "m", "messages": messages}),
        Format::Messages => json!({"model": "m", "messages": messages, "max_tokens": 4000}),
        Format::Responses | Format::Embeddings => json!({"model": "m", "input": "hi"}),
    };
    let needs = match name {
        "tool_choice" | "parallel_tool_calls" => Some("tools"),
        "function_call" => Some("functions"),
        "stream_options" => Some("stream"),
        _ => None,
    };
    if let Some(needed) = needs {
        body[needed] = sample(format, needed);
    }
    body.as_object().unwrap().clone()
}

/// What a provider is sent; `None` if the request is refused.
fn sent(format: Format, provider: &Provider, body: &Map<String, Value>) -> Option<Value> {
    let body = serde_json::to_vec(body).unwrap();
    let mut request = Request::parse(format, body.clone().into()).ok()?;
    if request.choices > 1 && !provider.dialect.several_choices {
        return None;
    }
    let spoken = Translation::spoken(format, provider.formats)?;
    if spoken != format {
        let limit = request.asked_output.is_none().then(|| Tokens::new(4000));
        let client = ChatClient { created: 0, include_usage: false, legacy_functions: false };
        let formats = (format, spoken);
        let there = Translation::of(formats, &body, Thinking::default(), limit, client).ok()?;
        request = Request::parse(spoken, there.body.into()).ok()?;
    }
    request.set_run(RunId::parse(RUN).unwrap());
    let sent = request.into_upstream("upstream", &provider.dialect, Tokens::new(5));
    Some(serde_json::from_slice(&sent.bytes).unwrap())
}

/// What becomes of a field at a provider.
fn fate(format: Format, field: &Field, provider: &Provider) -> String {
    let without = body(format, field.name);
    let mut with = without.clone();
    with.insert(field.name.to_owned(), sample(format, field.name));
    let plain = sent(format, provider, &without).unwrap();
    let Some(sent) = sent(format, provider, &with) else { return "refused".to_owned() };
    if field.action == Action::Bounded {
        let name = LIMITS.into_iter().find(|name| sent.get(name).is_some()).unwrap();
        let other = if name == field.name { String::new() } else { format!(" as `{name}`") };
        return format!("bounded{other}");
    }
    let there = sent.get(field.name);
    match field.action {
        Action::Forced if there.is_some() && there != with.get(field.name) => {
            return "set by the gateway".to_owned();
        }
        _ if there.is_some() && there == with.get(field.name) => return "passed".to_owned(),
        _ => {}
    }
    let members = sent.as_object().unwrap();
    let changed = members.iter().filter(|(name, value)| plain.get(name) != Some(value));
    let names: Vec<String> = changed.map(|(name, _)| format!("`{name}`")).collect();
    if names.is_empty() { "left out".to_owned() } else { format!("as {}", names.join(", ")) }
}

/// The table of a format: fields by families of providers that do the same with all of them.
pub(super) fn markdown(format: Format) -> String {
    let fields: Vec<&Field> = format.table().rows().filter(|field| field.at.is_empty()).collect();
    let (refused, taken): (Vec<&Field>, Vec<&Field>) =
        fields.into_iter().partition(|field| field.action == Action::Refused);
    let serving =
        REGISTRY.iter().filter(|provider| Translation::spoken(format, provider.formats).is_some());
    let mut families: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for provider in serving {
        let fates: Vec<String> = taken.iter().map(|field| fate(format, field, provider)).collect();
        match families.iter_mut().find(|(_, known)| *known == fates) {
            Some((names, _)) => names.push(provider.name),
            None => families.push((vec![provider.name], fates)),
        }
    }
    let heads: Vec<String> = families.iter().map(|(names, _)| names.join(", ")).collect();
    let mut table =
        format!("| field | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (index, field) in taken.iter().enumerate() {
        let cells: Vec<&str> = families.iter().map(|(_, fates)| fates[index].as_str()).collect();
        table.push_str(&format!("| `{}` | {} |\n", field.name, cells.join(" | ")));
    }
    let names: Vec<String> = refused.iter().map(|field| format!("`{}`", field.name)).collect();
    if !names.is_empty() {
        table.push_str(&format!("\nRefused everywhere: {}.\n", names.join(", ")));
    }
    table
}

#[test]
fn no_field_is_dropped_in_silence_that_would_change_an_answer() {
    // Left out is only what says nothing to the model, and what a provider has no place for.
    let mut left_out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for format in Format::ALL {
        for field in format.table().rows().filter(|field| field.at.is_empty()) {
            for provider in &REGISTRY {
                let served = Translation::spoken(format, provider.formats).is_some();
                let passes = matches!(field.action, Action::Passed | Action::Bounded);
                if served && passes && fate(format, field, provider) == "left out" {
                    left_out.entry(field.name).or_default().push(provider.name);
                }
            }
        }
    }
    let told: Vec<String> =
        left_out.iter().map(|(name, at)| format!("{name}: {}", at.join(", "))).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    cache_control: openai, mistral, azure_openai, groq, deepseek, chutes, openrouter, targon
    include: anthropic, mistral, groq, deepseek, chutes, openrouter, targon
    seed: deepseek
    stream_options: anthropic, mistral, groq, deepseek, chutes, openrouter, targon
    truncation: anthropic, mistral, groq, deepseek, chutes, openrouter, targon
    ");
}
