//! Calls that fit only by a better count than that of their bytes, and what they may never lose.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{PROVIDER_KEY, Stage, ask_of, cost, decimal, strict_input_of, with};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

const CLAUDE: &str = "claude-sonnet-4-5";
const OUTPUT: u64 = 50;
/// Bytes that no tokeniser takes for as many tokens.
const WORDS: usize = 4_000;

fn words() -> String {
    "word ".repeat(WORDS)
}

fn message(text: &str) -> Value {
    with(ask_of(CLAUDE, text), json!({"max_tokens": OUTPUT}))
}

async fn post(stage: &Stage, run: &Run, path: &str, body: &Value) -> Answer {
    let request = stage.client().http.post(format!("{}{path}", stage.client().data));
    Answer::of(request.bearer_auth(&run.token).json(body).send().await.unwrap()).await
}

/// The bound that a count of Anthropic's becomes: a twentieth more, and the catalogue's constants.
fn estimated(counted: u64) -> u64 {
    counted + counted.div_ceil(20) + 1024 + 16
}

fn counted(tokens: u64) -> (String, Then) {
    let body = json!({"input_tokens": tokens}).to_string();
    (response("200 OK", "application/json", &body), Then::Close)
}

fn answered(input: u64) -> (String, Then) {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE,
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": {"input_tokens": input, "output_tokens": 5},
    });
    (response("200 OK", "application/json", &body.to_string()), Then::Close)
}

/// Before an Anthropic that answers one after the other.
async fn anthropic(answers: Vec<(String, Then)>) -> (ScriptedProvider, Stage) {
    let provider = ScriptedProvider::in_turn(answers).await;
    let base = provider.base_url();
    let settings = [
        ("SIMULATE_PROVIDERS", "false"),
        ("ANTHROPIC_API_KEY", PROVIDER_KEY),
        ("ANTHROPIC_BASE_URL", &base),
        ("UPSTREAM_RETRIES", "0"),
        ("UPSTREAM_TIMEOUT_SECONDS", "3"),
    ];
    let stage = Stage::simulated(&settings).await;
    (provider, stage)
}

async fn capped(stage: &Stage, cap: Decimal) -> Run {
    stage.run(json!({"cost_limit_usd": cap.to_string(), "on_cap": "refuse"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fits_by_anthropics_count_is_served() {
    let text = words();
    let strict = cost(CLAUDE, strict_input_of(CLAUDE, &text), 0, OUTPUT);
    let cap = cost(CLAUDE, estimated(4_100), 0, OUTPUT);
    assert!(cap < strict);
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let (provider, stage) = anthropic(vec![counted(4_100), answered(4_090)]).await;
        let run = capped(&stage, cap).await;
        let made = post(&stage, &run, path, &with(message(&text), json!({"top_p": 0.5}))).await;
        assert_eq!(made.status, 200, "{path}: {}", made.text);
        let usage = stage.client().settled(&run).await;
        assert_eq!(decimal(&usage["spent_usd"]), cost(CLAUDE, 4_090, 0, 5));
        assert_eq!(usage["calls"], 1, "a count is no call: {usage}");
        let seen = provider.seen();
        assert!(seen[0].starts_with("POST /v1/messages/count_tokens "), "{}", seen[0]);
        assert!(seen[1].starts_with("POST /v1/messages "), "{}", seen[1]);
        let sent: Value = serde_json::from_str(seen[0].split_once("\r\n\r\n").unwrap().1).unwrap();
        let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["messages", "model"], "{path}");
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anthropic_counts_is_an_estimate_and_more_is_reserved() {
    let text = words();
    let (provider, stage) = anthropic(vec![counted(4_100), answered(4_090)]).await;
    let needed = cost(CLAUDE, estimated(4_100), 0, OUTPUT);
    let run = capped(&stage, needed - cost(CLAUDE, 1, 0, 0)).await;
    let refused = post(&stage, &run, "/v1/messages", &message(&text)).await;
    assert_eq!(refused.status, 402, "{}", refused.text);
    assert_eq!(decimal(&refused.json()["error"]["worst_case_usd"]), needed);
    assert_eq!(provider.seen().len(), 1, "only the count was asked for");
    stage.end().await;
}

/// A call that does not fit by its bytes is refused by them, whatever this answer says.
async fn the_bytes_stand_for(answer: (String, Then)) {
    let text = words();
    let strict = cost(CLAUDE, strict_input_of(CLAUDE, &text), 0, OUTPUT);
    let (_provider, stage) = anthropic(vec![answer]).await;
    let run = capped(&stage, strict - cost(CLAUDE, 1, 0, 0)).await;
    let refused = post(&stage, &run, "/v1/messages", &message(&text)).await;
    assert_eq!(refused.status, 402, "{}", refused.text);
    assert_eq!(decimal(&refused.json()["error"]["worst_case_usd"]), strict);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_count_the_bytes_stand() {
    for status in ["500 Oops", "429 Too Many Requests", "200 OK"] {
        the_bytes_stand_for((response(status, "application/json", "{}"), Then::Close)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_or_never_counts_holds_no_call_up_for_long() {
    the_bytes_stand_for((String::new(), Then::Close)).await;
    the_bytes_stand_for((String::new(), Then::Stall)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_above_the_bytes_changes_nothing() {
    the_bytes_stand_for(counted(1_000_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fits_by_its_bytes_is_not_counted() {
    let (provider, stage) = anthropic(vec![answered(10)]).await;
    let run = capped(&stage, cost(CLAUDE, strict_input_of(CLAUDE, "hi"), 0, OUTPUT)).await;
    assert_eq!(post(&stage, &run, "/v1/messages", &message("hi")).await.status, 200);
    assert_eq!(provider.seen().len(), 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_never_lowered_to_what_it_may_think() {
    let stage = Stage::simulated(&[]).await;
    let text = "think";
    let asked = |members: Value| with(ask_of(CLAUDE, text), members);
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let body = with(asked(thinking), json!({"max_tokens": 6_000}));
    let counter = stage.run(json!({})).await;
    let told = post(&stage, &counter, "/v1/messages/count_tokens", &body).await.json();
    let count = told["input_tokens"].as_u64().unwrap();
    // For so short a prompt the bytes are the better bound.
    let input = strict_input_of(CLAUDE, text).min(estimated(count));
    let effort = json!({"max_tokens": 6_000, "reasoning_effort": "low"});
    for (path, body) in [("/v1/messages", body), ("/v1/chat/completions", asked(effort))] {
        let capped = async |output: u64| {
            let cap = cost(CLAUDE, input, 0, output);
            let run = stage.run(json!({"cost_limit_usd": cap.to_string()})).await;
            post(&stage, &run, path, &body).await
        };
        let lowered = capped(3_000).await;
        assert_eq!(lowered.status, 200, "{path}: {}", lowered.text);
        assert_eq!(lowered.header("x-run-max-output-tokens"), Some("3000"), "{path}");
        assert_eq!(capped(2_049).await.header("x-run-max-output-tokens"), Some("2049"), "{path}");
        let refused = capped(2_048).await;
        assert_eq!(refused.status, 402, "{path}: {}", refused.text);
        let least = decimal(&refused.json()["error"]["worst_case_usd"]);
        assert_eq!(least, cost(CLAUDE, input, 0, 2_049), "{path}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_allows_less_than_the_thinking_refuses_it_by_name() {
    let stage = Stage::simulated(&[]).await;
    let run = stage.run(json!({"max_output_tokens_per_call": 2_000})).await;
    let thinking = json!({"max_tokens": 6_000, "thinking": {"type": "enabled",
        "budget_tokens": 2_000}});
    let refused = post(&stage, &run, "/v1/messages", &with(message("hi"), thinking)).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request".to_owned()));
    assert!(refused.text.contains("at most 2000 output tokens"), "{}", refused.text);
    // Whoever asks for more thinking than output by himself is the provider's to judge.
    let own = json!({"max_tokens": 1_500, "thinking": {"type": "enabled",
        "budget_tokens": 2_000}});
    assert_eq!(post(&stage, &run, "/v1/messages", &with(message("hi"), own)).await.status, 200);
    stage.end().await;
}

/// One model, counted with a file beside the catalogue.
const WITH_FILE: &str = r#"
[[models]]
name = "acme/words"
provider = "chutes"
context_window = 100000
max_output_tokens = 1000
tokenizer_file = "tiny.json"
input = "1"
output = "2"
bound = { per_request = 64, per_message = 16, per_tool = 64 }
"#;

/// A character of 3 bytes that a tokeniser with NFKC reads as 33.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_counts_as_what_its_model_reads_after_it_is_normalised() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizers/tiny.json");
    let tiny = std::fs::read_to_string(tiny).unwrap();
    let path = folder.path().join("models.toml");
    let text = "\u{fdfa}".repeat(100);
    let normalizers = [
        (r#""normalizer": null"#, 64 + 16 + 300),
        (r#""normalizer": {"type": "NFKC"}"#, 64 + 16 + 3300),
    ];
    for (normalizer, expected) in normalizers {
        let file = tiny.replace(r#""normalizer": null"#, normalizer);
        std::fs::write(folder.path().join("tiny.json"), file).unwrap();
        let bytes = WITH_FILE
            .replace("acme/words", "acme/bytes")
            .replace("tokenizer_file = \"tiny.json\"", "tokenizer = \"bytes\"");
        std::fs::write(&path, format!("{WITH_FILE}{bytes}")).unwrap();
        let stage = Stage::simulated(&[("MODELS_FILE", path.to_str().unwrap())]).await;
        let run = stage.run(json!({})).await;
        let count = async |body: &Value| {
            let told = post(&stage, &run, "/v1/messages/count_tokens", body).await;
            told.json()["input_tokens"].as_u64().unwrap()
        };
        assert_eq!(count(&ask_of("acme/words", &text)).await, expected, "{normalizer}");
        assert_eq!(count(&ask_of("acme/bytes", &text)).await, 64 + 16 + 3300);
        let cap = Decimal::new(64 + 16 + 3300 + 2 * 50, 6);
        let poor = capped(&stage, cap - Decimal::new(3, 6)).await;
        let answer = stage.client().ask(&poor, &ask_of("acme/bytes", &text)).await;
        assert_eq!(answer.code(), "cost_limit_exceeded", "{answer:?}");
        let rich = capped(&stage, cap).await;
        assert_eq!(stage.client().ask(&rich, &ask_of("acme/bytes", &text)).await.status, 200);
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fits_by_the_operators_vocabulary_is_served() {
    const MODEL: &str = "acme/words";
    let folder = tempfile::tempdir().unwrap();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizers/tiny.json");
    std::fs::copy(tiny, folder.path().join("tiny.json")).unwrap();
    let path = folder.path().join("models.toml");
    std::fs::write(&path, WITH_FILE).unwrap();
    let stage = Stage::simulated(&[("MODELS_FILE", path.to_str().unwrap())]).await;
    // A token for "hello" and for each " world", and what stands around a message.
    let text = format!("hello{}", " world".repeat(1_000));
    let bound = 64 + 16 + 1 + 1_000;
    let tools = json!({"tools": [{"name": "look", "input_schema": {"type": "object"}}]});
    let run = stage.run(json!({})).await;
    let count = async |body: &Value| {
        let told = post(&stage, &run, "/v1/messages/count_tokens", body).await;
        assert_eq!(told.header("x-token-count"), Some("bound"), "{}", told.text);
        told.json()["input_tokens"].as_u64().unwrap()
    };
    assert_eq!(count(&ask_of(MODEL, &text)).await, bound);
    assert!(count(&with(ask_of(MODEL, &text), tools)).await > bound + 64, "a tool counts, too");

    // 50 output tokens at 2, the input at 1, in millionths.
    let cap = |input: u64| Decimal::from(input + 2 * OUTPUT) / Decimal::from(1_000_000);
    let ask = ask_of(MODEL, &text);
    let run = capped(&stage, cap(bound)).await;
    let served = stage.client().ask(&run, &ask).await;
    assert_eq!(served.status, 200, "{}", served.text);
    let run = capped(&stage, cap(bound - 1)).await;
    let refused = stage.client().ask(&run, &ask).await;
    assert_eq!(refused.status, 402, "{}", refused.text);
    assert_eq!(decimal(&refused.json()["error"]["worst_case_usd"]), cap(bound).normalize());
    stage.end().await;
}
