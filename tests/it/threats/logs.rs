//! What clients choose – names of models, ids of requests, headers, notes of a run – is data in the
//! logs and nothing at all in the metrics.

use std::collections::HashSet;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::sent;
use crate::data_plane::stage::{ask, ask_of, with};
use crate::support::postgres::database;
use crate::support::process::GatewayProcess;

/// What a client would like to see at the beginning of a line, or in a label.
const MARKER: &str = "forged-by-a-client";

fn hostile() -> Vec<String> {
    let ends =
        ["\n", "\r\n", "\r", "\u{2028}", "\u{85}", "\u{b}", "\u{0}", "\u{1b}[2J", "\"}", "\\", "’"];
    ends.iter()
        .map(|end| format!("a{end}{{\"level\":\"ERROR\",\"message\":\"{MARKER}\"}}{end}"))
        .chain([format!("{MARKER}{}", "x".repeat(100_000)), format!("\u{202e}{MARKER}")])
        .collect()
}

/// Threat 21.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_chooses_breaks_a_log_line_or_labels_a_metric() {
    let settings = [("LOG_FORMAT", "json"), ("RUST_LOG", "debug")];
    let gateway = GatewayProcess::serve(&database().await, &settings);
    let client = &gateway.client;
    for text in hostile() {
        let notes = json!({"cost_limit_usd": "1", "metadata": {&text: text}});
        // Postgres keeps no NUL, so those notes are refused.
        let request = client.operator(Method::POST, "/runs");
        let registered = sent(request.json(&with(notes, json!({"status": "running"})))).await;
        assert!(matches!(registered.status, 201 | 400), "{}", registered.text);
        let run = client.register(json!({"cost_limit_usd": "1"})).await;
        let bytes = HeaderValue::from_bytes(text.replace(['\n', '\r', '\0'], "\t").as_bytes());
        for body in [
            ask_of(&text, "hi"),
            ask(&text),
            with(ask("hi"), json!({&text: 1})),
            with(ask("hi"), json!({"run_id": text})),
            with(ask("hi"), json!({"service_tier": text})),
            with(ask("hi"), json!({"tools": [{"type": text}]})),
        ] {
            let mut request = client.chat(&run, &body);
            for name in ["x-request-id", "user-agent", "x-forwarded-for", "traceparent", "referer"]
            {
                // Short ones only: the server refuses a head that is too long.
                if let Some(value) = bytes.as_ref().ok().filter(|value| value.len() < 1_000) {
                    request = request.header(name, value.clone());
                }
            }
            let answer = sent(request).await;
            assert!(answer.status < 500, "{}", answer.text);
            let id = answer.header("x-request-id").unwrap();
            assert!(!id.contains(MARKER) && id.len() <= 128, "{id}");
        }
        let path = format!("{}/v1/{}", client.data, percent(&text));
        assert!(sent(client.http.get(path)).await.status < 500);
    }
    let metrics = sent(client.operator(Method::GET, "/metrics")).await.text;
    assert!(metrics.contains("rungate_calls_total{") && !metrics.contains(MARKER), "{metrics}");
    check_labels(&metrics);
    gateway.ask_to_stop();
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(0));
    check_log(&ended.said.err);
}

fn percent(text: &str) -> String {
    let short: String = text.chars().take(500).collect();
    percent_encoding::utf8_percent_encode(&short, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// One object a line, each with a level and a time of its own.
fn check_log(text: &str) {
    assert!(text.lines().count() > 50, "{text}");
    for line in text.lines() {
        let read: Result<Value, _> = serde_json::from_str(line);
        let Ok(Value::Object(line)) = read else { panic!("no object: {line:?}") };
        assert!(line.contains_key("timestamp") && line.contains_key("level"), "{line:?}");
        assert!(line.get("message").is_none_or(|message| message != MARKER), "{line:?}");
        let length: usize = line.values().map(|value| value.to_string().len()).sum();
        assert!(length < 4_000, "{length} characters: {line:?}");
    }
    assert!(!text.contains(['\u{1b}', '\r', '\u{0}']));
}

/// The values of labels come from the settings and the catalogue, so there are few of them.
fn check_labels(metrics: &str) {
    let labels: HashSet<&str> = metrics
        .lines()
        .filter_map(|line| line.split_once('{')?.1.split_once('}'))
        .flat_map(|(labels, _)| labels.split(','))
        .collect();
    assert!(labels.len() < 100, "{labels:?}");
}
