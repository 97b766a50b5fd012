//! What a run forces, in every format and on every way between two.

use std::collections::BTreeMap;

use bytes::Bytes;
use rungate::domain::fault::{Code, Fault};
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::translate::forced::{Forced, PARAMETERS, Way, check};
use rungate::protocol::translate::{ChatClient, Thinking, Translation};
use rungate::providers;
use serde_json::{Value, json};

fn forced(members: &Value) -> Forced {
    let members = members.as_object().unwrap();
    members.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

/// What a provider is sent, and that its table reads it.
fn sent(
    (asked, spoken): (Format, Format),
    body: &Value,
    all: &Value,
    thinking: Thinking,
) -> Result<Value, Fault> {
    let (way, all) = (Way { asked, spoken, thinking }, forced(all));
    let body = body.to_string();
    Request::parse(asked, Bytes::from(body.clone())).unwrap();
    way.check(&all, &providers::find("openai").unwrap().dialect)?;
    let mut body = way.before(body.as_bytes(), &all)?;
    if asked != spoken {
        let client = ChatClient::default();
        body = Translation::of((asked, spoken), &body, thinking, None, client)?.body;
        body = way.after(&body, &all)?;
    }
    Request::parse(spoken, Bytes::from(body.clone()))?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn chat(fields: &Value) -> Value {
    let body = json!({"model": "m", "max_tokens": 4096,
        "messages": [{"role": "user", "content": "temperature"}]});
    crate::data_plane::stage::with(body, fields.clone())
}

fn responses(fields: &Value) -> Value {
    let body = json!({"model": "m", "input": "seed", "max_output_tokens": 4096});
    crate::data_plane::stage::with(body, fields.clone())
}

#[test]
fn what_is_forced_replaces_what_the_client_says_in_each_format() {
    let client = json!({"temperature": 1, "top_p": 0.5});
    let all = json!({"temperature": 0.25, "top_p": 1, "reasoning_effort": "high"});
    let adaptive = Thinking::Adaptive;
    let same = |format| (format, format);

    let effort = json!({"temperature": 1, "seed": 3, "reasoning_effort": "low"});
    let seeded = json!({"temperature": 0.25, "seed": 7, "reasoning_effort": "high", "top_p": 1});
    let told = sent(same(Format::Chat), &chat(&effort), &seeded, adaptive).unwrap();
    assert_eq!(told, chat(&seeded));

    let reasons = json!({"reasoning": {"effort": "low", "summary": "auto"}, "temperature": 1});
    let told = sent(same(Format::Responses), &responses(&reasons), &all, adaptive).unwrap();
    let expected = json!({"reasoning": {"effort": "high", "summary": "auto"},
        "temperature": 0.25, "top_p": 1});
    assert_eq!(told, responses(&expected));

    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let thinks = json!({"thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": format}, "temperature": 1});
    let told = sent(same(Format::Messages), &chat(&thinks), &all, adaptive).unwrap();
    let expected = json!({"thinking": {"type": "adaptive"}, "temperature": 0.25, "top_p": 1,
        "output_config": {"effort": "high", "format": format}});
    assert_eq!(told, chat(&expected));

    // What is not forced stays.
    let only = json!({"temperature": 0.25});
    let told = sent(same(Format::Messages), &chat(&thinks), &only, adaptive).unwrap();
    assert_eq!(told["thinking"]["budget_tokens"], 2000);
    let told = sent(same(Format::Chat), &chat(&client), &only, adaptive).unwrap();
    assert_eq!(told["top_p"], 0.5);
}

#[test]
fn what_is_forced_reaches_the_provider_behind_a_translation() {
    let adaptive = Thinking::Adaptive;
    // A temperature that Anthropic would refuse is not in the way: it is replaced.
    let hot = json!({"temperature": 1.5, "reasoning_effort": "low"});
    let all = json!({"temperature": 0.5, "reasoning_effort": "high"});
    let way = (Format::Chat, Format::Messages);
    let told = sent(way, &chat(&hot), &all, adaptive).unwrap();
    assert_eq!(
        (&told["temperature"], &told["thinking"]["type"]),
        (&json!(0.5), &json!("adaptive"))
    );
    assert_eq!(told["output_config"]["effort"], "high");
    let told = sent((Format::Responses, Format::Messages), &responses(&json!({})), &all, adaptive);
    assert_eq!(told.unwrap()["output_config"]["effort"], "high");

    // What the client's format lacks reaches a provider that has it.
    let thinks = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    let all = json!({"seed": 7, "reasoning_effort": "none", "temperature": 2});
    let told = sent((Format::Messages, Format::Chat), &chat(&thinks), &all, adaptive).unwrap();
    assert_eq!((&told["seed"], &told["temperature"]), (&json!(7), &json!(2)));
    assert_eq!(told["reasoning_effort"], "none");
    let told = sent((Format::Responses, Format::Chat), &responses(&json!({})), &all, adaptive);
    assert_eq!(told.unwrap()["seed"], 7);
}

#[test]
fn older_models_think_within_a_budget_that_leaves_room() {
    let way = (Format::Messages, Format::Messages);
    for (effort, limit, expected) in [
        ("low", 4096, json!({"type": "enabled", "budget_tokens": 2048})),
        ("high", 8192, json!({"type": "enabled", "budget_tokens": 4096})),
        ("none", 100, json!({"type": "disabled"})),
    ] {
        let all = json!({"reasoning_effort": effort});
        let body = chat(&json!({"max_tokens": limit}));
        let told = sent(way, &body, &all, Thinking::Budget).unwrap();
        assert_eq!(told["thinking"], expected, "{effort}");
        assert!(told.get("output_config").is_none());
    }
    let all = json!({"reasoning_effort": "low"});
    let refused = sent(way, &chat(&json!({"max_tokens": 2000})), &all, Thinking::Budget);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ParameterNotAllowed);
    assert_eq!(refused.param_name(), Some("reasoning_effort"));
}

#[test]
fn what_a_provider_cannot_be_told_refuses_the_call_by_name() {
    let adaptive = Thinking::Adaptive;
    for (asked, spoken, all, param) in [
        (Format::Chat, Format::Messages, json!({"seed": 1}), "seed"),
        (Format::Messages, Format::Messages, json!({"min_p": 0.5}), "min_p"),
        (Format::Responses, Format::Responses, json!({"top_k": 5}), "top_k"),
        (Format::Messages, Format::Messages, json!({"temperature": 1.5}), "temperature"),
    ] {
        let body = if asked == Format::Responses { responses } else { chat };
        let refused = sent((asked, spoken), &body(&json!({})), &all, adaptive).unwrap_err();
        assert_eq!(refused.code(), Code::ParameterNotAllowed, "{param}");
        assert_eq!(refused.param_name(), Some(param));
        assert!(refused.message().contains("run forces"), "{}", refused.message());
    }
    // DeepSeek speaks chat and takes no seed.
    let way = Way { asked: Format::Chat, spoken: Format::Chat, thinking: adaptive };
    let dialect = &providers::find("deepseek").unwrap().dialect;
    let refused = way.check(&forced(&json!({"seed": 1})), dialect).unwrap_err();
    assert_eq!(refused.param_name(), Some("seed"));
}

#[test]
fn only_what_a_table_reads_and_a_range_holds_can_be_forced() {
    for (name, good, bad) in [
        ("temperature", &["0", "2", "0.7", "1e-1"][..], &["-0.1", "2.01", "\"1\"", "null"][..]),
        ("top_p", &["1"], &["1.5", "true"]),
        ("top_k", &["1", "50"], &["0", "1.5", "-1"]),
        ("min_p", &["0.05"], &["2"]),
        ("presence_penalty", &["-2"], &["-2.5"]),
        ("frequency_penalty", &["2"], &["[1]"]),
        ("repetition_penalty", &["1.1"], &["-1"]),
        ("seed", &["-7", "9223372036854775807"], &["9223372036854775808", "1.0"]),
        ("reasoning_effort", &["\"none\"", "\"max\""], &["\"some\"", "3", "\"high"]),
    ] {
        for value in good {
            assert_eq!(check(name, value), Ok(()), "{name} {value}");
        }
        for value in bad {
            assert!(check(name, value).unwrap_err().starts_with("must be "), "{name} {value}");
        }
    }
    for name in ["model", "max_tokens", "n", "stream", "tools", "nonsense", ""] {
        assert!(check(name, "1").unwrap_err().starts_with("cannot be forced"), "{name}");
    }
    let named: BTreeMap<_, _> = PARAMETERS.iter().map(|known| (known.name, known)).collect();
    assert_eq!(named.len(), 9, "all of them are tried above");
}
