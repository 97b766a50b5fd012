//! Who is calling, and for which run.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::refused::{Checked, Refused, refused};
use super::stage::{Stage, ask, with};
use crate::support::client::{Answer, Client};

const CHAT: &str = "/v1/chat/completions";

/// A call as it is presented: headers and fields of the body.
struct Call<'a> {
    headers: Vec<(&'a str, String)>,
    fields: Value,
}

fn call<'a, const N: usize>(headers: [(&'a str, &str); N], fields: Value) -> Call<'a> {
    let headers = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Call { headers, fields }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn send(client: &Client, call: &Call<'_>) -> Answer {
    let mut request: RequestBuilder = client
        .http
        .post(format!("{}{CHAT}", client.data))
        .header("x-request-id", "same")
        .json(&with(ask("hi"), call.fields.clone()));
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    Answer::of(request.send().await.unwrap()).await
}

fn invalid_key() -> Refused {
    refused(
        "invalid_key",
        "This credential is not valid here. Send the token that this run was given, or an \
         inference key, as `Authorization: Bearer …`.",
    )
}

async fn token_of(stage: &Stage, path: &str) -> String {
    let request = stage.client().operator(Method::POST, path).json(&json!({}));
    let answer = Answer::of(request.send().await.unwrap()).await;
    answer.json()["token"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_credential_that_is_not_good_gets_one_body_whatever_is_wrong_with_it() {
    let stage = Stage::simulated(&[]).await;
    let (rotated, retried) = (stage.run(json!({})).await, stage.run(json!({})).await);
    let strict = stage.run(json!({"require_token": true})).await;
    for run in [&rotated, &retried, &strict] {
        assert_eq!(stage.client().ask(run, &ask("hi")).await.status, 200);
    }
    let fresh = token_of(&stage, &format!("/runs/{}/token", rotated.id)).await;
    let second = token_of(&stage, &format!("/runs/{}/attempts", retried.id)).await;
    let unknown = format!("rg-run-{}", "A".repeat(43));
    let nobody = Uuid::new_v4().to_string();
    let mut checked = Checked::default();
    let mut bodies = std::collections::HashSet::new();
    for (name, call) in [
        ("unknown token", call([("authorization", &bearer(&unknown))], json!({}))),
        ("inference key", call([("authorization", &bearer("rg-key-AAAA"))], json!({}))),
        ("foreign key", call([("authorization", &bearer("sk-proj-1"))], json!({}))),
        ("another scheme", call([("authorization", "Basic YTpi")], json!({}))),
        ("no scheme", call([("authorization", &fresh)], json!({}))),
        ("foreign x-api-key", call([("x-api-key", "sk-ant-1")], json!({}))),
        ("unknown run as key", call([("api-key", &nobody)], json!({}))),
        ("very long", call([("x-api-key", &"x".repeat(4000))], json!({}))),
        ("foreign key beside a run", call([("x-api-key", "k"), ("x-run-id", &fresh)], json!({}))),
        ("rotated", call([("authorization", &bearer(&rotated.token))], json!({}))),
        ("old attempt", call([("authorization", &bearer(&retried.token))], json!({}))),
        ("bare id in a header", call([("x-run-id", &strict.id)], json!({}))),
        ("bare id in the body", call([], json!({"run_id": strict.id}))),
        ("bare id as key", call([("authorization", &bearer(&strict.id))], json!({}))),
    ] {
        let answer = send(stage.client(), &call).await;
        checked.refusal(name, &answer, &invalid_key());
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{name}");
        bodies.insert(answer.text);
    }
    checked.done();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let good = call([("authorization", &bearer(&fresh))], json!({}));
    assert_eq!(send(stage.client(), &good).await.status, 200);
    let early = call([("authorization", &bearer(&second))], json!({}));
    stage.patch(&retried, json!({"status": "running"})).await;
    assert_eq!(send(stage.client(), &early).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_wants_tokens_takes_no_bare_id() {
    let stage = Stage::simulated(&[("RUN_AUTH", "token")]).await;
    let run = stage.run(json!({})).await;
    let mut checked = Checked::default();
    for (name, call) in [
        ("nothing", call([], json!({}))),
        ("header", call([("x-run-id", &run.id)], json!({}))),
        ("body", call([], json!({"run_id": run.id}))),
        ("key", call([("authorization", &bearer(&run.id))], json!({}))),
    ] {
        checked.refusal(name, &send(stage.client(), &call).await, &invalid_key());
    }
    checked.done();
    let beside = call(
        [("authorization", &bearer(&run.token)), ("x-run-id", &run.id)],
        json!({"run_id": run.id}),
    );
    assert_eq!(send(stage.client(), &beside).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_run_must_be_uuids_that_agree() {
    let stage = Stage::simulated(&[]).await;
    let (a, b) = (stage.run(json!({})).await, stage.run(json!({})).await);
    let malformed = refused("invalid_run_id", "The run id is not a UUID.").param("run_id");
    let mismatch = refused(
        "run_id_mismatch",
        "The credential, the header X-Run-Id, the query and the body do not all name the same run. \
         Name one.",
    )
    .param("run_id");
    let token = bearer(&a.token);
    let mut checked = Checked::default();
    for (name, call, expected) in [
        ("header", call([("x-run-id", "run-1")], json!({})), &malformed),
        ("body", call([], json!({"run_id": "run-1"})), &malformed),
        ("alias", call([], json!({"evaluation_run_id": ""})), &malformed),
        ("metadata", call([], json!({"metadata": {"run_id": "x"}})), &malformed),
        (
            "token, header",
            call([("authorization", &token), ("x-run-id", &b.id)], json!({})),
            &mismatch,
        ),
        ("token, body", call([("authorization", &token)], json!({"run_id": b.id})), &mismatch),
        (
            "token, alias",
            call([("x-api-key", &a.token)], json!({"evaluation_run_id": b.id})),
            &mismatch,
        ),
        (
            "token, metadata",
            call([("authorization", &token)], json!({"metadata": {"run_id": b.id}})),
            &mismatch,
        ),
        ("header, body", call([("x-run-id", &a.id)], json!({"run_id": b.id})), &mismatch),
        ("two headers", call([("x-run-id", &a.id), ("x-run-id", &b.id)], json!({})), &mismatch),
        ("body, alias", call([], json!({"run_id": a.id, "evaluation_run_id": b.id})), &mismatch),
        (
            "body, metadata",
            call([], json!({"run_id": a.id, "metadata": {"run_id": b.id}})),
            &mismatch,
        ),
        ("key, body", call([("api-key", &a.id)], json!({"run_id": b.id})), &mismatch),
    ] {
        checked.refusal(name, &send(stage.client(), &call).await, expected);
    }
    checked.done();
    for run in [&a, &b] {
        assert_eq!(stage.client().usage(run).await["calls"], 0);
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_names_exactly_one_run_that_exists() {
    let stage = Stage::simulated(&[]).await;
    let (a, b) = (stage.run(json!({})).await, stage.run(json!({})).await);
    let nobody = Uuid::new_v4().to_string();
    let required = refused(
        "run_id_required",
        "Nothing names a run. Send its token as `Authorization: Bearer …`, its id in the header \
         `X-Run-Id`, or `run_id` in the body.",
    )
    .param("run_id");
    let two = refused(
        "invalid_request",
        "The request carries two different credentials. Send one of them only.",
    );
    let missing = refused(
        "run_not_found",
        "There is no run of this id. Check the id, or have the run registered first.",
    );
    let mut checked = Checked::default();
    for (name, call, expected) in [
        ("nothing", call([], json!({})), &required),
        ("empty bearer", call([("authorization", "Bearer ")], json!({})), &required),
        ("null", call([], json!({"run_id": null})), &required),
        ("unknown in a header", call([("x-run-id", &nobody)], json!({})), &missing),
        ("unknown in the body", call([], json!({"run_id": nobody})), &missing),
        (
            "two tokens",
            call([("authorization", &bearer(&a.token)), ("x-api-key", &b.token)], json!({})),
            &two,
        ),
        (
            "token and foreign key",
            call([("authorization", &bearer(&a.token)), ("api-key", "sk-1")], json!({})),
            &two,
        ),
    ] {
        checked.refusal(name, &send(stage.client(), &call).await, expected);
    }
    checked.done();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_named_by_its_token_or_its_id_wherever_one_may_stand() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let upper = run.id.to_uppercase();
    let calls = [
        call([("authorization", &bearer(&run.token))], json!({})),
        call([("authorization", &format!("bearer  {}", run.token))], json!({})),
        call([("x-api-key", &run.token)], json!({})),
        call([("api-key", &run.token)], json!({})),
        call([("api-key", &run.token), ("x-api-key", &run.token)], json!({})),
        call([("authorization", &bearer(&run.id))], json!({})),
        call([("x-api-key", &run.id)], json!({})),
        call([("x-run-id", &run.id)], json!({})),
        call([("x-run-id", &upper)], json!({"run_id": run.id})),
        call([], json!({"run_id": run.id})),
        call([], json!({"evaluation_run_id": run.id})),
        call([], json!({"metadata": {"run_id": run.id, "task": "t"}})),
    ];
    for call in &calls {
        let answer = send(stage.client(), call).await;
        assert_eq!(answer.status, 200, "{:?} {}", call.headers, answer.text);
        assert_eq!(answer.header("x-run-id"), Some(run.id.as_str()));
    }
    let usage = stage.client().settled(&run).await;
    assert_eq!(usage["calls"], calls.len());
    stage.end().await;
}
