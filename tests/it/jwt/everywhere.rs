//! No anonymous inference: every endpoint of the data plane, as its own document lists them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// What tells nothing of any run and costs nothing.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];

/// Every method and path that is mounted.
async fn endpoints(client: &Client) -> Vec<(Method, String)> {
    let document = client.http.get(format!("{}/openapi.json", client.data)).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if ![Method::GET, Method::POST].contains(&method) {
                continue;
            }
            found.push((method, path.replace("{model}", "gpt-4o-mini")));
        }
    }
    found
}

/// A body that names the run in every way that there is.
fn body(run: &Run) -> Value {
    json!({
        "model": "gpt-4o-mini", "max_tokens": 9, "input": "hello",
        "messages": [{"role": "user", "content": "hello"}],
        "run_id": run.id, "evaluation_run_id": run.id, "metadata": {"run_id": run.id},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_token_is_needed_no_endpoint_answers_without_a_good_credential() {
    let gateway = TestGateway::serve(&database().await, &[("RUN_AUTH", "token")]).await;
    let client = &gateway.client;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let endpoints = endpoints(client).await;
    let mut refused = 0;
    for (method, path) in &endpoints {
        let asked = |path: String| {
            let body = (*method == Method::POST).then(|| body(&run).to_string());
            let url = format!("{}{path}", client.data);
            let request = client.http.request(method.clone(), url);
            request
                .header("content-type", "application/json")
                .header("x-run-id", &run.id)
                .body(body.unwrap_or_default())
        };
        let in_query = format!("{path}?run_id={}", run.id);
        let asks = [
            ("nothing", asked(path.clone())),
            ("the run's id", asked(path.clone()).bearer_auth(&run.id)),
            ("the run's id as a key", asked(path.clone()).header("x-api-key", &run.id)),
            ("the run's id in the query", asked(in_query)),
            ("no token in the path", asked(format!("/r/{}{path}", run.id))),
            ("somebody's key", asked(path.clone()).bearer_auth("rg-key-nobodys")),
            ("somebody's signed token", asked(path.clone()).bearer_auth("eyJhbGciOiJub25lIn0.e.e")),
        ];
        for (what, request) in asks {
            let told = Answer::of(request.send().await.unwrap()).await;
            if OPEN.contains(&path.as_str()) {
                assert_eq!(told.status, 200, "{method} {path} with {what}: {}", told.text);
            } else {
                assert_eq!(told.status, 401, "{method} {path} with {what}: {}", told.text);
                refused += 1;
            }
        }
    }
    assert!(refused > 7 * 20, "{refused} of {endpoints:?}");
    let usage = client.settled(&run).await;
    assert_eq!((usage["calls"].as_u64(), &usage["spent_usd"]), (Some(0), &json!("0")), "{usage}");
    gateway.stop().await;
}
