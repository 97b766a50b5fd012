//! Answers in one piece, and the usage in them.

use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::answer::{Answer, AnswerFault, read_answer};
use rungate::protocol::format::Format;

use super::fixture;

fn read(body: &str) -> Result<Answer, AnswerFault> {
    read_answer(Format::Responses, body.as_bytes())
}

/// Uncached, cached, cache write, output, reasoning.
pub(super) fn counted(classes: [u64; 5]) -> Option<ReportedUsage> {
    let [uncached_input, cached_input, cache_write, output, reasoning] = classes.map(Tokens::new);
    let usage =
        Usage { uncached_input, cached_input, cache_write, output, reasoning, ..Usage::default() };
    Some(ReportedUsage::Counted(usage))
}

#[test]
fn an_answer_names_its_model_and_usage() {
    let answer = read(&fixture("responses/openai.json")).unwrap();
    assert_eq!(answer.served_model.as_deref(), Some("gpt-5-mini-2025-08-07"));
    assert_eq!(answer.usage, counted([86, 1920, 0, 300, 256]));
    let incomplete = r#"{"object":"response","status":"incomplete","output":[],"usage":null}"#;
    assert_eq!(read(incomplete), Ok(Answer::default()));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    for garbage in [
        "",
        "[]",
        "<html>",
        "{}",
        r#"{"object":"response","status":"completed"}"#,
        r#"{"object":"response","status":"queued","output":[]}"#,
        r#"{"object":"response","status":"in_progress","output":[]}"#,
    ] {
        assert_eq!(read(garbage), Err(AnswerFault::Garbage), "{garbage}");
    }
    for error in [
        r#"{"error":{"message":"no","code":"server_error"},"status":"failed","output":[]}"#,
        r#"{"error":{"message":"no"}}"#,
        r#"{"object":"error","message":"no"}"#,
        r#"{"status":"failed","message":"no","output":[]}"#,
        r#"{"detail":"no"}"#,
    ] {
        let Err(AnswerFault::Provider(read)) = read(error) else { panic!("{error}") };
        assert_eq!(read.message.as_deref(), Some("no"), "{error}");
    }
}

#[test]
fn usage_is_told_apart_into_disjoint_classes_or_is_nonsense_or_none() {
    let usage = |raw: &str| read(&format!(r#"{{"output":[],"usage":{raw}}}"#)).unwrap().usage;
    assert_eq!(usage(r#"{"input_tokens":0,"output_tokens":0}"#), counted([0; 5]));
    assert_eq!(
        usage(
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,
            "cache_write_tokens":10},"output_tokens":50,
            "output_tokens_details":{"reasoning_tokens":30},"total_tokens":150}"#
        ),
        counted([30, 60, 10, 50, 30])
    );
    for nonsense in [
        r#"{"input_tokens":-1,"output_tokens":1}"#,
        r#"{"input_tokens":1.5,"output_tokens":1}"#,
        r#"{"input_tokens":1}"#,
        r#"{"output_tokens":1}"#,
        r#"{"input_tokens":5,"output_tokens":1,"input_tokens_details":{"cached_tokens":6}}"#,
        r#"{"input_tokens":5,"output_tokens":1,"output_tokens_details":{"reasoning_tokens":2}}"#,
        r#"{"input_tokens":9007199254740993,"output_tokens":1}"#,
        "[]",
        "7",
    ] {
        assert_eq!(usage(nonsense), Some(ReportedUsage::Nonsense), "{nonsense}");
    }
    for none in ["null", "{}", r#"{"total_tokens":7}"#] {
        assert_eq!(usage(none), None, "{none}");
    }
}
