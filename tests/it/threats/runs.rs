//! Whose run it is, and what it has spent: nothing that a sandbox sends changes either.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ANSWER, ledger_of, sent};
use crate::data_plane::stage::{Stage, ask, cost, decimal, with};
use crate::support::client::Run;
use crate::support::postgres::database;
use crate::support::process::GatewayProcess;
use crate::support::provider::ScriptedProvider;

/// The same id as others might write it.
fn spellings(id: &str) -> Vec<String> {
    let bare = id.replace('-', "");
    vec![id.to_owned(), id.to_uppercase(), bare, format!("{{{id}}}"), format!("urn:uuid:{id}")]
}

/// Threat 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_beside_another_runs_id_is_refused_and_leaves_that_runs_ledger_to_the_byte() {
    let provider = ScriptedProvider::json(ANSWER).await;
    for auth in ["run_id", "token"] {
        let stage = Stage::before(&provider, &[("RUN_AUTH", auth)]).await;
        let (ours, theirs) = (stage.run(json!({})).await, stage.run(json!({})).await);
        assert_eq!(stage.client().ask(&theirs, &ask("hi")).await.status, 200);
        stage.client().settled(&theirs).await;
        let (before, asked) = (ledger_of(&stage.database, &theirs.id).await, provider.seen().len());
        for id in spellings(&theirs.id) {
            check_foreign_id(&stage, &ours, &id).await;
        }
        // Its usage is read, which also writes the counts of refusals.
        stage.client().usage(&ours).await;
        assert_eq!(ledger_of(&stage.database, &theirs.id).await, before, "{auth}");
        assert_eq!(stage.client().usage(&theirs).await["refusals"], json!({}), "{auth}");
        assert_eq!(provider.seen().len(), asked, "{auth}: nothing was forwarded");
        stage.end().await;
    }
}

/// Names another run by `id` in every place beside the token of `ours`.
async fn check_foreign_id(stage: &Stage, ours: &Run, id: &str) {
    let client = stage.client();
    let chat = format!("{}/v1/chat/completions", client.data);
    let post = |url: &str| client.http.post(url).bearer_auth(&ours.token);
    let named = |fields: Value| post(&chat).json(&with(ask("hi"), fields));
    let escaped = ask("hi").to_string().replacen('{', &format!(r#"{{"run\u005fid":"{id}","#), 1);
    let query = |path: &str| {
        reqwest::Url::parse_with_params(&format!("{}{path}", client.data), [("run_id", id)])
            .unwrap()
    };
    let below = format!("{}/r/{}/v1/chat/completions", client.data, ours.token);
    let requests = [
        ("body", named(json!({"run_id": id}))),
        ("alias", named(json!({"evaluation_run_id": id}))),
        ("metadata", named(json!({"metadata": {"run_id": id}}))),
        ("after ours", named(json!({"run_id": ours.id, "evaluation_run_id": id}))),
        ("escaped key", post(&chat).header("content-type", "application/json").body(escaped)),
        ("header", named(json!({})).header("x-run-id", id)),
        ("second header", named(json!({})).header("x-run-id", &ours.id).header("x-run-id", id)),
        ("query", post(query("/v1/chat/completions").as_str()).json(&ask("hi"))),
        ("agents", post(query("/agents/inference").as_str()).json(&ask("hi"))),
        ("path", client.http.post(&below).header("x-run-id", id).json(&ask("hi"))),
        ("usage", client.http.get(query("/v1/usage")).bearer_auth(&ours.token)),
        ("models", client.http.get(query("/v1/models")).bearer_auth(&ours.token)),
    ];
    for (place, request) in requests {
        let answer = sent(request).await;
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (400, "run_id_mismatch".to_owned()), "{place}, {id}: {}", answer.text);
    }
}

/// Threat 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_outlives_the_gateway_that_counted_it() {
    let database = database().await;
    let first = GatewayProcess::serve(&database, &[]);
    // Nine tenths of it are spent by one call.
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 1500,
        "messages": [{"role": "user", "content": "[[sim tokens=1500]]"}]});
    let run = first.client.register(json!({"cost_limit_usd": "0.001", "on_cap": "refuse"})).await;
    assert_eq!(first.client.ask(&run, &body).await.status, 200);
    let spent = first.client.settled(&run).await["spent_usd"].clone();
    assert!(decimal(&spent) > "0.0009".parse().unwrap(), "{spent}");
    first.kill();
    let second = GatewayProcess::serve(&database, &[]);
    for _ in 0..3 {
        let answer = second.client.ask(&run, &body).await;
        assert_eq!((answer.status, answer.code()), (402, "cost_limit_exceeded".to_owned()));
        assert_eq!(decimal(&answer.json()["error"]["spent_usd"]), decimal(&spent));
    }
    assert_eq!(second.client.usage(&run).await["spent_usd"], spent);
}

/// Threat 26.
#[tokio::test(flavor = "multi_thread")]
async fn no_method_on_any_path_of_the_data_plane_changes_what_was_spent() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let forged = [("x-run-cost-usd", "0"), ("x-run-spent-usd", "0"), ("x-served-model", "free")];
    let mut request = stage.client().chat(&run, &ask("hi"));
    for (name, value) in forged {
        request = request.header(name, value);
    }
    assert_eq!(sent(request).await.status, 200);
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost("gpt-4o-mini", 9, 0, 1));
    let before = ledger_of(&stage.database, &run.id).await;
    let forgery = json!({"id": run.id, "run_id": run.id, "status": "finished", "mode": "abort",
        "cost_limit_usd": "999", "spent_usd": "0", "cost_usd": "0", "calls": 0,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0}});
    for path in paths(&stage, &run).await {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FORGE"]
        {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let url = format!("{}{path}", stage.client().data);
            let request = stage.client().http.request(method.clone(), url).bearer_auth(&run.token);
            let answer = sent(request.json(&forgery)).await;
            let reads = answer.status == 200 && matches!(method.as_str(), "GET" | "HEAD");
            let refused = (400..500).contains(&answer.status);
            assert!(reads || refused, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(ledger_of(&stage.database, &run.id).await, before);
    assert_eq!(provider.seen().len(), 1);
    stage.end().await;
}

/// Every path of both planes, as the data plane might have it.
async fn paths(stage: &Stage, run: &Run) -> Vec<String> {
    let mut paths = Vec::new();
    let client = stage.client();
    for plane in [&client.data, &client.admin] {
        let document = client.http.get(format!("{plane}/openapi.json"));
        let document =
            sent(document.bearer_auth(crate::support::gateway::ADMIN_TOKEN)).await.json();
        let documented = document["paths"].as_object().unwrap().keys();
        paths.extend(documented.map(|path| path.replace("{id}", &run.id)));
    }
    assert!(paths.iter().any(|path| path == "/v1/usage") && paths.len() > 15, "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with("/close")), "{paths:?}");
    let below: Vec<String> = paths.iter().map(|path| format!("/r/{}{path}", run.token)).collect();
    paths.extend(below);
    paths
}
