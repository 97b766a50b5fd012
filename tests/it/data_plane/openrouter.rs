//! What OpenRouter's clients expect of an answer: its cost, in the usage. And what the agents of
//! Ridges expect of the sidecar that stands in OpenRouter's place.

use serde_json::{Value, json};

use super::endings_streams::events;
use super::stage::{MODEL, PROVIDER_KEY, Stage, ask, ask_of, ask_streamed, cost, decimal, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then};

const CLAUDE: &str = "claude-sonnet-5-5";
/// Usage as OpenRouter's gateway reports it, with its own idea of the cost.
const THEIRS: &str = r#"{"prompt_tokens": 8,"completion_tokens":2, "cost":99.5,"is_byok":true,"cost_details":{"upstream_inference_cost":77},"total_tokens":10}"#;

async fn post(stage: &Stage, run: &Run, base: &str, body: &Value) -> Answer {
    let url = format!("{}{base}/chat/completions", stage.client().data);
    let request = stage.client().http.post(url).bearer_auth(&run.token).json(body);
    Answer::of(request.send().await.unwrap()).await
}

/// The raw text of the one usage in an answer that is no null.
fn usage_of(text: &str) -> &str {
    let found: Vec<&str> = text
        .split("\"usage\":")
        .skip(1)
        .map(str::trim_start)
        .filter(|rest| rest.starts_with('{'))
        .collect();
    assert_eq!(found.len(), 1, "{text}");
    let mut values = serde_json::Deserializer::from_str(found[0]).into_iter::<Value>();
    values.next().unwrap().unwrap();
    &found[0][..values.byte_offset()]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_usage_is_written_anew_and_what_a_provider_says_it_cost_does_not_pass() {
    let body = format!(
        "{{\"x\": [1 ,2],\"model\":\"{MODEL}\",\n\"usage\":{THEIRS} , \"choices\":[{{\"message\":{{\"content\":\"\\u0041\"}}}}]}}"
    );
    let provider = ScriptedProvider::json(&body).await;
    let stage = Stage::before(&provider, &[]).await;
    let price = cost(MODEL, 8, 0, 2);
    let ours = format!(
        "{{\"prompt_tokens\":8,\"completion_tokens\":2,\"total_tokens\":10,\"cost\":{price}}}"
    );
    let asks_for_it = with(ask("hi"), json!({"usage": {"include": true}}));
    for (base, asked) in [("/api/v1", &ask("hi")), ("/v1", &asks_for_it)] {
        let run = stage.run(json!({})).await;
        let answer = post(&stage, &run, base, asked).await;
        assert_eq!(answer.text, body.replace(THEIRS, &ours), "{base}");
        let header = answer.header("x-run-cost-usd").unwrap();
        assert_eq!(decimal(&json!(header)), price);
        let sent = provider.seen().pop().unwrap();
        assert!(!sent.contains("\"usage\""), "the wish for the cost is taken out: {sent}");
    }
    let run = stage.run(json!({})).await;
    let off = with(ask("hi"), json!({"usage": {"include": false}}));
    for asked in [ask("hi"), with(ask("hi"), json!({"usage": null})), off] {
        assert_eq!(post(&stage, &run, "/v1", &asked).await.text, body, "elsewhere nothing changes");
    }
    let wrong = with(ask("hi"), json!({"usage": {"include": true, "more": 1}}));
    let refused = post(&stage, &run, "/api/v1", &wrong).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].clone()),
        (400, json!("usage.more"))
    );
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_its_cost_in_its_usage_and_the_providers_never_passes() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let chunk = format!(
        "data: {{\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"Hi\"}}}}],\"usage\":{{\"cost\":5}}}}\n\n"
    );
    let terminal = format!("data: {{\"choices\":[],\ndata: \"us\\u0061ge\":{THEIRS}}}\nid: 7\n\n");
    let stream = format!("{head}{chunk}{terminal}data: [DONE]\n\n");
    let provider = ScriptedProvider::answering(stream.clone(), Then::Close).await;
    let stage = Stage::before(&provider, &[]).await;
    let price = cost(MODEL, 8, 0, 2);
    let shown = with(ask_streamed("hi"), json!({"usage": {"include": true}}));
    let options = with(ask_streamed("hi"), json!({"stream_options": {"include_usage": true}}));
    for (base, asked) in [("/api/v1", &options), ("/v1", &shown), ("/api/v1", &shown)] {
        let run = stage.run(json!({})).await;
        let answer = post(&stage, &run, base, asked).await;
        let told = events(&answer.text.replace("\ndata: \"us", "\"us"));
        assert_eq!(told[0]["usage"], json!({}), "not known yet: {}", answer.text);
        for theirs in ["99.5", "77", "is_byok", "\"cost\":5"] {
            assert!(!answer.text.contains(theirs), "{theirs}: {}", answer.text);
        }
        assert!(answer.text.contains(&format!("\"cost\":{price}}}")), "{}", answer.text);
        assert!(answer.text.contains("\n\nid: 7\ndata: {"), "{}", answer.text);
        assert!(answer.text.ends_with("data: [DONE]\n\n"));
        let spent = stage.client().settled(&run).await["spent_usd"].clone();
        assert_eq!(decimal(&spent), price);
    }
    let run = stage.run(json!({})).await;
    let hidden = post(&stage, &run, "/api/v1", &ask_streamed("hi")).await;
    assert!(!hidden.text.contains("prompt_tokens") && !hidden.text.contains("cost"), "{hidden:?}");
    let relayed = post(&stage, &run, "/v1", &options).await;
    assert_eq!(relayed.text, &stream[head.len()..], "elsewhere a stream passes as it is");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn translated_answers_tell_their_cost_too() {
    let stage = Stage::simulated(&[]).await;
    for streamed in [false, true] {
        for model in [MODEL, CLAUDE, "deepseek-chat"] {
            let run = stage.run(json!({})).await;
            let more = json!({"stream": streamed, "usage": {"include": true}});
            let answer = post(&stage, &run, "/api/v1", &with(ask_of(model, "hi"), more)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let usage = usage_of(&answer.text);
            let told = usage.split_once("\"cost\":").unwrap().1.trim_end_matches('}');
            let spent = stage.client().settled(&run).await["spent_usd"].clone();
            assert_eq!(told, spent.as_str().unwrap(), "{model}, {streamed}: to the last digit");
            assert!(decimal(&spent).is_sign_positive() && spent != "0", "{spent}");
        }
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_provider_told_no_usage_the_answer_tells_what_was_booked() {
    let choices = "\"choices\":[{\"message\":{\"content\":\"Hi\"}}]";
    for body in [format!("{{{choices}}} "), format!("{{\"usage\":null,{choices}}}")] {
        let provider = ScriptedProvider::json(&body).await;
        let stage = Stage::before(&provider, &[]).await;
        let run = stage.run(json!({})).await;
        let answer = post(&stage, &run, "/api/v1", &ask("hi")).await;
        let usage: Value = serde_json::from_str(usage_of(&answer.text)).unwrap();
        stage.client().settled(&run).await;
        let row = &stage.client().calls(&run).await[0];
        assert_eq!(row["cost_source"], "worst_case");
        let tokens = (&usage["prompt_tokens"], &usage["completion_tokens"]);
        assert_eq!(tokens, (&row["input_tokens"], &row["output_tokens"]), "{usage}");
        let cost = row["cost_usd"].as_str().unwrap();
        assert!(answer.text.contains(&format!("\"cost\":{cost}}}")), "{}", answer.text);
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecars_usage_is_numbers_with_every_digit_and_ours_stays_text() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"cost_limit_usd": "0.290000000000000001"})).await;
    post(&stage, &run, "/api/v1", &ask("[[sim usage=7:3]]")).await;
    post(&stage, &run, "/api/v1", &ask_of("gpt-4o", "[[sim usage=10:5]]")).await;
    let usage = stage.client().settled(&run).await;
    let get = async |path: &str| {
        let url = format!("{}{path}", stage.client().data);
        Answer::of(stage.client().http.get(url).bearer_auth(&run.token).send().await.unwrap()).await
    };
    let (spent, left) = (&usage["spent_usd"], &usage["remaining_usd"]);
    let told = get("/api/v1/usage").await;
    assert_eq!(told.status, 200, "{}", told.text);
    // As text: a reader of floats would not see a digit that is missing.
    let money = format!(
        "\"total_cost_usd\":{},\"budget_remaining_usd\":{},",
        spent.as_str().unwrap(),
        left.as_str().unwrap()
    );
    assert!(told.text.contains(&money), "{money}: {}", told.text);
    let each = |model: &str, cost: &Value| {
        format!(
            "\"model\":\"{model}\",\"requests\":1,\"prompt_tokens\":{},\"completion_tokens\":{},\"cost_usd\":{}}}",
            if model == MODEL { 7 } else { 10 },
            if model == MODEL { 3 } else { 5 },
            cost.as_str().unwrap()
        )
    };
    for row in usage["models"].as_array().unwrap() {
        let line = each(row["model"].as_str().unwrap(), &row["cost_usd"]);
        assert!(told.text.contains(&line), "{line}: {}", told.text);
    }
    let told = told.json();
    assert_eq!(told["evaluation_run_id"], json!(run.id));
    let counts = ["requests", "prompt_tokens", "completion_tokens"].map(|name| told[name].clone());
    assert_eq!(counts, [json!(2), json!(17), json!(8)]);
    assert_eq!(get(&format!("/r/{}/api/v1/usage", run.token)).await.json(), told);
    let url = format!("{}/api/v1/usage?evaluation_run_id={}", stage.client().data, run.id);
    let by_id = Answer::of(stage.client().http.get(url).send().await.unwrap()).await;
    assert_eq!(by_id.json(), told);
    for path in ["/v1/usage", "/inference/v1/usage", "/agents/usage"] {
        assert_eq!(get(path).await.json()["spent_usd"], *spent, "{path}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_openrouters_base_is_booked_as_a_chat_and_shows_no_key() {
    let provider = ScriptedProvider::json(&format!("{{\"choices\":[],\"usage\":{THEIRS}}}")).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let answer = post(&stage, &run, "/api/v1", &ask("hi")).await;
    assert!(!answer.text.contains(PROVIDER_KEY));
    stage.client().settled(&run).await;
    assert_eq!(stage.client().calls(&run).await[0]["endpoint"], "/v1/chat/completions");
    stage.end().await;
}
