//! Bodies made to be read differently by two parsers, or to be dear to read.

use super::refusals::{BAD, check, check_all, refused};
use super::{message, parse, part, with};

#[test]
fn duplicate_keys_are_refused_at_every_level_however_they_are_escaped() {
    let twice = |path: &str| format!("`{path}` is given twice; give each field once.");
    let flaw =
        |path: &str| format!("`{path}` has an object with the same key twice; give each key once.");
    let parameters = |schema: &str| {
        with(&format!(r#""tools":[{{"type":"function","function":{{"parameters":{schema}}}}}]"#))
    };
    let cases = [
        (with(r#""model":"x""#), "model", true),
        (with(r#""m\u006fdel":"x""#), "model", true),
        (with(r#""\u006dessages":[]"#), "messages", true),
        (with(r#""n":1,"n":1"#), "n", true),
        (with(r#""n":null,"n":16"#), "n", true),
        (with(r#""audio":null,"audio":null"#), "audio", true),
        (message(r#""content":"a","content":"b""#), "messages[0].content", true),
        (message(r#""content":"a","c\u006fntent":["#), "messages[0].content", true),
        (
            part(r#"{"type":"text","text":"a","te\u0078t":"b"}"#),
            "messages[0].content[0].text",
            true,
        ),
        (parameters(r#"{"a":1,"a":1}"#), "tools[0].function.parameters", false),
        (parameters(r#"{"a":[{"b":{"c":1,"\u0063":2}}]}"#), "tools[0].function.parameters", false),
        (with(r#""response_format":{"x":{"y":1,"y":1}}"#), "response_format", false),
        (with(r#""logit_bias":{"1":1,"\u0031":2}"#), "logit_bias", false),
        (with(r#""metadata":{"run_id":"a","run_id":"b"}"#), "metadata", false),
    ];
    for (body, path, known) in cases {
        let text = if known { twice(path) } else { flaw(path) };
        check(&[(body, BAD, Some(path), &text)]);
    }
}

#[test]
fn half_characters_are_refused_and_whole_ones_pass() {
    for half in [
        r"\ud800",
        r"\uDFFF",
        r"a\ud83d",
        r"\ud83d\n",
        r"\ud83d\ud83d",
        r"\ude00\ud83d",
        r"\\\ud83d",
        r"\ud83dx\ude00",
        r"\uD83D\u0041",
    ] {
        let text = format!("\"{half}\"");
        check_all(&[message(&format!("\"content\":{text}"))], BAD, "messages[0].content");
        let body = part(&format!(r#"{{"type":"text","text":{text}}}"#));
        check_all(&[body], BAD, "messages[0].content[0].text");
        check_all(&[with(&format!("\"stop\":[{text}]"))], BAD, "stop");
        let schema = format!(r#""response_format":{{"a":[{text}]}}"#);
        check_all(&[with(&schema)], BAD, "response_format");
        let model = format!(r#"{{"model":{text},"messages":[]}}"#);
        check_all(&[model], BAD, "model");
        assert_eq!(refused(&with(&format!("{text}:1"))).code().as_str(), BAD);
    }
    for whole in
        [r"\ud83d\ude00", r"\\ud83d", r"\\\\ud83d", r"\u0041\uD83D\uDE00\n", r"\u0000", "😀"]
    {
        assert!(parse(&message(&format!("\"content\":\"{whole}\""))).is_ok(), "{whole}");
    }
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let deep = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let format = |value: &str| with(&format!("\"response_format\":{value}"));
    assert!(parse(&format(&deep(63))).is_ok());
    let text = "`response_format` is nested deeper than 64 levels; flatten it.";
    for levels in [64, 100, 127, 10_000, 1_000_000] {
        check(&[(format(&deep(levels)), BAD, Some("response_format"), text)]);
    }
    let nest = "[".repeat(10_000);
    assert_eq!(refused(&message(&format!("\"content\":{nest}"))).code().as_str(), BAD);
    assert_eq!(refused(&with(&format!("\"temperature\":{nest}"))).code().as_str(), BAD);
    let wide = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(70_000));
    let text = "`response_format` makes more than 65536 free-form values in one request; \
                shorten it.";
    check(&[(format(&wide), BAD, Some("response_format"), text)]);
}

#[test]
fn a_million_messages_parts_or_tools_are_refused_early() {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let user = r#"{"role":"user"}"#;
    let body = |count| format!(r#"{{"model":"m","messages":[{}]}}"#, many(user, count));
    assert!(parse(&body(8_192)).is_ok());
    let text = "`messages` has more than 8192 elements; shorten it.";
    check(&[
        (body(8_193), BAD, Some("messages"), text),
        (body(1_000_000), BAD, Some("messages"), text),
    ]);
    let text = r#"{"type":"text","text":""}"#;
    check_all(&[part(&many(text, 8_193))], BAD, "messages[0].content");
    let tool = r#"{"type":"custom","custom":{}}"#;
    check_all(&[with(&format!("\"tools\":[{}]", many(tool, 513)))], BAD, "tools");
    let stops = format!("\"stop\":[{}]", many("\"a\"", 17));
    check_all(&[with(&stops)], BAD, "stop");
    let full = format!(r#"{{"role":"user","content":[{}]}}"#, many(text, 8_000));
    let body = format!(r#"{{"model":"m","messages":[{}]}}"#, many(&full, 9));
    check_all(&[body], BAD, "messages[8].content");
}

#[test]
fn an_endless_array_of_plain_values_is_refused_at_its_first_element_too_many() {
    for (item, count) in [("1", 5_000_000), ("\"text\"", 1_000_000)] {
        let array = format!("[{}]", vec![item; count].join(","));
        check(&[
            (
                with(&format!("\"stop\":{array}")),
                BAD,
                Some("stop"),
                "`stop` must be a string or an array of at most 16 strings.",
            ),
            (
                with(&format!("\"modalities\":{array}")),
                BAD,
                Some("modalities"),
                "`modalities` must be an array of at most 16 strings.",
            ),
            (
                message(&format!("\"annotations\":{array}")),
                "parameter_not_allowed",
                Some("messages[0].annotations"),
                "`messages[0].annotations` is not passed on; leave it out.",
            ),
        ]);
    }
    check_all(&[with("\"modalities\":[1]"), with("\"modalities\":{}")], BAD, "modalities");
    assert!(parse(&with("\"modalities\":[\"te\\u0078t\"]")).is_ok());
    assert!(parse(&message("\"annotations\":[ ]")).is_ok());
}
