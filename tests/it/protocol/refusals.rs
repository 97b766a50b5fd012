//! Bodies that are refused, each with what its sender reads.

use rungate::domain::fault::Fault;

use super::{message, parse, part, shorten, with};

pub(super) const BAD: &str = "invalid_request";
pub(super) const NO: &str = "parameter_not_allowed";

pub(super) fn check(cases: &[(String, &str, Option<&str>, &str)]) {
    for (body, code, param, text) in cases {
        let fault = refused(body);
        let found = (fault.code().as_str(), fault.param_name(), fault.message());
        assert_eq!(found, (*code, *param, *text), "for {}", shorten(body));
    }
}

pub(super) fn refused(body: &str) -> Fault {
    parse(body).map(|_| ()).expect_err(&shorten(body))
}

/// Bodies that are refused for this reason, whatever the words.
pub(super) fn check_all(bodies: &[String], code: &str, param: &str) {
    for body in bodies {
        let fault = refused(body);
        assert_eq!(fault.code().as_str(), code, "for {}", shorten(body));
        assert_eq!(fault.param_name(), Some(param), "for {}", shorten(body));
        assert!(fault.message().len() < 400, "{}", fault.message());
    }
}

fn s(text: &str) -> String {
    text.to_owned()
}

#[test]
fn what_is_no_json_object_is_refused_with_its_position() {
    let object = "The body must be one JSON object.";
    let syntax = |what: &str| format!("The body is not valid JSON: {what}. Send one JSON object.");
    let cases: Vec<(String, String)> = vec![
        (s(""), syntax("EOF while parsing a value at line 1 column 0")),
        (s("[]"), s(object)),
        (s("\"secret\""), s(object)),
        (s("7"), s(object)),
        (s("null"), s(object)),
        (s("{\"model\":\"m\""), syntax("EOF while parsing an object at line 1 column 12")),
        (s("{model:1}"), syntax("key must be a string at line 1 column 2")),
        (with("\"n\":1") + "x", syntax("trailing characters at line 1 column 64")),
        (with("\"n\":1") + "{}", syntax("trailing characters at line 1 column 64")),
        (with("\"n\":1,"), syntax("trailing comma at line 1 column 64")),
        (with("\"n\":01"), syntax("invalid number at line 1 column 63")),
        (with("\"temperature\":NaN"), syntax("expected value at line 1 column 72")),
        (
            message("\"content\":\"a\nb\""),
            syntax(
                "control character (\\u0000-\\u001F) found while parsing a string at line 1 \
                 column 52",
            ),
        ),
        (format!("\u{feff}{}", with("\"n\":1")), syntax("expected value at line 1 column 1")),
    ];
    for (body, text) in cases {
        let fault = refused(&body);
        let found = (fault.code().as_str(), fault.param_name(), fault.message());
        assert_eq!(found, (BAD, None, text.as_str()), "for {}", shorten(&body));
    }
    let fault = rungate::protocol::request::Request::parse(
        rungate::protocol::format::Format::Chat,
        bytes::Bytes::from_static(b"{\"\xff\"}"),
    );
    let text = "The body is not UTF-8. Send one JSON object, encoded as UTF-8.";
    assert_eq!(fault.unwrap_err().message(), text);
}

/// How a body is made of members, the members, the field at fault and what its sender reads of it.
type Mistake = (fn(&str) -> String, &'static str, &'static str, &'static str);

const MISTAKES: &[Mistake] = &[
    (s, r#"{}"#, "model", "is required"),
    (s, r#"{"model":"m"}"#, "messages", "is required"),
    (s, r#"{"messages":[{"role":"user"}]}"#, "model", "is required"),
    (s, r#"{"model":null,"messages":[{"role":"user"}]}"#, "model", "is required"),
    (s, r#"{"model":7}"#, "model", "must be a string"),
    (s, r#"{"model":"a\u0000b"}"#, "model", "must be 1 to 256 bytes without control characters"),
    (s, r#"{"model":""}"#, "model", "must be 1 to 256 bytes without control characters"),
    (s, r#"{"messages":[]}"#, "messages", "is empty; send at least one message"),
    (s, r#"{"messages":{}}"#, "messages", "must be an array"),
    (s, r#"{"messages":"hi"}"#, "messages", "must be an array"),
    (s, r#"{"messages":[null]}"#, "messages[0]", "must be an object"),
    (s, r#"{"messages":[{"content":"hi"}]}"#, "messages[0].role", "is required"),
    (
        s,
        r#"{"messages":[{"role":"root"}]}"#,
        "messages[0].role",
        "must be one of system, developer, user, assistant, tool, function",
    ),
    (
        message,
        r#""content":7"#,
        "messages[0].content",
        "must be a string, an array of parts or null",
    ),
    (
        message,
        r#""content":{}"#,
        "messages[0].content",
        "must be a string, an array of parts or null",
    ),
    (part, r#"{"type":"text","text":"a"},"b""#, "messages[0].content[1]", "must be an object"),
    (part, r#"{"text":"a"}"#, "messages[0].content[0].type", "is required"),
    (part, r#"{"type":"text"}"#, "messages[0].content[0].text", "is required"),
    (
        message,
        r#""tool_calls":[{"function":{"arguments":{}}}]"#,
        "messages[0].tool_calls[0].function.arguments",
        "must be a string",
    ),
    (with, r#""stream":"true""#, "stream", "must be true or false"),
    (with, r#""stream_options":[]"#, "stream_options", "must be an object"),
    (with, r#""stop":["a",1]"#, "stop", "must be a string or an array of at most 16 strings"),
    (with, r#""logit_bias":{"1":"x"}"#, "logit_bias", "must be an object of numbers"),
    (with, r#""response_format":"json""#, "response_format", "must be an object"),
    (with, r#""tool_choice":7"#, "tool_choice", "must be a string or an object"),
    (with, r#""metadata":{"run_id":7}"#, "metadata.run_id", "must be a string"),
];

#[test]
fn missing_and_mistyped_fields_are_named() {
    for (whole, members, path, says) in MISTAKES {
        check(&[(whole(members), BAD, Some(path), &format!("`{path}` {says}."))]);
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
    let says = "`model` must be 1 to 256 bytes without control characters.";
    check(&[(long, BAD, Some("model"), says)]);
}

#[test]
fn fields_without_a_row_are_refused_by_name_at_every_level() {
    let says =
        |path: &str| format!("`{path}` is not a field that this gateway passes on; remove it.");
    let tool = |members: &str| with(&format!(r#""tools":[{members}]"#));
    let cases = [
        (with(r#""foo":1"#), "foo"),
        (with(r#""Model":"x""#), "Model"),
        (with(r#""model ":"x""#), "model "),
        (with(r#""":1"#), ""),
        (with(r#""a\nb\u001b[31m":1"#), "a?b?[31m"),
        (message(r#""foo":1"#), "messages[0].foo"),
        (message(r#""cache_control":{}"#), "messages[0].cache_control"),
        (
            part(r#"{"type":"text","text":"a","cache_control":{}}"#),
            "messages[0].content[0].cache_control",
        ),
        (part(r#"{"input_audio":{}}"#), "messages[0].content[0].input_audio"),
        (
            part(r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","x":1}}"#),
            "messages[0].content[0].image_url.x",
        ),
        (tool(r#"{"type":"function","function":{"name":"f","bar":1}}"#), "tools[0].function.bar"),
        (tool(r#"{"type":"function","bar":1}"#), "tools[0].bar"),
        (
            message(r#""tool_calls":[{"id":"c","function":{"name":"f","output":1}}]"#),
            "messages[0].tool_calls[0].function.output",
        ),
        (with(r#""stream_options":{"x":1}"#), "stream_options.x"),
        (with(r#""tool_choice":{"type":"function","x":1}"#), "tool_choice.x"),
        (with(r#""function_call":{"name":"f","x":1}"#), "function_call.x"),
    ];
    for (body, path) in cases {
        check(&[(body, NO, Some(path), &says(path))]);
    }
    let long = refused(&with(&format!("\"{}\":1", "é".repeat(9_000))));
    assert_eq!(long.param_name(), Some(format!("{}…", "é".repeat(64)).as_str()));
}
