//! `POST /runs`

use serde_json::{Value, json};

use super::app::App;

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_is_answered_in_full_with_its_token_once() {
    let app = App::new().await;
    let body = format!(r#"{{"id":"{ID}","cost_limit_usd":"1.00","metadata":{{"task":7}}}}"#);
    let mut run = app.register(&body).await;
    let token = run["token"].take();
    assert!(token.as_str().unwrap().starts_with("rg-run-"), "{token}");
    assert!(run["created_at"].take().as_str().unwrap().ends_with('Z'));
    let whole = json!({
        "id": ID, "run_id": ID, "organization_id": "00000000-0000-0000-0000-000000000001",
        "token": null, "status": "pending", "attempt": 1, "settlement": "provisional",
        "cost_limit_usd": "1.00", "spent_usd": "0", "total_spent_usd": "0",
        "reserved_usd": "0", "remaining_usd": "1",
        "in_flight": 0, "calls": 0, "input_tokens": 0, "cached_input_tokens": 0,
        "output_tokens": 0, "refusals": {}, "models": [], "allowed_models": null,
        "token_limit": null, "call_limit": null, "max_concurrency": null,
        "requests_per_minute": null, "max_output_tokens_per_call": null, "on_cap": "clamp",
        "require_token": false, "model_aliases": null, "forced_parameters": null,
        "provider": null, "fallback": false, "attempt_budget": "shared", "own_providers": null,
        "expires_at": null, "metadata": {"task": 7}, "close_reason": null, "created_at": null,
        "closed_at": null,
    });
    assert_eq!(run, whole);
    let shown = app.ask(&format!("GET /runs/{ID}"), "").await.of(200);
    assert!(shown.get("token").is_none(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_given() {
    let app = App::new().await;
    let fields = json!({
        "organization_id": "00000000-0000-0000-0000-000000000001", "status": "running",
        "allowed_models": ["gpt-4o-mini", "openai/gpt-4o"], "token_limit": 0, "call_limit": 0,
        "max_concurrency": 3, "requests_per_minute": 2147483647_u32,
        "max_output_tokens_per_call": 4096, "on_cap": "refuse", "require_token": true,
        "expires_at": "2099-01-31T12:00:00Z", "metadata": {"a": [1.50, "\u{1F600}"]},
        "cost_limit_usd": "0.5",
    });
    let run = app.register(&fields.to_string()).await;
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&run[name], value, "{name}");
    }
    let alias = r#"{"cost_limit_usd":1,"status":"running_eval"}"#;
    assert_eq!(app.register(alias).await["status"], "scoring");
    let nulls = r#"{"cost_limit_usd":1,"id":null,"status":null,"expires_at":null,"on_cap":null}"#;
    assert_eq!(app.register(nulls).await["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_read_and_told_exactly() {
    let app = App::new().await;
    for (given, told) in [
        ("0", "0"),
        ("\"0.10\"", "0.10"),
        ("0.1", "0.1"),
        ("1e-05", "0.00001"),
        ("\"1E+2\"", "100"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("9999999999.999999999999999999", "9999999999.999999999999999999"),
        ("\"-0\"", "0"),
        (r#""\u0031""#, "1"),
    ] {
        let run = app.register(&format!(r#"{{"cost_limit_usd":{given}}}"#)).await;
        assert_eq!(run["cost_limit_usd"], told, "{given}");
    }
    let digits = "may have at most 10 integer and 18 fraction digits.";
    let malformed = "is not a decimal number such as \"0.25\".";
    for (given, says) in [
        ("-0.01", "must not be negative."),
        ("\"-1\"", "must not be negative."),
        ("10000000000", digits),
        ("0.0000000000000000001", digits),
        ("1e-19", digits),
        ("1e99", digits),
        ("\"NaN\"", malformed),
        ("\"Infinity\"", malformed),
        ("\"1,5\"", malformed),
        ("\"\"", malformed),
        ("\" 1\"", malformed),
        ("true", malformed),
        ("[1]", malformed),
        ("null", malformed),
    ] {
        let answer = app.ask("POST /runs", &format!(r#"{{"cost_limit_usd":{given}}}"#)).await;
        let message = format!("cost_limit_usd {says}");
        answer.refuses(400, "invalid_request", Some("cost_limit_usd"), &message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_registration_again_is_the_same_run() {
    let app = App::new().await;
    let first = format!(
        r#"{{"id":"{ID}","cost_limit_usd":"1.00","ttl_seconds":60,
            "allowed_models":["gpt-4o","gpt-4o-mini"],"metadata":{{"a":1,"b":2}}}}"#
    );
    let run = app.register(&first).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let again = format!(
        r#"{{"metadata":{{"b":2, "a":1}},"allowed_models":["gpt-4o-mini","gpt-4o"],
            "id":"{}","ttl_seconds":60,"cost_limit_usd":1,"status":"pending"}}"#,
        ID.to_uppercase()
    );
    let same = app.ask("POST /runs", &again).await.of(200);
    assert!(same.get("token").is_none(), "{same}");
    assert_eq!(same["expires_at"], run["expires_at"]);
    let changed = again.replace("\"ttl_seconds\":60", "\"ttl_seconds\":61");
    app.ask("POST /runs", &changed).await.refuses(
        409,
        "run_conflict",
        Some("id"),
        &format!(
            "The run {ID} is registered already, with another body. PATCH it to change it, or \
             register another id."
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_registers_all_or_none() {
    let app = App::new().await;
    let one = format!(r#"{{"id":"{ID}","cost_limit_usd":1}}"#);
    let bad = format!(r#"[{one},{{"cost_limit_usd":-1}}]"#);
    app.ask("POST /runs", &bad).await.refuses(
        400,
        "invalid_request",
        Some("[1].cost_limit_usd"),
        "[1].cost_limit_usd must not be negative.",
    );
    let model = format!(r#"[{one},{{"cost_limit_usd":1,"allowed_models":["nope"]}}]"#);
    app.ask("POST /runs", &model).await.refuses(
        400,
        "invalid_model",
        Some("[1].allowed_models"),
        "There is no model named nope. Name models as GET /v1/models of the data plane lists \
         them.",
    );
    let twice = format!(r#"[{{"cost_limit_usd":3}},{one},{{"id":"{ID}","cost_limit_usd":2}}]"#);
    assert_eq!(app.ask("POST /runs", &twice).await.of(409)["error"]["code"], "run_conflict");
    assert_eq!(app.ask("GET /runs", "").await.of(200)["data"], json!([]));

    let both = app.ask("POST /runs", &format!(r#" [{one},{{"cost_limit_usd":2}}]"#)).await.of(201);
    assert!(both.as_array().unwrap().iter().all(|run| run["token"].is_string()), "{both}");
    let mixed = app.ask("POST /runs", &format!(r#"[{one},{{"cost_limit_usd":2}}]"#)).await.of(201);
    assert!(mixed[0].get("token").is_none() && mixed[1]["token"].is_string(), "{mixed}");
    app.ask("POST /runs", &format!("[{one}]")).await.of(200);
    assert_eq!(app.ask("POST /runs", "[]").await.of(200), json!([]));

    let most = vec![r#"{"cost_limit_usd":1}"#; 1_000].join(",");
    let runs = app.ask("POST /runs", &format!("[{most}]")).await.of(201);
    assert_eq!(runs.as_array().unwrap().len(), 1_000);
    app.ask("POST /runs", &format!(r#"[{most},{{"cost_limit_usd":1}}]"#)).await.refuses(
        400,
        "invalid_request",
        None,
        "The array holds more than 1000 runs. Register them in several requests.",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_wrong_is_named() {
    let app = App::new().await;
    let states = "must be one of pending, initializing, running, scoring, finished, failed and \
                  cancelled";
    let positive = "must be a whole number from 1 to 2147483647";
    let models = "must name between 1 and 1000 models, or be null for all";
    for (members, param, says) in [
        (r#""surprise":1"#, "surprise", "is not a field of this request; leave it out"),
        (r#""cost_limit_usd":1"#, "cost_limit_usd", "is given twice; give it once"),
        (r#""\u0063ost_limit_usd":1"#, "cost_limit_usd", "is given twice; give it once"),
        (r#""status":"asleep""#, "status", states),
        (r#""status":3"#, "status", "must be a string"),
        (r#""token_limit":-1"#, "token_limit", "must be a whole number from 0 to 9007199254740991"),
        (r#""call_limit":1.0"#, "call_limit", "must be a whole number from 0 to 2147483647"),
        (r#""max_concurrency":0"#, "max_concurrency", positive),
        (r#""requests_per_minute":"5""#, "requests_per_minute", positive),
        (r#""max_output_tokens_per_call":2147483648"#, "max_output_tokens_per_call", positive),
        (r#""on_cap":"shrug""#, "on_cap", "must be \"clamp\" or \"refuse\""),
        (r#""require_token":"yes""#, "require_token", "must be true or false"),
        (r#""allowed_models":[]"#, "allowed_models", models),
        (
            r#""allowed_models":"gpt-4o""#,
            "allowed_models",
            "must be an array of model names, or null for all",
        ),
        (
            r#""organization_id":"00000000-0000-0000-0000-000000000002""#,
            "organization_id",
            "names no organization; leave it out",
        ),
        (
            r#""expires_at":"tomorrow""#,
            "expires_at",
            "must be an RFC 3339 instant such as \"2030-01-31T12:00:00Z\"",
        ),
        (r#""ttl_seconds":0"#, "ttl_seconds", "must be a whole number from 1 to 31536000"),
        (
            r#""ttl_seconds":5,"expires_at":"2099-01-31T12:00:00Z""#,
            "ttl_seconds",
            "cannot stand beside expires_at; give one of them",
        ),
        (r#""metadata":[]"#, "metadata", "must be an object"),
        (
            r#""metadata":{"a":"\u0000"}"#,
            "metadata",
            "must not hold NUL characters; leave them out",
        ),
        (
            r#""metadata":{"a":1e-20000}"#,
            "metadata",
            "has a number out of range; write it as a string",
        ),
        (
            r#""metadata":{"a":{"b":1,"b":2}}"#,
            "metadata",
            "has an object with the same key twice; give each key once",
        ),
    ] {
        let body = format!(r#"{{"cost_limit_usd":1,{members}}}"#);
        let answer = app.ask("POST /runs", &body).await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
    let big = format!(r#"{{"cost_limit_usd":1,"metadata":{{"a":"{}"}}}}"#, "x".repeat(16 << 10));
    let deep = format!(r#"{{"cost_limit_usd":1,"metadata":{{"a":{}}}}}"#, nested(5_000));
    for body in [big, deep] {
        assert_eq!(app.ask("POST /runs", &body).await.of(400)["error"]["param"], "metadata");
    }
    let escaped = r#"{"cost_limit_usd":1,"metadata":{"a":"\\u0000 \\\\","e":"1e99999"}}"#;
    assert_eq!(app.register(escaped).await["metadata"]["a"], "\\u0000 \\\\");
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_registration_is_refused() {
    let app = App::new().await;
    app.ask("POST /runs", "{}").await.refuses(
        400,
        "invalid_request",
        Some("cost_limit_usd"),
        "cost_limit_usd is required: the run's cap, such as \"0.25\".",
    );
    for id in [r#""x""#, "7", r#""00000000-0000-0000-0000-000000000000""#] {
        let body = format!(r#"{{"cost_limit_usd":1,"id":{id}}}"#);
        app.ask("POST /runs", &body).await.refuses(
            400,
            "invalid_run_id",
            Some("id"),
            "id is not a UUID. Send one, or leave it out to be given one.",
        );
    }
    for body in ["", "nope", "3", "\"a\"", "[3]", "[", "{\"cost_limit_usd\":1} x", "[[]]"] {
        let refusal: Value = app.ask("POST /runs", body).await.of(400);
        assert_eq!(refusal["error"]["code"], "invalid_request", "{body}: {refusal}");
    }
    let not_utf8 = app.request("POST /runs").bearer_auth(super::app::TOKEN).body(vec![0xFF, b'{']);
    app.send(not_utf8).await.refuses(
        400,
        "invalid_request",
        None,
        "The body is not valid UTF-8. Send JSON in UTF-8.",
    );
    // Two faults: a field of the body comes before the id, and the id before the models.
    let two = r#"{"cost_limit_usd":1,"id":"x","on_cap":3,"allowed_models":["nope"]}"#;
    assert_eq!(app.ask("POST /runs", two).await.of(400)["error"]["param"], "on_cap");
    let two = r#"{"cost_limit_usd":1,"id":"x","allowed_models":["nope"]}"#;
    assert_eq!(app.ask("POST /runs", two).await.of(400)["error"]["code"], "invalid_run_id");
}
