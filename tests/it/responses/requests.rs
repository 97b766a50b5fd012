//! Bodies that are accepted, and what becomes of them.

use bytes::Bytes;
use proptest::prelude::*;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::request::fields::Action;
use rungate::protocol::responses::TABLE;
use rungate::providers::REGISTRY;
use serde_json::{Value, json};

use super::generate::{body, sent_of};
use super::{BOUND, accept, fixture, item, part, upstream, with};
use crate::protocol::generate::scramble;

#[test]
fn the_gateways_fields_are_appended_and_nothing_is_ever_stored() {
    let head = r#"{"input":"hi""#;
    let check = |members: &str, provider: &str, tail: &str| {
        assert_eq!(upstream(&with(members), provider), format!("{head}{tail}}}"), "{members}");
    };
    check(
        r#""temperature":1"#,
        "openai",
        concat!(
            r#","temperature":1,"model":"up/m","max_output_tokens":100,"#,
            r#""store":false,"service_tier":"default""#,
        ),
    );
    for members in [r#""store":null"#, r#""store":false"#, r#""background":false"#] {
        for provider in ["azure_openai", "groq", "openrouter"] {
            let tail = r#","model":"up/m","max_output_tokens":100,"store":false"#;
            check(members, provider, tail);
        }
    }
    check(
        r#""stream":true,"max_output_tokens":5,"user":"u","safety_identifier":"s",
        "prompt_cache_key":"k","metadata":{"a":1},"client_metadata":{"b":"c"},"run_id":"r",
        "service_tier":"auto""#,
        "groq",
        r#","model":"up/m","max_output_tokens":100,"stream":true,"store":false"#,
    );
}

#[test]
fn the_head_is_read_from_anywhere_in_the_body() {
    let request = accept(
        r#"{"max_output_tokens":7,"run_id":"a","input":"x","stream":true,
        "metadata":{"run_id":"b"},"evaluation_run_id":"c","m\u006fdel":"gpt\u002d5"}"#,
    );
    assert_eq!((request.model.as_str(), request.stream), ("gpt-5", true));
    assert_eq!(request.run_names, ["a", "b", "c"]);
    assert_eq!((request.choices, request.asked_output), (1, Some(Tokens::new(7))));
}

#[test]
fn what_codex_asks_reaches_the_provider() {
    let body = fixture("responses/codex.json");
    let request = accept(&body);
    assert!(request.stream);
    assert_eq!((request.shape.messages, request.shape.tools, request.shape.images), (13, 2, 1));
    let (sent, client): (Value, Value) =
        (super::json(&upstream(&body, "openai")), super::json(&body));
    for same in ["instructions", "tools", "tool_choice", "reasoning", "include", "text"] {
        assert_eq!(sent[same], client[same], "{same}");
    }
    let mut input = client["input"].clone();
    let user = input[1].as_object_mut().unwrap();
    user.remove("internal_chat_message_metadata_passthrough").unwrap();
    assert_eq!(sent["input"], input);
    for gone in ["prompt_cache_key", "client_metadata"] {
        assert!(sent.get(gone).is_none(), "{gone}");
    }
    assert_eq!((&sent["store"], &sent["stream_options"]), (&json!(false), &json!({})));
}

#[test]
fn what_the_agents_sdk_asks_reaches_the_provider_without_the_ids_of_its_items() {
    let body = fixture("responses/agents.json");
    let request = accept(&body);
    assert_eq!(request.run_names, ["0199a0de-0000-7000-8000-000000000001"]);
    let sent = upstream(&body, "openai");
    assert!(!sent.contains(r#""id":"#) && !sent.contains("null"), "{sent}");
    let sent = super::json(&sent);
    assert_eq!(sent["input"][1], json!({"type": "reasoning", "summary": [], "content": []}));
    let said = json!([{"type": "output_text", "text": "It is sunny."}]);
    assert_eq!(sent["input"][4]["content"], said);
    assert_eq!(sent["max_output_tokens"], json!(100));
}

#[test]
fn an_item_without_a_type_is_a_message() {
    let easy = accept(&item(r#""role":"user","content":"four""#));
    assert_eq!((easy.shape.messages, easy.text_bytes), (1, Tokens::new(6)));
    accept(&item(r#""type":null,"role":"assistant","content":[]"#));
    assert_eq!(accept(&with(r#""instructions":"x""#)).shape.messages, 2);
    assert_eq!(accept(&with(r#""top_p":1"#)).shape.messages, 1);
}

#[test]
fn everything_that_becomes_input_is_within_the_strict_bound() {
    for members in [
        r#""role":"user","content":"XX""#,
        r#""role":"user","content":[{"type":"input_text","text":"XX"}]"#,
        r#""role":"assistant","content":[{"type":"refusal","refusal":"XX"}]"#,
        r#""role":"assistant","content":"","phase":"XX""#,
        r#""type":"reasoning","summary":[{"type":"summary_text","text":"XX"}]"#,
        r#""type":"reasoning","content":[{"type":"reasoning_text","text":"XX"}]"#,
        r#""type":"reasoning","encrypted_content":"XX""#,
        r#""type":"function_call","call_id":"XX","name":"","arguments":"""#,
        r#""type":"function_call","call_id":"","name":"XX","arguments":"""#,
        r#""type":"function_call","call_id":"","name":"","arguments":"XX""#,
        r#""type":"function_call","call_id":"","name":"","arguments":"","namespace":"XX""#,
        r#""type":"function_call_output","call_id":"","output":"XX""#,
        r#""type":"function_call_output","call_id":"","output":[{"type":"input_text","text":"XX"}]"#,
        r#""type":"custom_tool_call","call_id":"","name":"","input":"XX""#,
        r#""type":"custom_tool_call_output","call_id":"","output":"XX""#,
    ] {
        let bare = item(&members.replace("XX", ""));
        let more = accept(&item(members)).text_bytes.count() - accept(&bare).text_bytes.count();
        assert_eq!(more, 2, "{members}");
    }
    for members in [
        r#""instructions":"XX""#,
        r#""tools":[{"type":"function","name":"XX"}]"#,
        r#""tools":[{"type":"custom","name":"f","format":{"definition":"XX"}}]"#,
        r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"XX"}]}]"#,
        r#""tool_choice":"XX""#,
        r#""tool_choice":{"type":"function","name":"XX"}"#,
        r#""text":{"format":{"schema":{"XX":1}}}"#,
        r#""text":{"verbosity":"XX"}"#,
        r#""reasoning":{"effort":"XX"}"#,
    ] {
        let bare = with(&members.replace("XX", ""));
        let more = accept(&with(members)).text_bytes.count() - accept(&bare).text_bytes.count();
        assert_eq!(more, 2, "{members}");
    }
}

#[test]
fn encrypted_reasoning_counts_by_its_bytes_whatever_the_vocabulary() {
    let secret = "A".repeat(1_000);
    let body = item(&format!(r#""type":"reasoning","encrypted_content":"{secret}""#));
    let request = accept(&body);
    assert!(request.count_text(|_| 1).count() >= 1_000);
}

#[test]
fn images_are_counted_apart_from_text() {
    let image = |data: &str| {
        let url = format!("data:image/png;base64,{data}");
        part(&format!(r#""type":"input_image","image_url":"{url}","detail":"low""#))
    };
    let (small, large) = (accept(&image("AA==")), accept(&image(&"A".repeat(1 << 16))));
    assert_eq!((small.shape.images, large.shape.images), (1, 1));
    assert_eq!((small.text_bytes, large.text_bytes), (Tokens::ZERO, Tokens::ZERO));
    let output = r#""type":"function_call_output","call_id":"c","output""#;
    let output = image("AA==").replace(r#""role":"user","content""#, output);
    assert_eq!(accept(&output).shape.images, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_sent_says_what_the_client_said_and_nothing_else(
        value in body(), seed in any::<u64>(), provider in 0..REGISTRY.len(),
    ) {
        let written = scramble(&value, seed);
        let request =
            Request::parse(Format::Responses, Bytes::from(written.clone())).unwrap();
        prop_assert_eq!(request.model.as_str(), "gpt-5-mini");
        prop_assert_eq!(request.asked_output.map(Tokens::count), value["max_output_tokens"].as_u64());
        let text_bytes = request.text_bytes;
        let counted = request.count_text(|text| text.len() as u64);
        prop_assert!(counted <= text_bytes);
        prop_assert!(request.count_text(|_| u64::MAX) == text_bytes);

        let dialect = &REGISTRY[provider].dialect;
        let sent = request.into_upstream("up", dialect, BOUND);
        prop_assert_eq!(sent.counter.count(|text| text.len() as u64), counted);
        let sent: Value = serde_json::from_slice(&sent.bytes).unwrap();
        let expected = sent_of(&value);
        for same in ["input", "instructions", "tools", "tool_choice", "text", "reasoning"] {
            prop_assert_eq!(&sent[same], &expected[same], "{}", same);
        }
        prop_assert_eq!(&sent["max_output_tokens"], &json!(100));
        prop_assert_eq!(&sent["store"], &json!(false));
        for key in sent.as_object().unwrap().keys() {
            let row = TABLE.rows().find(|row| row.at.is_empty() && row.name == key);
            prop_assert!(row.is_some_and(|row| row.action != Action::Refused), "{}", key);
        }
        for gone in ["user", "run_id", "metadata", "prompt_cache_key", "background"] {
            prop_assert!(sent.get(gone).is_none(), "{}", gone);
        }
    }

    #[test]
    fn no_damage_to_a_body_makes_the_parser_panic_or_send_what_is_no_json(
        value in body(), seed in any::<u64>(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut written = scramble(&value, seed).into_bytes();
        let at = at.index(written.len());
        written[at] = byte;
        if let Ok(request) = Request::parse(Format::Responses, Bytes::from(written.clone())) {
            let client: Value = serde_json::from_slice(&written).unwrap();
            let sent = request.into_upstream("up", &REGISTRY[0].dialect, BOUND);
            let sent: Value = serde_json::from_slice(&sent.bytes).unwrap();
            prop_assert_eq!(&sent["input"], &sent_of(&client)["input"]);
        }
    }
}
