//! Streamed answers: what of a provider's words is kept from clients, and which usage is final.

use rungate::protocol::stream::StreamFault;

use super::streams::{DONE, HI, USAGE, counted, whole};

#[test]
fn errors_are_recognised_in_every_shape_that_is_in_use() {
    for error in [
        r#"data: {"error":"no"}"#,
        r#"data: {"object":"error","message":"no","type":"BadRequestError","code":400}"#,
        r#"data: {"object":"err\u006fr","message":"no","choices":[],"usage":null}"#,
        r#"data: {"message":"no"}"#,
        r#"data: {"detail":"no","choices":null,"usage":null}"#,
        r#"data: {"detail":[{"loc":["body"],"msg":"no"}]}"#,
        "event: error\ndata: {\"message\":\"no\",\"choices\":[]}",
        "data: {\"error\":\ndata: \"no\"}\nevent:  Error",
        ": sentinel\nevent: error\ndata: {\"msg\":\"no\"}",
    ] {
        let seen = whole(&format!("{HI}{error}\n\n{HI}"), true);
        assert_eq!(seen.passed, HI, "{error}");
        let Err(StreamFault::Provider(read)) = seen.result else { panic!("{error}") };
        assert_eq!(read.message.as_deref(), Some("no"), "{error}");
    }
    let taken_back = whole("data: {\"error\":\"no\",\"error\":null,\"choices\":[]}\n\n", true);
    assert!(matches!(taken_back.result, Err(StreamFault::Provider(_))), "{taken_back:?}");
    for fine in [
        r#"data: {"choices":[],"message":"m"}"#,
        r#"data: {"usage":{"prompt_tokens":1,"completion_tokens":1},"detail":"d"}"#,
        r#"data: {"object":"chat.completion.chunk","message":null}"#,
        "event: errors\ndata: {}",
        "data: {}",
    ] {
        let fine = format!("{fine}\n\n");
        let seen = whole(&fine, true);
        assert_eq!((seen.passed, seen.result), (fine, Ok(())));
    }
}

#[test]
fn a_providers_comments_and_unknown_fields_are_kept_from_the_client() {
    for (stream, passed) in [
        (": sentinel\n\n", ":\n\n"),
        (":sentinel\r\n: again\r\n\r\n", ":\n\n"),
        ("sentinel\n\n", ":\n\n"),
        ("{\"error\":\"sentinel\"}\n\n", ":\n\n"),
        ("\u{feff}: sentinel\n\n", ":\n\n"),
        (": sentinel", ":\n\n"),
        (":\r\n\r\n", ":\r\n\r\n"),
        ("id: 1\r\n: sentinel\r\n\r\n", "id: 1\n\n"),
        (": sentinel\ndata: {}\nevent: message\n\n", "data: {}\nevent: message\n\n"),
        ("data: {}\r: sentinel\r\r", "data: {}\n\n"),
        ("database: sentinel\ndata: [DONE]\n\n", "data: [DONE]\n\n"),
        ("data: {\n: sentinel\ndata: }\n\n", "data: {\ndata: }\n\n"),
    ] {
        let seen =
            whole(&format!("{stream}{}", if stream.ends_with('\n') { HI } else { "" }), true);
        let expected = format!("{passed}{}", if stream.ends_with('\n') { HI } else { "" });
        assert_eq!((seen.passed, seen.result), (expected, Ok(())), "{stream:?}");
    }
    let hidden = whole(&format!(": sentinel\n{USAGE}{HI}"), false);
    assert_eq!((hidden.passed.as_str(), hidden.usage), (HI, counted([3, 0, 0, 1, 0])));
}

#[test]
fn a_running_usage_is_final_only_at_the_end_of_the_answer() {
    let chunk = |delta: &str, rest: &str| {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":1}"#;
        format!("data: {{\"choices\":[{{\"delta\":{delta}{rest}}}],{usage}}}\n\n")
    };
    let hi = r#"{"content":"hi"}"#;
    let (running, last) = (chunk(hi, ""), chunk(hi, r#","finish_reason":"stop""#));
    let unfinished = chunk("{}", r#","finish_reason":null"#);
    for (stream, is_final) in [
        (USAGE.to_owned(), true),
        (USAGE.replace("[]", "null"), true),
        (USAGE.replace("\"choices\":[],", ""), true),
        (running.clone(), false),
        (unfinished.clone(), false),
        (last.clone(), true),
        (format!("{last}{HI}"), false),
        (format!("{USAGE}{HI}"), false),
        (format!("{USAGE}{unfinished}"), false),
        (format!("{USAGE}{HI}{last}"), true),
        (format!("{USAGE}data: {{\"choices\":[{{\"delta\":{{}}}}]}}\n\n: ping\n\n"), true),
        (format!("{running}{DONE}"), true),
        (format!("{running}{HI}{DONE}"), true),
        (format!("{HI}{DONE}"), false),
        (format!("{HI}{running}{{"), false),
        (format!("{HI}{USAGE}data: {{\n\n"), true),
    ] {
        let seen = whole(&stream, true);
        let expected = seen.usage.filter(|_| is_final);
        assert_eq!(seen.final_usage, expected, "{stream}");
        assert_eq!(expected.is_some(), is_final, "{stream}");
    }
}
