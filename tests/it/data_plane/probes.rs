//! What clients ask before and beside their calls: every one gets an answer at once that no client
//! asks for again.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::stage::{Stage, ask};
use crate::support::client::{Answer, Run};

fn request(stage: &Stage, run: &Run, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", stage.client().data);
    stage.client().http.request(method, url).bearer_auth(&run.token)
}

async fn send(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_so_that_no_client_asks_again() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    for (method, path, status) in [
        // Claude Code looks whether its base URL is there, and reads any answer as a yes.
        (Method::HEAD, "/", 404),
        (Method::GET, "/", 404),
        (Method::HEAD, "/v1", 404),
        (Method::POST, "/api/event_logging/batch", 404),
        (Method::GET, "/v1/organizations/me", 404),
        (Method::GET, "/v1/responses/resp_1", 404),
        (Method::DELETE, "/v1/responses/resp_1", 404),
        (Method::GET, "/v1/models?limit=1000&beta=true", 200),
        (Method::GET, "/v1/models?client_version=0.150.0", 200),
    ] {
        let answer = send(request(&stage, &run, method.clone(), path)).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        if status == 404 {
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{method} {path}");
        }
        assert_eq!(answer.text.is_empty(), method == Method::HEAD, "{method} {path}");
        assert_eq!(answer.header("retry-after"), None, "{method} {path}");
    }
    assert_eq!(stage.client().usage(&run).await["refusals"], json!({}), "none of them is a call");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_anthropics_clients_append_changes_nothing() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]});
    let ask = request(&stage, &run, Method::POST, "/v1/messages?beta=true");
    let answer = send(
        ask.json(&body)
            .header("anthropic-version", "2023-06-01")
            .header("anthropic-beta", "claude-code-20250219,who-knows-2031-01-01")
            .header("x-claude-code-session-id", "s")
            .header("x-stainless-retry-count", "0"),
    )
    .await;
    assert_eq!((answer.status, &answer.json()["type"]), (200, &json!("message")));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_of_codex_is_refused_so_that_it_falls_back_at_once() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let upgrade = request(&stage, &run, Method::GET, "/v1/responses")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = send(upgrade).await;
    assert_eq!((answer.status, answer.code().as_str()), (426, "upgrade_not_supported"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let posted = json!({"model": "gpt-4o-mini", "input": "hi", "stream": true, "store": false});
    let posted = send(request(&stage, &run, Method::POST, "/v1/responses").json(&posted)).await;
    assert_eq!(posted.status, 200, "{}", posted.text);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_list_of_models_is_read_by_clients_of_openai_of_anthropic_and_by_codex() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"allowed_models": ["gpt-4o-mini", "claude-sonnet-5-5"]})).await;
    let list = send(request(&stage, &run, Method::GET, "/v1/models")).await.json();
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids.len(), 2);
    for model in list["data"].as_array().unwrap() {
        assert_eq!((&model["object"], &model["type"]), (&json!("model"), &json!("model")));
        assert_eq!(model["display_name"], model["id"]);
        assert!(model["created_at"].is_string() && model["created"].is_u64(), "{model}");
    }
    let ends = (&list["first_id"], &list["last_id"], &list["has_more"]);
    assert_eq!(ends, (ids[0], ids[1], &json!(false)));
    assert_eq!(list.get("models"), None);
    let path = "/v1/models?client_version=0.150.0";
    let of_codex = send(request(&stage, &run, Method::GET, path)).await.json();
    assert_eq!((&of_codex["models"], &of_codex["data"]), (&json!([]), &list["data"]));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_shuts_down_blames_no_agent_of_ridges_for_its_body() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let bodies = [json!({"evaluation_run_id": run.id, "nonsense": 1}), json!([])];
    let paths = ["/api/inference", "/api/embedding"];
    let statuses = async || {
        let mut found = Vec::new();
        for (path, body) in paths.iter().flat_map(|path| bodies.iter().map(move |it| (path, it))) {
            let url = format!("{}{path}", stage.client().data);
            let answer = send(stage.client().http.post(url).json(body)).await;
            found.push((answer.status, answer.header("retry-after").map(str::to_owned)));
        }
        found
    };
    assert_eq!(statuses().await, vec![(422, None); 4]);
    stage.gateway.running.gateway.drain();
    assert_eq!(statuses().await, vec![(503, Some("1".to_owned())); 4]);
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 503);
    stage.end().await;
}
