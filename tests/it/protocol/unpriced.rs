//! What is refused because its cost has no bound or it reaches outside.

use super::refusals::{BAD, NO, check, check_all, refused};
use super::{message, part, with};

#[test]
fn what_has_no_bounded_price_is_refused_with_the_reason() {
    let tag = |path: &str, words: &str| {
        format!("`{path}` may only be {words}: anything else reaches outside or has no price here.")
    };
    check(&[
        (
            with(r#""store":true"#),
            NO,
            Some("store"),
            "`store` may only be false: nothing is kept at the provider.",
        ),
        (
            with(r#""service_tier":"priority""#),
            NO,
            Some("service_tier"),
            "`service_tier` may only be auto or default: other tiers have other prices.",
        ),
        (
            with(r#""modalities":["text","audio"]"#),
            NO,
            Some("modalities"),
            "`modalities` may only be [\"text\"]: other output has no price here.",
        ),
        (
            with(r#""best_of":2"#),
            NO,
            Some("best_of"),
            "`best_of` is not passed on: it multiplies the output unseen; use `n`.",
        ),
        (
            message(r#""audio":{"id":"a"}"#),
            NO,
            Some("messages[0].audio"),
            "`messages[0].audio` is not passed on; leave it out.",
        ),
        (
            message(r#""annotations":[{}]"#),
            NO,
            Some("messages[0].annotations"),
            "`messages[0].annotations` is not passed on; leave it out.",
        ),
        (
            part(r#"{"type":"text","text":"a","image_url":{"url":"data:image/png;base64,AA"}}"#),
            NO,
            Some("messages[0].content[0].image_url"),
            "`messages[0].content[0].image_url` does not belong to an object of type `text`; \
             remove it.",
        ),
        (
            part(r#"{"type":"file","file":{"file_id":"f"}}"#),
            NO,
            Some("messages[0].content[0].type"),
            &tag("messages[0].content[0].type", "text, refusal, image_url"),
        ),
        (
            with(r#""tools":[{"type":"web_search"}]"#),
            NO,
            Some("tools[0].type"),
            &tag("tools[0].type", "function, custom"),
        ),
    ]);
}

#[test]
fn tools_of_the_provider_are_refused_wherever_they_are_named() {
    for kind in [
        "web_search",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "web_fetch",
        "code_interpreter",
        "code_execution",
        "file_search",
        "mcp",
        "computer_use",
        "computer_use_preview",
        "retrieval",
        "image_generation",
        "local_shell",
        "apply_patch",
        "browser_search",
        "openrouter:web_search",
        "Function",
        "function ",
        "",
        "allowed_tools",
    ] {
        let tool = format!(r#"{{"type":"{kind}"}}"#);
        let fine = r#"{"type":"function","function":{"name":"f"}}"#;
        check_all(&[with(&format!(r#""tools":[{fine},{tool}]"#))], NO, "tools[1].type");
        let choice = format!(
            r#""tool_choice":{{"type":"allowed_tools","allowed_tools":{{"tools":[{tool}]}}}}"#
        );
        check_all(&[with(&choice)], NO, "tool_choice.allowed_tools.tools[0].type");
        if kind != "allowed_tools" {
            check_all(&[with(&format!(r#""tool_choice":{tool}"#))], NO, "tool_choice.type");
        }
    }
    // Nested without a type, as Responses and Gemini spell them.
    check_all(&[with(r#""tools":[{"google_search":{}}]"#)], NO, "tools[0].google_search");
    check_all(&[with(r#""tools":[{"type":"function","name":"f"}]"#)], NO, "tools[0].name");
    check_all(&[with(r#""tools":[{"function":{"name":"f"}}]"#)], BAD, "tools[0].type");
}

#[test]
fn only_images_within_the_request_pass() {
    let image =
        |url: &str| part(&format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#));
    let urls = [
        "http://a/b.png",
        "https://a/b.png",
        "HTTPS://a",
        "file:///etc/passwd",
        "ftp://a",
        "//host/x",
        "",
        " data:image/png;base64,AAAA",
        "data:image/png;base64,AAAA ",
        "DATA:image/png;base64,AAAA",
        "data:image/PNG;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64,",
        "data:image/png;base64,====",
        "data:image/png;base64,AA=A",
        "data:image/png;base64,AA\\nAA",
        "data:image/png;base64,AA-_",
        "data:image/png;charset=x;base64,AAAA",
        "data:image/png;base64,https://a/b",
        "data:image/png;base64,AA\\u0000",
        "gs://a",
        "\\u0068ttp://a",
        "data:image/jpg;base64,AAAA",
        "data:image/png;base64,data:image/png;base64,AAAA",
        "data:image/png;BASE64,AAAA",
    ];
    let bodies: Vec<String> = urls.iter().map(|url| image(url)).collect();
    check_all(&bodies, NO, "messages[0].content[0].image_url.url");
    let mut late = "A".repeat(100_000);
    late.push('!');
    let late = format!("data:image/png;base64,{late}");
    check_all(&[image(&late)], NO, "messages[0].content[0].image_url.url");
    assert!(!refused(&image("https://secret.example/?k=1")).message().contains("secret"));
    let detail = part(
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","detail":"ultra"}}"#,
    );
    check_all(&[detail], BAD, "messages[0].content[0].image_url.detail");
    let bare = part(r#"{"type":"image_url","image_url":"data:image/png;base64,AA"}"#);
    check_all(&[bare], BAD, "messages[0].content[0].image_url");
}

#[test]
fn limits_and_counts_are_whole_numbers_in_range() {
    let wrong = [
        "0",
        "-1",
        "-0",
        "1.5",
        "1.0",
        "1e3",
        "1E3",
        "\"5\"",
        "true",
        "[]",
        "{}",
        "2147483648",
        "9223372036854775808",
        "18446744073709551616",
        "1e999",
        "-9223372036854775809",
    ];
    for field in ["max_tokens", "max_completion_tokens", "max_output_tokens", "n"] {
        let bodies: Vec<String> =
            wrong.iter().map(|value| with(&format!("\"{field}\":{value}"))).collect();
        check_all(&bodies, BAD, field);
    }
    check_all(&[with("\"n\":17")], BAD, "n");
    check(&[
        (with("\"n\":17"), BAD, Some("n"), "`n` must be a whole number from 1 to 16."),
        (
            with("\"max_tokens\":0"),
            BAD,
            Some("max_tokens"),
            "`max_tokens` must be a whole number from 1 to 2147483647.",
        ),
        (
            with("\"temperature\":1e999"),
            BAD,
            Some("temperature"),
            "`temperature` must be a finite number.",
        ),
        (with("\"seed\":1.5"), BAD, Some("seed"), "`seed` must be a whole number (64 bits)."),
    ]);
    for field in [
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_k",
        "min_p",
        "repetition_penalty",
    ] {
        let long = format!("0.{}", "1".repeat(100));
        let bodies: Vec<String> = ["1e999", "-1e999", "\"1\"", "true", "[1]", &long]
            .iter()
            .map(|value| with(&format!("\"{field}\":{value}")))
            .collect();
        check_all(&bodies, BAD, field);
    }
    for value in ["{\"1\":1e999}", "{\"1\":[]}", "[]", "{\"1\":null}"] {
        check_all(&[with(&format!("\"logit_bias\":{value}"))], BAD, "logit_bias");
    }
}
