//! `PATCH …/inference/keys/{key}`, and what a key is told of itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Stage, Who, operator, text};
use crate::support::client::{Answer, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

async fn call(gateway: &TestGateway, credential: &str) -> Answer {
    let request = gateway.client.http.post(format!("{}/v1/chat/completions", gateway.client.data));
    Answer::of(request.bearer_auth(credential).json(&prompt("Hi")).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_key_keeps_what_it_does_not_name() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("ada", "admin"), ("vic", "viewer")]).await;
    let path = format!("/organizations/{}/inference/keys/{}", tenant.id, tenant.key);
    let (patch, ada) = (format!("PATCH {path}"), Who::Member("ada"));
    let all = json!({
        "name": "batch", "monthly_token_limit": 2000, "daily_token_limit": 500,
        "monthly_limit_usd": "3.50", "lifetime_limit_usd": 7, "rate_limit_rpm": 30,
        "rate_limit_rps": 3, "tokens_per_minute": 900, "max_concurrency": 4,
        "allowed_models": ["gpt-4o-mini"], "allowed_endpoints": ["/v1/chat/completions"],
        "expires_at": "2099-01-01T00:00:00Z", "require_run": true,
    });
    let changed = stage.ask(&ada, &patch, Some(&all)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let key = changed.json();
    for (name, value) in all.as_object().unwrap() {
        let expected = match name.as_str() {
            "monthly_limit_usd" => json!("3.5"),
            "lifetime_limit_usd" => json!("7"),
            _ => value.clone(),
        };
        assert_eq!(key[name], expected, "{name}");
    }
    assert_eq!(stage.operate(&format!("GET {path}"), None, 200).await, key);

    // What may be taken away is, by null; nothing else changes.
    let kept = ["name", "monthly_token_limit", "require_run"];
    let nulls: Value = all
        .as_object()
        .unwrap()
        .keys()
        .map(|name| (name.clone(), Value::Null))
        .filter(|(name, _)| !kept.contains(&name.as_str()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let bare = stage.ask(&ada, &patch, Some(&nulls)).await.json();
    for name in all.as_object().unwrap().keys() {
        let expected = if kept.contains(&name.as_str()) { &all[name] } else { &Value::Null };
        assert_eq!(&bare[name], expected, "{name}");
    }
    let nothing = stage.ask(&ada, &patch, Some(&json!({}))).await;
    assert_eq!((nothing.status, nothing.json()), (200, bare));

    for (body, status, code, param) in [
        (json!({"name": null}), 400, "invalid_request", "name"),
        (json!({"monthly_token_limit": null}), 400, "invalid_request", "monthly_token_limit"),
        (json!({"monthly_token_limit": 0}), 400, "invalid_request", "monthly_token_limit"),
        (json!({"require_run": null}), 400, "invalid_request", "require_run"),
        (json!({"monthly_limit_usd": "-1"}), 400, "invalid_request", "monthly_limit_usd"),
        (json!({"status": "active"}), 400, "invalid_request", "status"),
        (json!({"allowed_models": ["nobody"]}), 400, "invalid_model", "allowed_models"),
        (json!({"allowed_endpoints": ["/metrics"]}), 400, "invalid_request", "allowed_endpoints"),
        (json!({"client_identity": "san:dns:a.example"}), 403, "forbidden", "client_identity"),
    ] {
        let refused = stage.ask(&ada, &patch, Some(&body)).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body}");
        assert_eq!(refused.json()["error"]["param"], param, "{body}");
    }
    let viewer = stage.ask(&Who::Member("vic"), &patch, Some(&json!({"name": "mine"}))).await;
    assert_eq!((viewer.status, viewer.code().as_str()), (403, "forbidden"));
    let named = json!({"client_identity": "san:dns:A.example"});
    let named = stage.ask(&operator(), &patch, Some(&named)).await.json();
    assert_eq!(named["client_identity"], "san:dns:a.example");
    stage.operate(&format!("DELETE {path}"), None, 200).await;
    let revoked = stage.ask(&ada, &patch, Some(&json!({"name": "late"}))).await;
    assert_eq!((revoked.status, revoked.code().as_str()), (409, "invalid_transition"));
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_change_of_a_key_is_answered_it_holds_on_every_gateway() {
    let database = database().await;
    let stage = Stage::on(&database).await;
    let there = TestGateway::serve(&database, &[]).await;
    let tenant = stage.tenant("lab", &[]).await;
    let patch = format!("PATCH /organizations/{}/inference/keys/{}", tenant.id, tenant.key);
    for (body, expected) in [
        (json!({"monthly_token_limit": 1_000_000}), 200),
        (json!({"daily_token_limit": 1}), 429),
        (json!({"daily_token_limit": null}), 200),
        (json!({"lifetime_limit_usd": "0"}), 402),
        (json!({"lifetime_limit_usd": null}), 200),
        (json!({"allowed_models": ["gpt-4o"]}), 403),
        (json!({"allowed_models": null}), 200),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), 401),
        (json!({"expires_at": null}), 200),
    ] {
        stage.operate(&patch, Some(body.clone()), 200).await;
        for gateway in [&there, &stage.gateway] {
            let mut answer = call(gateway, &tenant.key_secret).await;
            // What is allowed again is heard of by notification; what is not holds at once.
            for _ in 0..400 {
                if answer.status == expected || expected != 200 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                answer = call(gateway, &tenant.key_secret).await;
            }
            assert_eq!(answer.status, expected, "{body}: {}", answer.text);
        }
    }
    there.stop().await;
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reads_what_it_has_used() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[]).await;
    let patch = format!("PATCH /organizations/{}/inference/keys/{}", tenant.id, tenant.key);
    let limits = json!({"monthly_token_limit": 1_000_000, "lifetime_limit_usd": "2"});
    stage.operate(&patch, Some(limits), 200).await;
    let called = call(&stage.gateway, &tenant.key_secret).await;
    assert_eq!(called.status, 200, "{}", called.text);
    let tokens = called.json()["usage"].clone();
    let client = &stage.gateway.client;
    let read = async |path: &str, run: Option<&str>| {
        let mut request = client.http.get(format!("{}{path}", client.data));
        request = request.bearer_auth(&tenant.key_secret);
        if let Some(run) = run {
            request = request.header("x-run-id", run);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    let answer = read("/v1/usage", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let used = answer.json();
    assert_eq!(
        (text(&used["key_id"]), text(&used["name"])),
        (tenant.key.clone(), "app".to_owned())
    );
    assert_eq!(used["calls"], 1);
    assert_eq!(used["input_tokens"], tokens["prompt_tokens"]);
    assert_eq!(used["output_tokens"], tokens["completion_tokens"]);
    assert_eq!(used["models"][0]["model"], "openai/gpt-4o-mini");
    assert_eq!(used["models"][0]["cost_usd"], used["spent_usd"]);
    let budgets = used["budgets"].as_array().unwrap();
    let lifetime = budgets.iter().find(|budget| budget["window"] == "lifetime").unwrap();
    assert_eq!((&lifetime["spent"], &lifetime["limit"]), (&used["spent_usd"], &json!("2")));
    let month = budgets.iter().find(|budget| budget["unit"] == "tokens").unwrap();
    assert_eq!(text(&month["spent"]), tokens["total_tokens"].to_string());
    assert!(!answer.text.contains(&tenant.id), "what its organization is, is not the key's");

    // With a run it is the run's; an organization's money is nobody's here.
    let run = read("/v1/usage", Some(&tenant.run)).await.json();
    assert_eq!((text(&run["run_id"]), &run["calls"]), (tenant.run.clone(), &json!(0)));
    let ridges = read("/api/usage", None).await;
    assert_eq!(ridges.status, 422, "{}", ridges.text);
    stage.gateway.stop().await;
}
