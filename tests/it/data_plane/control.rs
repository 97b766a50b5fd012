//! What an orchestrator decides about the calls of its run, as its agents and its books see it.

use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{MODEL, PROVIDER_KEY, Stage, ask, ask_of, cost, counted_input, decimal, with};
use crate::support::client::{Answer, Run};
use crate::support::gateway::TestGateway;
use crate::support::provider::ScriptedProvider;

const HAIKU: &str = "claude-haiku-4-5-20251001";
const DONE: &str =
    r#"{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

async fn operate(stage: &Stage, method: Method, path: &str, body: &Value) -> Answer {
    let request = stage.client().operator(method, path).json(body);
    Answer::of(request.send().await.unwrap()).await
}

async fn get(stage: &Stage, run: &Run, path: &str) -> Answer {
    let request = stage.client().http.get(format!("{}{path}", stage.client().data));
    Answer::of(request.bearer_auth(&run.token).send().await.unwrap()).await
}

async fn post(stage: &Stage, run: &Run, path: &str, body: &Value) -> Answer {
    let request = stage.client().http.post(format!("{}{path}", stage.client().data));
    Answer::of(request.bearer_auth(&run.token).json(body).send().await.unwrap()).await
}

async fn calls(stage: &Stage, run: &Run) -> Vec<Value> {
    stage.client().settled(run).await;
    stage.client().calls(run).await
}

fn refusal(answer: &Answer) -> (u16, String, Value) {
    let error = &answer.json()["error"];
    (answer.status, error["code"].as_str().unwrap().to_owned(), error["param"].clone())
}

/// The next attempt of a run, running, with its token.
async fn next_attempt(stage: &Stage, run: &Run) -> Run {
    let path = format!("/runs/{}/attempts", run.id);
    let opened = operate(stage, Method::POST, &path, &json!({"status": "running"})).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    let token = opened.json()["token"].as_str().unwrap().to_owned();
    Run { token, ..run.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_model_that_a_client_insists_on_is_one_that_the_run_may_use() {
    let stage = Stage::simulated(&[]).await;
    let control = json!({"allowed_models": [MODEL], "model_aliases": {HAIKU: MODEL}});
    let run = stage.run(control).await;
    let body = json!({"model": HAIKU, "max_tokens": 50,
        "messages": [{"role": "user", "content": "hello"}]});
    let answer = post(&stage, &run, "/v1/messages", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-served-model"), Some(MODEL));
    assert_eq!(stage.client().ask(&run, &ask("hello")).await.status, 200);
    let prefixed = ask_of("openai/gpt-4o-mini", "hello");
    assert_eq!(stage.client().ask(&run, &prefixed).await.status, 200);

    let rows = calls(&stage, &run).await;
    let names: Vec<_> = rows.iter().map(|row| (&row["requested_model"], &row["model"])).collect();
    let (own, none) = (json!(MODEL), json!(null));
    let (alias, prefixed) = (json!(HAIKU), json!("openai/gpt-4o-mini"));
    assert_eq!(names, [(&alias, &own), (&none, &own), (&prefixed, &own)]);
    let lines = stage.client().operator(Method::GET, &format!("/runs/{}/calls", run.id));
    let lines = lines.header("accept", "application/x-ndjson").send().await.unwrap();
    let first = lines.text().await.unwrap().lines().next().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["requested_model"], HAIKU);

    let listed = get(&stage, &run, "/v1/models").await.json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [MODEL, HAIKU]);
    let one = get(&stage, &run, &format!("/v1/models/{HAIKU}")).await.json();
    assert_eq!((&one["id"], &one["owned_by"]), (&json!(HAIKU), &json!("openai")));
    let other = stage.run(json!({"allowed_models": [MODEL]})).await;
    let refused = post(&stage, &other, "/v1/messages", &body).await;
    assert_eq!(refusal(&refused).1, "model_not_allowed");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_before_a_model_of_the_same_name() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"model_aliases": {"gpt-4o": MODEL}})).await;
    let answer = stage.client().ask(&run, &ask_of("gpt-4o", "[[sim usage=1000:50]]")).await;
    let billed = answer.header("x-run-cost-usd").unwrap().to_owned();
    assert_eq!(decimal(&json!(billed)), cost(MODEL, 1000, 0, 50));
    let listed = get(&stage, &run, "/v1/models").await.json();
    let named = |one: &&Value| one["id"] == "gpt-4o";
    assert_eq!(listed["data"].as_array().unwrap().iter().filter(named).count(), 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forced_is_sent_and_priced_whatever_the_client_says() {
    let provider = ScriptedProvider::json(DONE).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({"forced_parameters": {"seed": 7, "temperature": 0}})).await;
    let sent = |provider: &ScriptedProvider| -> Value {
        let seen = provider.seen();
        serde_json::from_str(seen.last().unwrap().split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let given = with(ask("hi"), json!({"seed": 1, "temperature": 1.5, "top_p": 0.5}));
    assert_eq!(stage.client().ask(&run, &given).await.status, 200);
    let body = sent(&provider);
    assert_eq!((&body["seed"], &body["temperature"]), (&json!(7), &json!(0)));
    assert_eq!((&body["top_p"], &body["max_completion_tokens"]), (&json!(0.5), &json!(50)));
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 200);
    assert_eq!(sent(&provider)["seed"], 7);
    // Nothing is left out: where a provider cannot be told, nothing is sent.
    let count = provider.seen().len();
    let response = json!({"model": MODEL, "input": "hi", "max_output_tokens": 50});
    let refused = post(&stage, &run, "/v1/responses", &response).await;
    assert_eq!(refusal(&refused), (400, "parameter_not_allowed".to_owned(), json!("seed")));
    assert_eq!(provider.seen().len(), count);

    // The word is input, and so reserved: a cap that only the client's own body fits is too small.
    let cap = cost(MODEL, counted_input("hi"), 0, 50).to_string();
    let counted = stage.run(json!({"cost_limit_usd": cap, "on_cap": "refuse"})).await;
    assert_eq!(stage.client().ask(&counted, &ask("hi")).await.status, 200);
    let fields = json!({"cost_limit_usd": cap, "on_cap": "refuse",
        "forced_parameters": {"reasoning_effort": "high"}});
    let forced = stage.run(fields).await;
    let worst = stage.client().ask(&forced, &ask("hi")).await;
    assert_eq!(refusal(&worst).1, "cost_limit_exceeded");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_pinned_is_served_by_its_provider_alone() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"provider": "azure_openai"})).await;
    assert_eq!(stage.client().ask(&run, &ask_of("gpt-4o", "hello")).await.status, 200);
    let rows = calls(&stage, &run).await;
    assert_eq!(rows[0]["provider"], "azure_openai");
    for model in ["openai/gpt-4o", "deepseek-chat"] {
        let refused = stage.client().ask(&run, &ask_of(model, "hello")).await;
        assert_eq!(refusal(&refused), (403, "model_not_allowed".to_owned(), json!("model")));
    }
    let unknown = stage.client().ask(&run, &ask_of("nonsense", "hello")).await;
    assert_eq!(refusal(&unknown).1, "invalid_model");
    let listed = get(&stage, &run, "/v1/models").await.json();
    let listed = listed["data"].as_array().unwrap();
    assert!(!listed.is_empty());
    assert!(listed.iter().all(|one| one["owned_by"] == "azure_openai"));
    stage.end().await;

    let provider = ScriptedProvider::json(DONE).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({"provider": "azure_openai"})).await;
    let refused = stage.client().ask(&run, &ask_of("gpt-4o", "hello")).await;
    assert_eq!(refusal(&refused).0, 412, "{}", refused.text);
    assert!(provider.seen().is_empty());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_spends_from_a_budget_of_its_own() {
    let stage = Stage::simulated(&[]).await;
    let fields = json!({"cost_limit_usd": "0.001", "call_limit": 2,
        "attempt_budget": "per_attempt", "on_cap": "refuse"});
    let first = stage.run(fields).await;
    let costly = ask("[[sim usage=1000:50]]");
    for _ in 0..2 {
        assert_eq!(stage.client().ask(&first, &costly).await.status, 200);
    }
    assert_eq!(refusal(&stage.client().ask(&first, &costly).await).1, "call_limit_exceeded");
    let each = cost(MODEL, 1000, 0, 50);
    let second = next_attempt(&stage, &first).await;
    let fresh = stage.client().usage(&second).await;
    assert_eq!((&fresh["spent_usd"], &fresh["calls"]), (&json!("0"), &json!(0)));
    assert_eq!(fresh["remaining_usd"], "0.001");
    assert_eq!(decimal(&fresh["total_spent_usd"]), (each + each).normalize());

    let answer = stage.client().ask(&second, &costly).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let spent = answer.header("x-run-spent-usd").unwrap().to_owned();
    assert_eq!(decimal(&json!(spent)), each);
    let usage = stage.client().settled(&second).await;
    assert_eq!((&usage["attempt"], &usage["calls"]), (&json!(2), &json!(1)));
    assert_eq!(decimal(&usage["spent_usd"]), each);
    assert_eq!(decimal(&usage["total_spent_usd"]), (each + each + each).normalize());
    assert_eq!(usage["models"][0]["calls"], 1);
    assert_eq!(calls(&stage, &second).await.len(), 3);
    let shown = operate(&stage, Method::GET, &format!("/runs/{}", first.id), &json!(null)).await;
    assert_eq!(shown.json()["attempt_budget"], "per_attempt");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_did_not_hear_of_an_attempt_spends_from_the_right_budget() {
    let stage = Stage::simulated(&[]).await;
    let other = TestGateway::serve(&stage.database, &[]).await;
    let fields = json!({"cost_limit_usd": "0.001", "attempt_budget": "per_attempt"});
    let run = stage.run(fields).await;
    // By the run's id, which is good for every attempt.
    let by_id = Run { token: run.id.clone(), ..run.clone() };
    let cheap = ask("[[sim usage=100:5]]");
    for gateway in [stage.client(), &other.client] {
        assert_eq!(gateway.ask(&by_id, &cheap).await.status, 200);
    }
    for attempt in 2..5 {
        next_attempt(&stage, &run).await;
        let answer = other.client.ask(&by_id, &cheap).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let usage = other.client.settled(&by_id).await;
        assert_eq!((&usage["attempt"], &usage["calls"]), (&json!(attempt), &json!(1)));
        assert_eq!(decimal(&usage["spent_usd"]), cost(MODEL, 100, 0, 5));
    }
    other.stop().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_caps_and_calls_of_two_gateways_at_once_keep_the_books() {
    let stage = Stage::simulated(&[]).await;
    let other = TestGateway::serve(&stage.database, &[]).await;
    let run = stage.run(json!({"cost_limit_usd": "0.5", "attempt_budget": "per_attempt"})).await;
    let by_id = Run { token: run.id.clone(), ..run.clone() };
    let path = format!("/runs/{}", run.id);
    let change = async |client: &crate::support::client::Client| {
        for step in 0..6 {
            let attempt = client.operator(Method::POST, &format!("{path}/attempts"));
            let attempt = attempt.json(&json!({"status": "running"})).send().await.unwrap();
            assert_eq!(attempt.status(), 201);
            let cap = json!({"cost_limit_usd": format!("0.{}", 5 + step % 3)});
            let patched = client.operator(Method::PATCH, &path).json(&cap).send().await.unwrap();
            assert_eq!(patched.status(), 200);
        }
    };
    let spend = async |client: &crate::support::client::Client| {
        for _ in 0..12 {
            let answer = client.ask(&by_id, &ask("[[sim usage=100:5]]")).await;
            // A call may be cut by the attempt after its own.
            assert!([200, 409, 403].contains(&answer.status), "{}", answer.text);
        }
    };
    let (here, there) = (stage.client(), &other.client);
    tokio::join!(change(here), change(there), spend(here), spend(there));
    let usage = stage.client().close(&run, &json!({})).await.json();
    assert_eq!((&usage["attempt"], &usage["settlement"]), (&json!(13), &json!("final")));
    let rows = stage.client().calls(&run).await;
    let sum: rust_decimal::Decimal = rows.iter().map(|row| decimal(&row["cost_usd"])).sum();
    assert_eq!(decimal(&usage["total_spent_usd"]), sum.normalize());
    other.stop().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_has_nothing_to_force() {
    let settings = [("OPENAI_API_KEY", PROVIDER_KEY)];
    let stage = Stage::simulated(&settings).await;
    let run = stage.run(json!({"forced_parameters": {"temperature": 0.5}})).await;
    let body = json!({"model": "text-embedding-3-small", "input": "hello"});
    let answer = post(&stage, &run, "/v1/embeddings", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    stage.end().await;
}
