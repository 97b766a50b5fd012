//! What an answer tells in its headers, and what a run can read about itself.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{MAX_TOKENS, MODEL, Stage, ask, ask_streamed, cost, counted_input, with};
use crate::support::client::{Answer, Client, Run, prompt};
use crate::support::gateway::TestGateway;
use crate::support::provider::ScriptedProvider;

async fn get(client: &Client, path: &str, run: &Run) -> Answer {
    let request = client.http.get(format!("{}{path}", client.data)).bearer_auth(&run.token);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metered_answer_tells_what_it_cost_and_what_is_left() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"cost_limit_usd": "0.01"})).await;
    let mut spent = Decimal::ZERO;
    for (input, cached, output) in [(7, 0, 3), (10, 5, 50), (0, 0, 0)] {
        let text = format!("[[sim usage={input}:{output} cached={cached}]]");
        let answer = stage.client().ask(&run, &ask(&text)).await;
        let cost = cost(MODEL, input, cached, output);
        spent = (spent + cost).normalize();
        let rest = (Decimal::new(1, 2) - spent).normalize();
        for (name, value) in [
            ("x-run-id", run.id.clone()),
            ("x-run-cost-usd", cost.to_string()),
            ("x-run-spent-usd", spent.to_string()),
            ("x-run-remaining-usd", rest.to_string()),
            ("x-served-model", MODEL.to_owned()),
        ] {
            assert_eq!(answer.header(name), Some(value.as_str()), "{name} of {text}");
        }
        assert_eq!(answer.header("x-run-max-output-tokens"), None);
        assert_eq!(answer.header("x-rungate-mode"), None);
    }
    let streamed = stage.client().ask(&run, &ask_streamed("hi")).await;
    assert_eq!(streamed.header("x-run-id"), Some(run.id.as_str()));
    assert!(streamed.header("x-run-remaining-usd").is_some());
    assert_eq!(streamed.header("x-run-cost-usd"), None);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_rest_cannot_afford_in_full_is_lowered_to_what_it_buys() {
    let done = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let provider = ScriptedProvider::json(done).await;
    let stage = Stage::before(&provider, &[]).await;
    let afford = |output: u64| cost(MODEL, counted_input("hi"), 0, output).to_string();
    for (cap, fields, asked, lowered) in [
        (afford(300), json!({}), json!({"max_tokens": 1000}), Some(300)),
        (afford(300), json!({}), json!({"max_tokens": null}), Some(300)),
        (afford(256), json!({}), json!({"max_tokens": 257}), Some(256)),
        (afford(255), json!({}), json!({"max_tokens": 257}), None),
        (afford(900), json!({}), json!({"max_tokens": 1000, "n": 3}), Some(300)),
        (afford(300), json!({"on_cap": "refuse"}), json!({"max_tokens": 1000}), None),
        (
            "1".to_owned(),
            json!({"token_limit": counted_input("hi") + 400}),
            json!({"max_tokens": 1000}),
            Some(400),
        ),
    ] {
        let run = stage.run(with(fields.clone(), json!({"cost_limit_usd": cap}))).await;
        let sent_before = provider.seen().len();
        let answer = stage.client().ask(&run, &with(ask("hi"), asked.clone())).await;
        let header = answer.header("x-run-max-output-tokens").map(str::to_owned);
        assert_eq!(header, lowered.map(|output: u64| output.to_string()), "{cap} {asked}");
        let Some(lowered) = lowered else {
            assert_eq!(answer.code(), "cost_limit_exceeded", "{cap} {asked}");
            assert_eq!(provider.seen().len(), sent_before);
            continue;
        };
        assert_eq!(answer.status, 200, "{}", answer.text);
        let sent = provider.seen().pop().unwrap();
        let body: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["max_completion_tokens"], lowered);
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_are_paid_together() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({})).await;
    let body = with(ask("[[sim tokens=9]]"), json!({"n": 3}));
    let answer = stage.client().ask(&run, &body).await;
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 3);
    let usage = answer.json()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 27);
    let cost = cost(MODEL, usage["prompt_tokens"].as_u64().unwrap(), 0, 27);
    assert_eq!(answer.header("x-run-cost-usd"), Some(cost.to_string().as_str()));
    let least = cost_of_choices(3);
    let poor =
        stage.run(json!({"cost_limit_usd": (least - Decimal::new(1, 12)).to_string()})).await;
    let refused = stage.client().ask(&poor, &body).await;
    assert_eq!(refused.code(), "cost_limit_exceeded");
    assert_eq!(refused.json()["error"]["worst_case_usd"], least.to_string());
    stage.end().await;
}

fn cost_of_choices(choices: u64) -> Decimal {
    cost(MODEL, counted_input("[[sim tokens=9]]"), 0, choices * MAX_TOKENS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_sees_the_models_that_it_may_use_and_no_others() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"allowed_models": ["gpt-4o", MODEL]})).await;
    let entry = json!({
        "id": MODEL, "object": "model", "created": 0, "owned_by": "openai",
        "kind": "chat", "context_window": 128_000, "max_output_tokens": 16_384,
        "type": "model", "display_name": MODEL, "created_at": "1970-01-01T00:00:00Z",
    });
    let list = get(stage.client(), "/v1/models", &run).await.json();
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!((&list["object"], ids), (&json!("list"), vec![&json!("gpt-4o"), &json!(MODEL)]));
    assert_eq!(list["data"][1], entry);
    let one = get(stage.client(), "/v1/models/gpt-4o-mini", &run).await;
    assert_eq!((one.status, one.json()), (200, entry));
    for other in ["gpt-4.1", "gpt-9"] {
        let missing = get(stage.client(), &format!("/v1/models/{other}"), &run).await;
        assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"), "{other}");
    }
    let everything = stage.run(json!({})).await;
    let all = get(stage.client(), "/v1/models", &everything).await.json();
    assert!(all["data"].as_array().unwrap().len() > 20);
    let one = get(stage.client(), "/v1/models/deepseek-ai/DeepSeek-V3-0324", &everything).await;
    assert_eq!(one.status, 200, "{}", one.text);
    let vectors = json!({
        "id": "text-embedding-3-small", "object": "model", "created": 0, "owned_by": "openai",
        "kind": "embedding", "context_window": 8191,
        "type": "model", "display_name": "text-embedding-3-small",
        "created_at": "1970-01-01T00:00:00Z",
    });
    assert!(all["data"].as_array().unwrap().contains(&vectors), "{all}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_found_under_every_name_that_a_call_may_use() {
    let stage = Stage::simulated(&[]).await;
    let everything = stage.run(json!({})).await;
    let narrow = stage.run(json!({"allowed_models": ["openai/gpt-4o"]})).await;
    for (run, name, id) in [
        (&everything, "deepseek-ai%2FDeepSeek-V3-0324", Some("deepseek-ai/DeepSeek-V3-0324")),
        (&everything, "openai/gpt-4o-mini", Some(MODEL)),
        (&everything, "openai%2Fgpt-4o%2Dmini", Some(MODEL)),
        (&everything, "gpt-4o%2525mini", None),
        (&everything, "groq/gpt-4o-mini", None),
        (&everything, "nobody/gpt-4o-mini", None),
        (&everything, "%ff", None),
        (&narrow, "gpt-4o", Some("gpt-4o")),
        (&narrow, "openai/gpt-4o", Some("gpt-4o")),
        (&narrow, "openai/gpt-4o-mini", None),
    ] {
        let answer = get(stage.client(), &format!("/v1/models/{name}"), run).await;
        match id {
            Some(id) => assert_eq!(answer.json()["id"], id, "{name}"),
            None => assert_eq!((answer.status, answer.code().as_str()), (404, "not_found")),
        }
        let below = format!("/r/{}/v1/models/{name}", run.token);
        let request = stage.client().http.get(format!("{}{below}", stage.client().data));
        assert_eq!(Answer::of(request.send().await.unwrap()).await.status, answer.status, "{name}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reads_its_own_usage_in_the_published_shape() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"cost_limit_usd": "1.00"})).await;
    let empty = json!({
        "run_id": run.id, "status": "running", "attempt": 1, "settlement": "provisional",
        "cost_limit_usd": "1.00", "spent_usd": "0", "total_spent_usd": "0",
        "reserved_usd": "0", "remaining_usd": "1",
        "in_flight": 0, "calls": 0, "input_tokens": 0, "cached_input_tokens": 0,
        "output_tokens": 0, "refusals": {}, "models": [],
    });
    assert_eq!(get(stage.client(), "/v1/usage", &run).await.json(), empty);
    for does in ["usage=10:20 cached=4", "usage=1:2", "status=500", "no_usage"] {
        stage.client().ask(&run, &ask(&format!("[[sim {does}]]"))).await;
    }
    stage.client().ask(&run, &json!({})).await;
    stage.client().ask(&run, &with(ask("hi"), json!({"model": "gpt-9"}))).await;
    stage.client().settled(&run).await;
    stage.patch(&run, json!({"status": "scoring"})).await;
    let strict = super::stage::strict_input("[[sim no_usage]]");
    let parts = [cost(MODEL, 10, 4, 20), cost(MODEL, 1, 0, 2), cost(MODEL, strict, 0, MAX_TOKENS)];
    let spent = parts.iter().sum::<Decimal>().normalize();
    let tokens = json!({
        "calls": 3, "input_tokens": 11 + strict, "cached_input_tokens": 4,
        "output_tokens": 22 + MAX_TOKENS,
    });
    let model = json!({
        "model": MODEL, "cost_usd": spent.to_string(),
        "cost_sources": {"usage": 2, "worst_case": 1},
    });
    let rest = (Decimal::ONE - spent).normalize().to_string();
    let full = json!({
        "status": "scoring", "settlement": "final", "spent_usd": spent.to_string(),
        "total_spent_usd": spent.to_string(),
        "remaining_usd": rest, "refusals": {"invalid_request": 1, "invalid_model": 1},
        "models": [with(model, tokens.clone())],
    });
    let expected = with(with(empty, tokens), full);
    for path in ["/v1/usage", "/agents/usage", &format!("/agents/usage?run_id={}", run.id)] {
        assert_eq!(get(stage.client(), path, &run).await.json(), expected, "{path}");
    }
    let url = format!("{}/agents/usage?run_id={}", stage.client().data, run.id);
    let bare = Answer::of(stage.client().http.get(url).send().await.unwrap()).await;
    assert_eq!(bare.json(), expected);
    let other = stage.run(json!({})).await;
    let foreign = get(stage.client(), &format!("/v1/usage?run_id={}", run.id), &other).await;
    assert_eq!(foreign.code(), "run_id_mismatch");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_dev_mode_a_call_is_settled_before_its_last_byte() {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let url = format!("{}/v1/chat/completions", client.data);
    for calls in 1..=8 {
        let body = ask_streamed("[[sim usage=7:3]]");
        let answer = Answer::of(client.http.post(&url).json(&body).send().await.unwrap()).await;
        assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
        let usage = client.http.get(format!("{}/v1/usage", client.data)).send().await.unwrap();
        let usage = Answer::of(usage).await.json();
        let spent = (cost(MODEL, 7, 0, 3) * Decimal::from(calls)).normalize().to_string();
        assert_eq!((&usage["spent_usd"], &usage["reserved_usd"]), (&json!(spent), &json!("0")));
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developers_gateway_says_so_and_takes_any_run_and_any_key() {
    let gateway = TestGateway::dev(&[("DEV_COST_LIMIT_USD", "0.5")]).await;
    let client = &gateway.client;
    let url = format!("{}/v1/chat/completions", client.data);
    let send = async |request: reqwest::RequestBuilder| {
        let answer = Answer::of(request.json(&prompt("hi")).send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-rungate-mode"), Some("dev"));
        answer.header("x-run-id").unwrap().to_owned()
    };
    let default = send(client.http.post(&url)).await;
    assert_eq!(send(client.http.post(&url).bearer_auth("sk-real-key")).await, default);
    let two = client.http.post(&url).bearer_auth("sk-real-key").header("x-api-key", "other");
    assert_eq!(send(two).await, default);
    let mine = uuid::Uuid::new_v4().to_string();
    assert_eq!(send(client.http.post(&url).header("x-run-id", &mine)).await, mine);
    assert_eq!(send(client.http.post(&url).bearer_auth(&mine)).await, mine);
    let request = client.http.get(format!("{}/v1/usage", client.data)).header("x-run-id", &mine);
    let usage = Answer::of(request.send().await.unwrap()).await.json();
    assert_eq!((&usage["cost_limit_usd"], &usage["calls"]), (&json!("0.5"), &json!(2)));
    gateway.stop().await;
}
