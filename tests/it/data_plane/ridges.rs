//! The gateway API of Ridges as its agents call it: both generations, its errors, its numbers.

use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{MODEL, Stage, cost, decimal, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::ScriptedProvider;

const EMBEDDER: &str = "text-embedding-3-small";
const NOBODY: &str = "11111111-2222-4333-8444-555555555555";

async fn send(stage: &Stage, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let url = format!("{}{path}", stage.client().data);
    let request = stage.client().http.request(method, url);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Answer::of(request.send().await.unwrap()).await
}

/// As agents call: with no credential.
async fn post(stage: &Stage, path: &str, body: &Value) -> Answer {
    send(stage, Method::POST, path, Some(body)).await
}

async fn get(stage: &Stage, path: &str) -> Answer {
    send(stage, Method::GET, path, None).await
}

fn asked(run: &Run, text: &str) -> Value {
    let messages = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": text}]);
    json!({"evaluation_run_id": run.id, "model": MODEL, "temperature": 0.5, "messages": messages})
}

/// What the agents of the older generation send.
fn older(mut body: Value) -> Value {
    let run = body.as_object_mut().unwrap().remove("evaluation_run_id").unwrap();
    with(body, json!({"run_id": run}))
}

fn tools() -> Value {
    json!([{"name": "find", "description": "Finds a file.", "parameters": [
        {"type": "string", "name": "path", "description": "Where.", "required": true},
        {"type": "number", "name": "depth", "description": "How deep.", "required": false},
    ]}])
}

#[track_caller]
fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["detail"], "{body}");
    assert!(body["detail"].as_str().unwrap().contains(says), "{body} does not say {says:?}");
    assert!(answer.header("x-request-id").is_some());
    assert!(answer.header("x-error-origin").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shape_of_an_answer_follows_how_the_run_was_named() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = asked(&run, "Say hello.");
    let answer = post(&stage, "/api/inference", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json();
    let text = told["content"].as_str().unwrap();
    assert!(!text.is_empty());
    assert_eq!(told, json!({"content": text, "tool_calls": []}));
    assert_eq!(answer.header("x-run-id"), Some(run.id.as_str()));
    let usage = stage.client().settled(&run).await;
    let count = |name: &str| usage[name].as_u64().unwrap();
    let price = cost(MODEL, count("input_tokens"), 0, count("output_tokens"));
    assert_eq!((count("calls"), decimal(&usage["spent_usd"])), (1, price));
    let charged = answer.header("x-run-cost-usd").unwrap();
    assert_eq!(Decimal::from_str_exact(charged).unwrap(), price);

    let bare = post(&stage, "/api/inference", &older(body.clone())).await;
    assert_eq!((bare.status, bare.json()), (200, json!(text)));
    let both = with(body, json!({"run_id": run.id, "stream": false, "tools": null}));
    assert_eq!(post(&stage, "/api/inference", &both).await.json(), told);
    let in_path = json!({"model": MODEL, "messages": both["messages"]});
    let path = format!("/r/{}/api/inference", run.token);
    assert!(post(&stage, &path, &in_path).await.json()["content"].is_string());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_reach_the_model_and_its_calls_come_back_as_lists() {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "find",
            "arguments": "{\"path\": \"/a\", \"depth\": 1.50, \"more\": {\"b\": [1]}}"}},
        {"id": "call_2", "type": "function", "function": {"name": "find", "arguments": ""}},
    ]});
    let chat = json!({"model": MODEL, "usage": {"prompt_tokens": 9, "completion_tokens": 3},
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let provider = ScriptedProvider::json(&chat.to_string()).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let body = with(asked(&run, "Find."), json!({"tools": tools(), "tool_mode": "required"}));
    let answer = post(&stage, "/api/inference", &body).await;
    // Numbers keep the digits that the model wrote.
    let told = r#"{"content":"","tool_calls":[{"name":"find","arguments":[{"name":"path","value":"/a"},{"name":"depth","value":1.50},{"name":"more","value":{"b": [1]}}]},{"name":"find","arguments":[]}]}"#;
    assert_eq!((answer.status, answer.text.as_str()), (200, told));

    let seen = provider.seen().remove(0);
    let sent: Value = serde_json::from_str(seen.split_once("\r\n\r\n").unwrap().1).unwrap();
    let parameters = json!({"type": "object", "required": ["path"], "properties": {
        "path": {"type": "string", "description": "Where."},
        "depth": {"type": "number", "description": "How deep."},
    }});
    let function =
        json!({"name": "find", "description": "Finds a file.", "parameters": parameters});
    assert_eq!(sent["tools"], json!([{"type": "function", "function": function}]));
    assert_eq!((&sent["tool_choice"], &sent["temperature"]), (&json!("required"), &json!(0.5)));
    assert_eq!(sent["messages"], body["messages"]);
    assert!(!seen.contains(&run.id), "{seen}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_arguments_are_no_object_is_the_providers_failure_and_is_paid() {
    let call = json!({"type": "function", "function": {"name": "find", "arguments": "[1"}});
    let chat = json!({"model": MODEL, "usage": {"prompt_tokens": 9, "completion_tokens": 3},
        "choices": [{"message": {"role": "assistant", "content": "a", "tool_calls": [call]}}]});
    let provider = ScriptedProvider::json(&chat.to_string()).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let answer = post(&stage, "/api/inference", &asked(&run, "Find.")).await;
    refused(&answer, 502, "no JSON object");
    assert_eq!(answer.header("x-error-origin"), Some("upstream"));
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost(MODEL, 9, 0, 3), "{usage}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_is_an_object_or_a_bare_list_and_its_model_may_be_left_out() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = json!({"evaluation_run_id": run.id, "model": EMBEDDER, "input": "hello world"});
    let answer = post(&stage, "/api/embedding", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let vector = answer.json()["embedding"].clone();
    assert_eq!(vector.as_array().unwrap().len(), 1536);
    assert_eq!(answer.json(), json!({"embedding": vector}));
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost(EMBEDDER, 2, 0, 0));
    let bare = json!({"run_id": run.id, "input": "hello world"});
    let answer = post(&stage, "/api/embedding", &bare).await;
    assert!(answer.json().as_array().is_some_and(|it| !it.is_empty()), "{}", answer.text);

    let large = stage.run(json!({"allowed_models": [MODEL, "text-embedding-3-large"]})).await;
    let bare = json!({"run_id": large.id, "input": "hello world"});
    let answer = post(&stage, "/api/embedding", &bare).await;
    assert_eq!(answer.header("x-served-model"), Some("text-embedding-3-large"));
    assert!(answer.json().is_array(), "{}", answer.text);
    let none = stage.run(json!({"allowed_models": [MODEL]})).await;
    let bare = json!({"run_id": none.id, "input": "hello world"});
    refused(&post(&stage, "/api/embedding", &bare).await, 404, "no model for embeddings");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_body_may_not_hold_is_a_422_that_names_it() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = asked(&run, "Hello");
    let says =
        |role: &str, content: Value| json!({"messages": [{"role": role, "content": content}]});
    let mut oddly = tools();
    oddly[0]["parameters"][1]["name"] = json!("path");
    for (fields, named) in [
        (json!({"top_p": 1}), "unknown field `top_p`"),
        (json!({"x\n\u{7}": 1}), "unknown field `x??`"),
        (json!({"messages": [{"role": "user", "content": "a", "name": "b"}]}), "`name`"),
        (json!({"messages": [{"role": "user"}]}), "missing field `content`"),
        (says("user", json!(null)), "expected a string"),
        (says("user", json!([{"type": "text", "text": "a"}])), "expected a string"),
        (says("nobody", json!("a")), "messages[0].role"),
        (json!({"messages": []}), "messages"),
        (json!({"model": null}), "expected a string"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"stream": true}), "stream"),
        (json!({"tool_mode": "required"}), "`required`"),
        (json!({"tool_mode": "none", "tools": tools()}), "`none`"),
        (json!({"tool_mode": "perhaps"}), "`perhaps`"),
        (json!({"tools": [{"name": "a", "description": "b"}]}), "`parameters`"),
        (json!({"tools": oddly}), "tools[0]"),
        (json!({"evaluation_run_id": "me"}), "not a UUID"),
    ] {
        let answer = post(&stage, "/api/inference", &with(body.clone(), fields)).await;
        refused(&answer, 422, named);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    for (body, named) in [
        (json!({"evaluation_run_id": run.id, "input": ["a"]}), "expected a string"),
        (json!({"evaluation_run_id": run.id, "input": "a", "dimensions": 4}), "`dimensions`"),
        (json!([run.id, null, EMBEDDER, "a"]), "one JSON object"),
        (json!({"input": "a"}), "names a run"),
    ] {
        refused(&post(&stage, "/api/embedding", &body).await, 422, named);
    }
    let long = format!("{}€", "x".repeat(5000));
    let answer = post(&stage, "/api/inference", &with(body, json!({long: 1}))).await;
    assert!(answer.status == 422 && answer.text.len() < 500, "{answer:?}");
    assert_eq!(stage.client().usage(&run).await["calls"], 0);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_statuses_that_ridges_gives_them() {
    let settings = [("BUDGET_STATUS", "403"), ("ACTIVATION_WAIT_SECONDS", "0")];
    let stage = Stage::simulated(&settings).await;
    let run = stage.run(json!({})).await;
    let ask = async |body: Value| post(&stage, "/api/inference", &body).await;
    let stranger = Run { id: NOBODY.to_owned(), ..run.clone() };
    refused(&ask(asked(&stranger, "Hello")).await, 400, "no run");
    refused(&ask(with(asked(&run, "a"), json!({"run_id": NOBODY}))).await, 400, "same run");
    refused(&ask(with(asked(&run, "a"), json!({"model": "nobody"}))).await, 404, "nobody");
    refused(&ask(with(asked(&run, "a"), json!({"model": EMBEDDER}))).await, 404, EMBEDDER);
    let strict = stage.run(json!({"allowed_models": [EMBEDDER]})).await;
    refused(&ask(asked(&strict, "Hello")).await, 403, MODEL);
    let early = stage.run(json!({"status": "pending"})).await;
    refused(&ask(asked(&early, "Hello")).await, 400, "pending");
    for path in ["/api/usage", "/api/inference-models"] {
        let path = format!("{path}?evaluation_run_id={NOBODY}");
        refused(&get(&stage, &path).await, 400, "no run");
    }
    refused(&get(&stage, "/api/usage").await, 422, "names a run");

    let spent = stage.run(json!({"cost_limit_usd": "0.000001"})).await;
    let answer = ask(asked(&spent, "Hello")).await;
    refused(&answer, 429, "");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);
    let elsewhere = stage.client().ask(&spent, &super::stage::ask("Hello")).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "cost_limit_exceeded"));

    let url = format!("{}/api/inference", stage.client().data);
    let upgrade = stage.client().http.post(url).header("upgrade", "websocket");
    refused(&Answer::of(upgrade.send().await.unwrap()).await, 426, "HTTP");
    let wrong = format!("/r/rg-run-{}/api/usage", "a".repeat(40));
    refused(&get(&stage, &wrong).await, 401, "credential");
    stage.client().close(&run, &json!({})).await;
    refused(&ask(asked(&run, "Hello")).await, 400, "finished");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_prices_are_numbers_of_exact_digits() {
    let stage = Stage::simulated(&[]).await;
    let limit = "0.290000000000000001";
    let run = stage.run(json!({"cost_limit_usd": limit})).await;
    let path = format!("/api/usage?evaluation_run_id={}", run.id);
    let fresh = get(&stage, &path).await.text;
    let told =
        format!(r#"{{"used_cost_usd":0,"remaining_cost_usd":{limit},"max_cost_usd":{limit}}}"#);
    assert_eq!(fresh, told);
    post(&stage, "/api/inference", &asked(&run, "Hello")).await;
    let usage = stage.client().settled(&run).await;
    let (spent, rest) = (usage["spent_usd"].as_str().unwrap(), usage["remaining_usd"].clone());
    let rest = rest.as_str().unwrap();
    assert_ne!(spent, "0");
    let told = format!(
        r#"{{"used_cost_usd":{spent},"remaining_cost_usd":{rest},"max_cost_usd":{limit}}}"#
    );
    assert_eq!(get(&stage, &path).await.text, told);

    let all = get(&stage, "/api/inference-models").await;
    let mini = r#"{"name":"gpt-4o-mini","external_name":"gpt-4o-mini","max_input_tokens":128000,"cost_usd_per_million_input_tokens":0.15,"cost_usd_per_million_output_tokens":0.6}"#;
    assert!(all.text.contains(mini), "{}", all.text);
    assert!(!all.text.contains(EMBEDDER));
    let strict = stage.run(json!({"allowed_models": [MODEL, EMBEDDER]})).await;
    let of_run = format!("/api/inference-models?evaluation_run_id={}", strict.id);
    assert_eq!(get(&stage, &of_run).await.text, format!("[{mini}]"));
    let of_run = format!("/r/{}/api/embedding-models", strict.token);
    let told = r#"[{"name":"text-embedding-3-small","external_name":"text-embedding-3-small","max_input_tokens":8191,"cost_usd_per_million_input_tokens":0.02,"cost_usd_per_million_output_tokens":0,"pricing_mode":"per_token"}]"#;
    assert_eq!(get(&stage, &of_run).await.text, told);
    stage.end().await;
}
