//! The control plane against the same client, in short.

use reqwest::Method;

use super::raw::{Scene, send, send_and_hang_up};
use crate::support::gateway::ADMIN_TOKEN;

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_takes_no_request_that_can_be_read_in_two_ways() {
    let scene = Scene::new(&[]).await;
    let at = scene.gateway.running.admin_addr;
    let body = r#"{"cost_limit_usd":"1"}"#;
    let head = format!(
        "POST /runs HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nauthorization: Bearer \
         {ADMIN_TOKEN}\r\ncontent-type: application/json\r\n"
    );
    let length = format!("content-length: {}\r\n", body.len());
    let chunked = "transfer-encoding: chunked\r\n";
    let whole = send(at, format!("{head}{length}\r\n{body}").as_bytes()).await;
    assert_eq!(whole.statuses, [201], "{}", whole.text);
    for (name, bytes) in [
        ("CL+TE", format!("{head}{length}{chunked}\r\n{body}")),
        ("two lengths", format!("{head}content-length: 1\r\n{length}\r\n{body}")),
        ("two codings", format!("{head}transfer-encoding: chunked, identity\r\n\r\n{body}")),
        ("two credentials", format!("{head}authorization: Bearer other\r\n{length}\r\n{body}")),
        (
            "the same twice",
            format!("{head}authorization: Bearer {ADMIN_TOKEN}\r\n{length}\r\n{body}"),
        ),
        ("two hosts", format!("{head}host: other\r\n{length}\r\n{body}")),
        ("folded", format!("{head}x-a: 1\r\n 2\r\n{length}\r\n{body}")),
        ("NUL", format!("{head}x-a: \0\r\n{length}\r\n{body}")),
        ("a bad chunk", format!("{head}{chunked}\r\n-1\r\n{body}\r\n0\r\n\r\n")),
        ("a WebSocket", format!("{head}upgrade: websocket\r\n{length}\r\n{body}")),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        let heard = send_and_hang_up(at, bytes.as_bytes()).await;
        assert!(matches!(heard.statuses.as_slice(), [] | [400..=499]), "{name}: {}", heard.text);
    }
    for path in
        ["//runs", "/v1/../runs", "/runs%2f", "/runs;a", "/runs/%00", "/v1/chat/completions"]
    {
        let bytes = format!("{head}{length}\r\n{body}").replacen("/runs", path, 1);
        let heard = send(at, bytes.as_bytes()).await;
        assert!(matches!(heard.statuses.as_slice(), [400..=499]), "{path}: {}", heard.text);
    }
    let runs = scene.client().operator(Method::GET, "/runs").send().await.unwrap();
    let runs: serde_json::Value = runs.json().await.unwrap();
    assert_eq!(runs["data"].as_array().unwrap().len(), 2, "the scene's and the whole one");
    scene.end().await;
}

/// Threat 23.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_of_the_control_plane_get_one_answer_and_ask_nobody() {
    let scene = Scene::new(&[]).await;
    let client = scene.client();
    let mut answers = std::collections::HashSet::new();
    let nearly = &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1];
    for token in ["", "x", nearly, &scene.run.token, &"x".repeat(8000), &format!("{ADMIN_TOKEN}x")]
    {
        for path in ["/runs", &format!("/runs/{}", scene.run.id), "/runs/nobody", "/metrics"] {
            let request = client.http.get(format!("{}{path}", client.admin)).bearer_auth(token);
            let answer = request.header("x-request-id", "same").send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            answers.insert(answer.text().await.unwrap());
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    scene.end().await;
}
