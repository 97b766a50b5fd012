//! Answers in one piece, the usage in them, and errors.

use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::answer::{Answer, AnswerFault};
use rungate::protocol::format::Format;
use rungate::protocol::provider_error::{ProviderError, read_error};

fn usage(raw: &str) -> Option<ReportedUsage> {
    rungate::protocol::answer::read_answer(
        Format::Chat,
        format!("{{\"choices\":[],\"usage\":{raw}}}").as_bytes(),
    )
    .unwrap()
    .usage
}

#[test]
fn an_answer_names_its_model_and_usage_and_the_rest_is_ignored() {
    let body =
        br#" {"id":"x","choices":[{"message":{"content":"\ud83d\ude00"}}],"model":"gpt-4o-x",
        "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
    let counted =
        Usage { uncached_input: Tokens::new(10), output: Tokens::new(5), ..Usage::default() };
    let answer = Answer {
        served_model: Some("gpt-4o-x".to_owned()),
        served_tier: None,
        usage: Some(ReportedUsage::Counted(counted)),
    };
    assert_eq!(rungate::protocol::answer::read_answer(Format::Chat, body), Ok(answer));
    for bare in [
        r#"{"choices":[]}"#,
        r#"{"choices":null}"#,
        r#"{"choices":[],"model":7,"usage":null,"error":null,"object":"x","message":null}"#,
        r#"{"choices":[],"model":"a\u001bb","message":"m"}"#,
    ] {
        assert_eq!(
            rungate::protocol::answer::read_answer(Format::Chat, bare.as_bytes()),
            Ok(Answer::default()),
            "{bare}"
        );
    }
    let long = format!(r#"{{"choices":[],"model":"{}"}}"#, "m".repeat(300));
    assert_eq!(
        rungate::protocol::answer::read_answer(Format::Chat, long.as_bytes()),
        Ok(Answer::default())
    );
}

#[test]
fn what_is_no_answer_is_told_apart() {
    for garbage in [
        "",
        "null",
        "[]",
        "<html>",
        "{\"a\":",
        "{} x",
        "7",
        "{}",
        r#"{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"message":null}"#,
    ] {
        assert_eq!(
            rungate::protocol::answer::read_answer(Format::Chat, garbage.as_bytes()),
            Err(AnswerFault::Garbage),
            "{garbage}"
        );
    }
    for error in [
        r#"{"error":{"message":"no","type":"t"}}"#,
        r#"{"error":"no","choices":[]}"#,
        r#"{"object":"error","message":"no","choices":[]}"#,
        r#"{"object":"err\u006fr","message":"no"}"#,
        r#"{"message":"no"}"#,
        r#"{"detail":"no","choices":null}"#,
        r#"{"detail":[{"msg":"no"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"msg":"no"}"#,
    ] {
        let read = read_error(error.as_bytes());
        assert_eq!(read.message.as_deref(), Some("no"), "{error}");
        assert_eq!(
            rungate::protocol::answer::read_answer(Format::Chat, error.as_bytes()),
            Err(AnswerFault::Provider(read)),
            "{error}"
        );
    }
}

#[test]
fn usage_is_told_apart_into_disjoint_classes() {
    let check = |raw: &str, [uncached, cached, write, output, reasoning]: [u64; 5]| {
        let expected = Usage {
            uncached_input: Tokens::new(uncached),
            cached_input: Tokens::new(cached),
            cache_write: Tokens::new(write),
            output: Tokens::new(output),
            reasoning: Tokens::new(reasoning),
            ..Usage::default()
        };
        assert_eq!(usage(raw), Some(ReportedUsage::Counted(expected)), "{raw}");
    };
    check(r#"{"prompt_tokens":0,"completion_tokens":0}"#, [0, 0, 0, 0, 0]);
    check(
        r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":60,
        "cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":30}}"#,
        [30, 60, 10, 50, 30],
    );
    check(
        r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8}"#,
        [1, 8, 0, 1, 0],
    );
    check(
        r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8,
        "prompt_tokens_details":{"cached_tokens":3}}"#,
        [6, 3, 0, 1, 0],
    );
    check(
        r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":null,
        "completion_tokens_details":{"reasoning_tokens":null},"prompt_cache_hit_tokens":null}"#,
        [9, 0, 0, 1, 0],
    );
    check(
        r#"{"prompt_tokens":9007199254740992,"completion_tokens":1}"#,
        [9_007_199_254_740_992, 0, 0, 1, 0],
    );
}

#[test]
fn usage_that_cannot_be_true_is_nonsense_and_none_is_none() {
    for raw in [
        r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1,"completion_tokens":-5}"#,
        r#"{"prompt_tokens":1.5,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1e2,"completion_tokens":1}"#,
        r#"{"prompt_tokens":"1","completion_tokens":1}"#,
        r#"{"prompt_tokens":9007199254740993,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1,"completion_tokens":18446744073709551616}"#,
        r#"{"prompt_tokens":1}"#,
        r#"{"prompt_tokens":1,"completion_tokens":null}"#,
        r#"{"completion_tokens":1}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_cache_hit_tokens":-6}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1,
        "prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":3}}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1,
        "completion_tokens_details":{"reasoning_tokens":2}}"#,
        r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":7}"#,
        "[]",
        "\"x\"",
        "7",
        "false",
    ] {
        assert_eq!(usage(raw), Some(ReportedUsage::Nonsense), "{raw}");
    }
    for raw in ["null", "{}", r#"{"total_tokens":7}"#, r#"{"prompt_tokens":null}"#] {
        assert_eq!(usage(raw), None, "{raw}");
    }
}

#[test]
fn errors_are_read_in_every_shape_that_is_in_use() {
    let check = |body: &str, expected: [Option<&str>; 4]| {
        let [message, kind, code, param] = expected.map(|text| text.map(str::to_owned));
        let expected = ProviderError { message, kind, code, param };
        assert_eq!(read_error(body.as_bytes()), expected, "{body}");
    };
    check(
        r#"{"error":{"message":"too long","type":"invalid_request_error",
        "param":"messages","code":"context_length_exceeded"}}"#,
        [
            Some("too long"),
            Some("invalid_request_error"),
            Some("context_length_exceeded"),
            Some("messages"),
        ],
    );
    check(
        r#"{"error":{"message":"m","code":429,"param":null}}"#,
        [Some("m"), None, Some("429"), None],
    );
    check(r#"{"error":"text","code":5}"#, [Some("text"), None, Some("5"), None]);
    check(r#"{"message":"m","type":"t"}"#, [Some("m"), Some("t"), None, None]);
    check(r#"{"detail":"d"}"#, [Some("d"), None, None, None]);
    check(r#"{"detail":[{"loc":["body"],"msg":"m","type":"x"}]}"#, [Some("m"), None, None, None]);
    check(
        r#"{"object":"error","message":{"detail":[{"msg":"m"}]}}"#,
        [Some("m"), None, None, None],
    );
    for none in ["", "<html>502</html>", "null", "[]", "\"text\"", "{}", "{\"error\":{}}", "\u{0}"]
    {
        check(none, [None; 4]);
    }
}

#[test]
fn long_errors_are_kept_whole_to_64_kibibytes_and_then_to_the_last_whole_word() {
    let check = |message: String, kept: usize| {
        let body = format!(r#"{{"message":"{message}"}}"#);
        let read = read_error(body.as_bytes()).message.unwrap();
        assert_eq!(read, message[..kept]);
    };
    check("é".repeat(32 << 10), 64 << 10);
    check(format!("{} sentinel-key", "é".repeat((32 << 10) - 4)), (64 << 10) - 8);
    check(format!("{} s", "a".repeat(64 << 10)), 0);
}

/// A tree of JSON takes many times its text, and a provider may send as much text as an answer has.
#[test]
fn an_error_that_is_far_too_long_is_not_taken_apart() {
    let error = |zeros: usize| {
        let padding = "0,".repeat(zeros);
        read_error(format!(r#"{{"error":{{"message":"m"}},"padding":[{padding}0]}}"#).as_bytes())
    };
    assert_eq!(error(260_000).message.as_deref(), Some("m"));
    assert_eq!(error(270_000), ProviderError::default());
}
