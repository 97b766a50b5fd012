//! OpenAI's embeddings.

use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::answer::{AnswerFault, read_answer};
use rungate::protocol::format::Format::Embeddings;
use serde_json::{Value, json};

use super::{accept, and, refusal, upstream};

fn body(input: Value) -> Value {
    json!({"model": "m", "input": input})
}

#[test]
fn every_form_of_input_passes_as_it_came_and_is_counted() {
    // Each input is told as a message; a text counts by its vocabulary, an id as one token.
    let check = |input: Value, inputs: u32, counted: u64| {
        let request = accept(Embeddings, &body(input.clone()));
        assert_eq!(request.shape.messages, inputs, "{input}");
        assert_eq!(request.count_text(|text| text.len() as u64).count(), counted, "{input}");
        assert!(request.text_bytes.count() >= counted, "{input}");
        let sent = upstream(Embeddings, &body(input.clone()), "openai");
        assert_eq!(sent, json!({"model": "up/m", "input": input}));
    };
    check(json!("hello"), 1, 5);
    check(json!("h\u{e9}\n"), 1, 4);
    check(json!(["a", "bc"]), 2, 3);
    check(json!([1, 22, 333]), 1, 3);
    check(json!([[1, 2], [3]]), 2, 3);
    check(json!(vec!["x"; 2048]), 2048, 2048);
    check(json!(vec![7; 5000]), 1, 5000);
}

#[test]
fn what_is_no_input_is_refused() {
    for input in [
        json!(null),
        json!(1),
        json!({}),
        json!([]),
        json!([[]]),
        json!([1, "a"]),
        json!(["a", 1]),
        json!([-1]),
        json!([1.5]),
        json!([4_294_967_296_u64]),
        json!([[["a"]]]),
        json!(["a", null]),
        json!(vec!["x"; 2049]),
        json!(vec![[1]; 2049]),
    ] {
        assert_eq!(refusal(Embeddings, &body(input)), ("invalid_request", "input".to_owned()));
    }
}

#[test]
fn options_pass_and_names_of_the_run_are_taken_out() {
    let options = json!({"dimensions": 8, "encoding_format": "base64"});
    let named = json!({"user": "u", "run_id": "r", "metadata": {"run_id": "q"}});
    let given = and(and(body(json!("x")), options.clone()), named);
    assert_eq!(accept(Embeddings, &given).run_names.len(), 2);
    let sent = upstream(Embeddings, &given, "mistral");
    assert_eq!(sent, and(and(json!({"model": "up/m", "input": "x"}), options), json!({})));
    for (member, code) in [
        (json!({"dimensions": 0}), "invalid_request"),
        (json!({"encoding_format": "hex"}), "invalid_request"),
        (json!({"input_type": "query"}), "parameter_not_allowed"),
        (json!({"provider": {}}), "parameter_not_allowed"),
        (json!({"stream": true}), "parameter_not_allowed"),
    ] {
        let name = member.as_object().unwrap().keys().next().unwrap().clone();
        assert_eq!(refusal(Embeddings, &and(body(json!("x")), member)), (code, name));
    }
}

#[test]
fn an_answers_usage_is_its_input() {
    let read = |usage: Value| {
        let body = json!({"object": "list", "data": [], "model": "served", "usage": usage});
        read_answer(Embeddings, body.to_string().as_bytes()).unwrap()
    };
    let counted = |input, output| {
        ReportedUsage::Counted(Usage {
            uncached_input: Tokens::new(input),
            output: Tokens::new(output),
            ..Usage::default()
        })
    };
    // OpenAI's API reference, "Create embeddings"; Mistral's, which also tells completion tokens.
    let openai = read(json!({"prompt_tokens": 8, "total_tokens": 8}));
    assert_eq!(
        (openai.usage, openai.served_model.as_deref()),
        (Some(counted(8, 0)), Some("served"))
    );
    let mistral = read(json!({"prompt_tokens": 15, "total_tokens": 15, "completion_tokens": 0}));
    assert_eq!(mistral.usage, Some(counted(15, 0)));
    assert_eq!(read(json!(null)).usage, None);
    assert_eq!(read(json!({})).usage, None);
    assert_eq!(read(json!({"prompt_tokens": -1})).usage, Some(ReportedUsage::Nonsense));
    assert_eq!(read(json!([])).usage, Some(ReportedUsage::Nonsense));
}

#[test]
fn what_has_no_vectors_is_no_answer() {
    let read = |body: &str| read_answer(Embeddings, body.as_bytes()).unwrap_err();
    for body in ["", "[]", "{}", r#"{"data":null}"#, r#"{"data":{}}"#, "<html>"] {
        assert_eq!(read(body), AnswerFault::Garbage, "{body}");
    }
    for body in [r#"{"error":{"message":"no"}}"#, r#"{"detail":"no"}"#, r#"{"message":"no"}"#] {
        let AnswerFault::Provider(error) = read(body) else { panic!("{body}") };
        assert_eq!(error.message.as_deref(), Some("no"));
    }
}
