//! What a registration may decide about the calls of its run.

use serde_json::json;

use super::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_is_shown_and_a_part_of_what_was_registered() {
    let app = App::new().await;
    let fields = json!({
        "id": "0f8fad5b-d9cb-469f-a165-70867728950e", "cost_limit_usd": "0.5",
        "model_aliases": {"claude-haiku": "gpt-4o-mini", "a \"b\"": "openai/gpt-4o"},
        "forced_parameters": {"temperature": 0.5, "seed": -7, "reasoning_effort": "high"},
        "provider": "openai", "attempt_budget": "per_attempt",
    });
    let run = app.register(&fields.to_string()).await;
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&run[name], value, "{name}");
    }
    let again = app.ask("POST /runs", &fields.to_string()).await.of(200);
    assert_eq!(again["forced_parameters"], fields["forced_parameters"]);
    for (name, value) in [
        ("model_aliases", json!({"claude-haiku": "gpt-4o-mini"})),
        ("forced_parameters", json!({"temperature": 0.5, "seed": -7})),
        ("provider", json!(null)),
        ("attempt_budget", json!("shared")),
    ] {
        let mut other = fields.clone();
        other[name] = value;
        let refused = app.ask("POST /runs", &other.to_string()).await.of(409);
        assert_eq!(refused["error"]["code"], "run_conflict", "{name}");
    }
    let moving = fields.clone();
    let (mut moving, mut staying) = (moving, fields);
    for (body, id) in [
        (&mut moving, "0f8fad5b-d9cb-469f-a165-708677289510"),
        (&mut staying, "0f8fad5b-d9cb-469f-a165-708677289511"),
    ] {
        body["id"] = json!(id);
        body.as_object_mut().unwrap().remove("provider");
    }
    moving["fallback"] = json!(true);
    assert_eq!(app.register(&moving.to_string()).await["fallback"], true);
    assert_eq!(app.ask("POST /runs", &moving.to_string()).await.of(200)["fallback"], true);
    moving["fallback"] = json!(false);
    app.ask("POST /runs", &moving.to_string()).await.of(409);
    assert_eq!(app.register(&staying.to_string()).await["fallback"], false);
    // Said or not, the defaults are the same registration.
    let plain = r#"{"id":"0f8fad5b-d9cb-469f-a165-70867728950f","cost_limit_usd":1}"#;
    app.register(plain).await;
    let said = r#"{"id":"0f8fad5b-d9cb-469f-a165-70867728950f","cost_limit_usd":1,
        "model_aliases":{},"forced_parameters":null,"provider":null,"attempt_budget":"shared",
        "fallback":false}"#;
    app.ask("POST /runs", said).await.of(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_refused_by_name() {
    let app = App::new().await;
    let aliases = "model_aliases";
    let names = "must name models in 1 to 256 bytes without control characters";
    let long = format!(r#""model_aliases":{{"{}":"gpt-4o"}}"#, "x".repeat(257));
    let many: Vec<String> = (0..65).map(|n| format!(r#""a{n}":"gpt-4o""#)).collect();
    let many = format!(r#""model_aliases":{{{}}}"#, many.join(","));
    for (members, param, says) in [
        (r#""model_aliases":[]"#, aliases, "must be an object"),
        (r#""model_aliases":{"a":1}"#, aliases, "must be an object of strings"),
        (r#""model_aliases":{"":"gpt-4o"}"#, aliases, names),
        (r#""model_aliases":{"a\u0000":"gpt-4o"}"#, aliases, names),
        (long.as_str(), aliases, names),
        (many.as_str(), aliases, "must have at most 64 members"),
        (
            r#""model_aliases":{"a":"gpt-4o","a":"gpt-4o"}"#,
            aliases,
            "has an object with the same key twice; give each key once",
        ),
        (
            r#""model_aliases":{"a":"b","b":"gpt-4o"}"#,
            aliases,
            "must lead to models of the catalogue, not to another alias",
        ),
        (
            r#""model_aliases":{"gpt-4o":"gpt-4o"}"#,
            aliases,
            "must lead to models of the catalogue, not to another alias",
        ),
        (r#""forced_parameters":3"#, "forced_parameters", "must be an object"),
        (
            r#""forced_parameters":{"temperature":2.5}"#,
            "forced_parameters.temperature",
            "must be a number from 0 to 2",
        ),
        (
            r#""forced_parameters":{"n":2}"#,
            "forced_parameters.n",
            "cannot be forced; what can be is temperature, top_p, top_k, min_p, presence_penalty, \
             frequency_penalty, repetition_penalty, seed, reasoning_effort",
        ),
        (
            r#""provider":"nobody""#,
            "provider",
            "must be one of openai, anthropic, mistral, azure_openai, groq, deepseek, chutes, \
             openrouter, targon",
        ),
        (r#""fallback":"yes""#, "fallback", "must be true or false"),
        (
            r#""fallback":true,"provider":"openai""#,
            "fallback",
            "cannot stand beside provider, which pins the run to one; give one of them",
        ),
        (r#""attempt_budget":"none""#, "attempt_budget", "must be \"shared\" or \"per_attempt\""),
    ] {
        let body = format!(r#"{{"cost_limit_usd":1,{members}}}"#);
        let answer = app.ask("POST /runs", &body).await;
        answer.refuses(400, "invalid_request", Some(param), &format!("{param} {says}."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_leads_to_a_model_that_the_run_may_use() {
    let app = App::new().await;
    for (members, ok) in [
        (r#""model_aliases":{"a":"nope"}"#, false),
        (r#""model_aliases":{"a":"gpt-4o"},"allowed_models":["gpt-4o-mini"]"#, false),
        (r#""model_aliases":{"a":"gpt-4o"},"allowed_models":["azure_openai/gpt-4o"]"#, true),
        (
            r#""model_aliases":{"a":"gpt-4o"},"allowed_models":["azure_openai/gpt-4o"],
                "provider":"openai""#,
            false,
        ),
        (r#""model_aliases":{"a":"deepseek-chat"},"provider":"openai""#, false),
        (r#""model_aliases":{"a":"openai/gpt-4o"},"allowed_models":["gpt-4o"]"#, true),
    ] {
        let body = format!(r#"{{"cost_limit_usd":1,{members}}}"#);
        let answer = app.ask("POST /runs", &body).await;
        if ok {
            answer.of(201);
            continue;
        }
        let refused = answer.of(400);
        let error = (&refused["error"]["code"], &refused["error"]["param"]);
        assert_eq!(error, (&json!("invalid_model"), &json!("model_aliases")), "{members}");
    }
}
