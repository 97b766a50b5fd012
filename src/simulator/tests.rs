//! The simulated provider as a client sees it, in process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, body};
use serde_json::{Value, json};

use super::*;
use crate::catalog::tokenizer::Tokenizer;

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The events that are JSON, and whether the stream ended as it should.
    fn events(&self) -> (Vec<Value>, bool) {
        let data = self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let events = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        (events, self.text.ends_with("data: [DONE]\n\n"))
    }
}

async fn send(body: String, header: &str) -> Answer {
    let options = SimulatorOptions::default();
    let app = init_service(App::new().configure(configure(options))).await;
    let request = TestRequest::post()
        .uri("/v1/chat/completions")
        .insert_header((DIRECTIVE_HEADER, header))
        .set_payload(body)
        .to_request();
    let response = call_service(&app, request).await;
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).map(|it| it.to_str().unwrap().to_owned());
    let text = body::to_bytes(response.into_body()).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    Answer { status, retry_after, text }
}

/// A request with the fields of `more`, whose user says `prompt`.
async fn ask(prompt: &str, more: Value) -> Answer {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    send(body.to_string(), "").await
}

fn content(value: &Value) -> &str {
    value.pointer("/choices/0/message/content").unwrap().as_str().unwrap()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).unwrap().as_i64().unwrap()
}

fn finish(value: &Value) -> &str {
    value.pointer("/choices/0/finish_reason").unwrap().as_str().unwrap()
}

fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

#[actix_web::test]
async fn the_same_request_gets_the_same_bytes_and_another_seed_others() {
    let first = ask("hello", json!({})).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.text, ask("hello", json!({"temperature": 1})).await.text);
    for other in [json!({"seed": 1}), json!({"seed": -1}), json!({"model": "gpt-4"})] {
        assert_ne!(content(&first.json()), content(&ask("hello", other).await.json()));
    }
    assert_ne!(content(&first.json()), content(&ask("hello!", json!({})).await.json()));
}

#[actix_web::test]
async fn usage_is_the_count_of_what_was_said() {
    for (model, tokenizer) in [("gpt-4o", Tokenizer::O200k), ("gpt-4", Tokenizer::Cl100k)] {
        for more in [
            json!({}),
            json!({"max_tokens": 5}),
            json!({"max_completion_tokens": 1}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"stop": [" the", " a", "e"]}),
            json!({"stop": "."}),
        ] {
            let mut all = json!({"model": model});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = ask("say something", all).await.json();
            let tokens = number(&answer, "/usage/completion_tokens");
            assert_eq!(tokens as u64, tokenizer.count(content(&answer)), "{model} {more}");
            let total = number(&answer, "/usage/prompt_tokens") + tokens;
            assert_eq!(number(&answer, "/usage/total_tokens"), total);
        }
    }
}

#[actix_web::test]
async fn a_schema_is_answered_with_a_value_of_it() {
    let schema = json!({"type": "object", "required": ["city", "sunny"], "properties": {
        "city": {"type": "string"}, "sunny": {"type": "boolean"}, "left_out": {}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let answer = ask("hello", json!({"response_format": format})).await.json();
    let value: Value = serde_json::from_str(content(&answer)).unwrap();
    assert!(value["city"].is_string() && value["sunny"] == true, "{value}");
    assert!(value.get("left_out").is_none() && finish(&answer) == "stop", "{answer}");
    let short = json!({"response_format": format, "max_tokens": 3});
    let answer = ask("hello", short).await.json();
    assert!(number(&answer, "/usage/completion_tokens") <= 3 && finish(&answer) == "length");
}

#[actix_web::test]
async fn a_maximum_cuts_the_text_and_says_so() {
    let check = async |more: Value, tokens: i64, reason: &str| {
        let answer = ask("[[sim tokens=40]]", more).await.json();
        assert_eq!(number(&answer, "/usage/completion_tokens"), tokens);
        assert_eq!(finish(&answer), reason);
    };
    check(json!({}), 40, "stop").await;
    check(json!({"max_tokens": 40}), 40, "stop").await;
    check(json!({"max_tokens": 39}), 39, "length").await;
    check(json!({"max_tokens": 39, "max_completion_tokens": 7}), 7, "length").await;
    check(json!({"n": 3, "max_tokens": 7}), 21, "length").await;
}

#[actix_web::test]
async fn a_stream_says_what_the_whole_answer_says() {
    for more in [json!({}), json!({"max_tokens": 3}), json!({"stop": " the"})] {
        let whole = ask("hello", more.clone()).await.json();
        let mut streamed = more;
        streamed["stream"] = json!(true);
        streamed["stream_options"] = json!({"include_usage": true});
        let (events, done) = ask("hello", streamed).await.events();
        assert!(done);
        assert_eq!(joined(&events, "/choices/0/delta/content"), content(&whole));
        assert_eq!(joined(&events, "/choices/0/finish_reason"), finish(&whole));
        let last = events.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], whole["usage"]);
        assert!(events.iter().rev().skip(1).all(|event| event["usage"].is_null()));
        assert!(events.iter().all(|event| event["id"] == whole["id"]));
    }
}

#[actix_web::test]
async fn usage_bends_to_the_directives() {
    let check = async |keys: &str, pointer: &str, expected: i64| {
        let answer = ask(&format!("[[sim {keys}]]"), json!({"max_tokens": 50})).await.json();
        assert_eq!(number(&answer, pointer), expected, "{keys}");
    };
    check("usage=-5:3", "/usage/prompt_tokens", -5).await;
    check("usage=-5:3", "/usage/total_tokens", -2).await;
    check("usage=999999999:1", "/usage/prompt_tokens", 999_999_999).await;
    check("cached=9", "/usage/prompt_tokens_details/cached_tokens", 9).await;
    check("tokens=10 reasoning=20", "/usage/completion_tokens", 30).await;
    check("tokens=10 reasoning=45", "/usage/completion_tokens", 50).await;
    check("reasoning=99", "/usage/completion_tokens_details/reasoning_tokens", 50).await;
    assert!(ask("[[sim no_usage]]", json!({})).await.json().get("usage").is_none());
}

#[actix_web::test]
async fn tools_are_called_whole_and_streamed_alike() {
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let whole = ask("please call a tool", json!({"tools": tools})).await.json();
    assert_eq!(finish(&whole), "tool_calls");
    let call = whole.pointer("/choices/0/message/tool_calls/0").unwrap();
    let arguments = call.pointer("/function/arguments").unwrap().as_str().unwrap();
    assert!(serde_json::from_str::<Value>(arguments).unwrap()["city"].is_string());
    let tokens = Tokenizer::O200k.count("weather") + Tokenizer::O200k.count(arguments) + 7;
    assert_eq!(number(&whole, "/usage/completion_tokens") as u64, tokens);

    let streamed = json!({"tools": tools, "stream": true});
    let (events, done) = ask("please call a tool", streamed).await.events();
    assert!(done);
    let call_at = "/choices/0/delta/tool_calls/0";
    assert_eq!(joined(&events, &format!("{call_at}/function/arguments")), arguments);
    assert_eq!(joined(&events, &format!("{call_at}/function/name")), "weather");
    assert_eq!(joined(&events, &format!("{call_at}/id")), call["id"].as_str().unwrap());

    let cut = json!({"tools": tools, "tool_choice": "required", "max_tokens": 9});
    let cut = ask("hi", cut).await.json();
    assert_eq!(finish(&cut), "length");
    assert_eq!(number(&cut, "/usage/completion_tokens"), 9);
    assert_eq!(finish(&ask("hi", json!({"tools": tools})).await.json()), "stop");
}

#[actix_web::test]
async fn failures_are_answered_as_asked() {
    let answer = ask("[[sim status=429 retry_after=2 echo=secret]]", json!({})).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.retry_after.as_deref(), Some("2"));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("secret"));
    let answer = ask("[[sim html]]", json!({"stream": true})).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text.starts_with("<html>"));
    let body =
        json!({"model": "m", "messages": [{"role": "user", "content": "[[sim status=500]]"}]});
    assert_eq!(send(body.to_string(), "status=503").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let garbage = ask("[[sim garbage]]", json!({})).await;
    assert_eq!(garbage.status, StatusCode::OK);
    assert!(serde_json::from_str::<Value>(&garbage.text).is_err());
}

#[actix_web::test]
async fn streams_break_as_asked() {
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let whole = ask("[[sim tokens=5]]", stream.clone()).await.events();
    assert_eq!((whole.0.len(), whole.1), (8, true));
    let broken = ask("[[sim tokens=5 error_event]]", stream.clone()).await.events();
    assert_eq!((broken.0.len(), broken.1), (3, false));
    assert!(broken.0.last().unwrap()["error"].is_object());
    let garbage = ask("[[sim tokens=5 garbage]]", stream.clone()).await;
    assert_eq!(garbage.events(), (garbage.events().0, true));
    assert!(garbage.text.contains("not JSON"));
    let riding = ask("[[sim tokens=5 usage_on_content served=other]]", stream).await.events();
    assert_eq!((riding.0.len(), riding.1), (7, true));
    let last = riding.0.last().unwrap();
    assert_eq!(number(last, "/usage/completion_tokens"), 5);
    assert_eq!(last["model"], "other");
}

#[actix_web::test]
async fn bodies_that_break_the_format_are_refused() {
    for body in [
        "",
        "{",
        "[]",
        r#"{"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"m"}"#,
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","messages":"x"}"#,
        r#"{"model":"m","messages":[{"content":"x"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":0}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":{}}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"[[sim what]]"}]}"#,
    ] {
        let answer = send(body.to_owned(), "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.json()["error"]["message"].is_string(), "{body}");
    }
}

#[actix_web::test]
async fn an_endless_answer_of_many_choices_begins_like_any_other() {
    let messages = json!([{"role": "user", "content": "x"}]);
    let asked = json!({"model": "m", "n": 3, "stream": true, "messages": messages});
    let app = init_service(App::new().configure(configure(SimulatorOptions::default()))).await;
    let request = TestRequest::post()
        .uri("/v1/chat/completions")
        .insert_header((DIRECTIVE_HEADER, "endless cut=4"))
        .set_payload(asked.to_string())
        .to_request();
    let response = call_service(&app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(body::to_bytes(response.into_body()).await.is_err(), "it was not cut");
}
