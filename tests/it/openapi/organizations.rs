//! The endpoints of organizations, whose answers are held against the document.

use serde_json::json;

use super::answers::Plane;

/// Each endpoint of organizations, once.
pub(super) async fn organizations(operator: &Plane) {
    let id = "11111111-2222-4333-8444-666666666666";
    let org = format!("/organizations/{id}");
    operator.say("POST /organizations", json!({"id": id, "name": "lab"}), 201).await;
    operator.say("POST /organizations", json!({"name": "lab"}), 409).await;
    operator.ask("GET /organizations?limit=1", 200).await;
    operator.ask(&format!("GET {org}"), 200).await;
    operator.ask("GET /organizations/11111111-2222-4333-8444-777777777777", 404).await;
    let settings = format!("{org}/inference/settings");
    operator.say(&format!("PUT {settings}"), json!({"eu_only": true}), 400).await;
    operator.say(&format!("PUT {settings}"), json!({"monthly_cost_limit_cents": 500}), 200).await;
    operator.ask(&format!("GET {settings}"), 200).await;
    let keys = format!("{org}/inference/keys");
    let key = json!({"name": "a", "monthly_token_limit": 10, "expires_at": "2090-01-01T00:00:00Z",
                     "lifetime_limit_usd": "1", "allowed_models": ["gpt-4o-mini"]});
    let minted = operator.say(&format!("POST {keys}"), key, 201).await.json();
    let key = format!("{keys}/{}", minted["key"]["id"].as_str().unwrap());
    operator.ask(&format!("GET {keys}"), 200).await;
    operator.ask(&format!("GET {key}"), 200).await;
    operator.say(&format!("PATCH {key}"), json!({"allowed_models": null}), 200).await;
    for change in ["suspend", "resume", "rotate"] {
        operator.ask(&format!("POST {key}/{change}"), 200).await;
    }
    operator.ask(&format!("DELETE {key}"), 200).await;
    operator.ask(&format!("POST {key}/resume"), 409).await;
    let keys = format!("{org}/orchestrator-keys");
    let minted = operator.say(&format!("POST {keys}"), json!({"name": "b"}), 201).await.json();
    operator.ask(&format!("GET {keys}?limit=1"), 200).await;
    let secret = minted["secret"].as_str().unwrap();
    let of_runs = operator.with_token(Some(secret)).await;
    of_runs.ask("GET /runs", 200).await;
    of_runs.ask("GET /metrics", 403).await;
    let key = format!("{keys}/{}", minted["key"]["id"].as_str().unwrap());
    operator.ask(&format!("DELETE {key}"), 200).await;
    let credits = format!("{org}/credits");
    for (amount, status) in [("20", 201), ("20", 200), ("2", 409)] {
        let credit = json!({"id": id, "amount_usd": amount});
        operator.say(&format!("POST {credits}"), credit, status).await;
    }
    operator.ask(&format!("GET {credits}"), 200).await;
    let members = format!("{org}/members");
    let member = json!({"name": "ada", "password": "hunter2-hunter2", "role": "viewer"});
    operator.say(&format!("POST {members}"), member, 201).await;
    let last = [format!("GET {members}"), format!("DELETE {members}/ada")];
    for what in last.into_iter().chain([format!("GET {org}/audit?limit=3"), "GET /audit".into()]) {
        operator.ask(&what, 200).await;
    }
}

/// The providers of an organization.
pub(super) async fn providers(operator: &Plane) {
    let path = "/organizations/00000000-0000-0000-0000-000000000001/inference/providers";
    let body = json!({"provider": "openai", "api_key": "sentinel", "eu_endpoint": true});
    operator.say(&format!("PUT {path}"), body, 200).await;
    operator.say(&format!("PUT {path}"), json!({"provider": "nobody"}), 400).await;
    operator.ask(&format!("GET {path}"), 200).await;
    operator.ask(&format!("DELETE {path}/openai"), 200).await;
    operator.ask(&format!("DELETE {path}/openai"), 404).await;
    operator.ask("GET /organizations/nobody/inference/providers", 404).await;
}
