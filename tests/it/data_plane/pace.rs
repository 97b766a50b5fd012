//! The pace of keys, organizations and endpoints, as clients see it.

use std::sync::Arc;

use rungate::config::METERED_ENDPOINTS;
use rungate::domain::id::OrganizationId;
use rungate::domain::limits::Limits;
use rungate::domain::money::Usd;
use rungate::domain::organization::{KeyLimits, KeyTerms, SettingsPatch};
use rungate::domain::usage::Tokens;
use rungate::gateway::Gateway;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::stage::*;
use crate::support::client::{Answer, Run};

fn gateway(stage: &Stage) -> &Arc<Gateway> {
    &stage.gateway.running.gateway
}

/// An organization that pays, with limits.
async fn organization(stage: &Stage, limits: Limits) -> OrganizationId {
    let made = gateway(stage)
        .create_organization(OrganizationId::generate(), "acme".to_owned())
        .await
        .unwrap();
    let id = made.organization.id;
    set(stage, id, limits).await;
    id
}

async fn set(stage: &Stage, id: OrganizationId, limits: Limits) {
    let patch = SettingsPatch {
        monthly_cost_limit: Some(Usd::parse("10").unwrap()),
        limits: Some(limits),
        ..SettingsPatch::default()
    };
    gateway(stage).put_settings(id, patch).await.unwrap();
}

/// A key, standing where a run's token would.
async fn key(stage: &Stage, organization: OrganizationId, terms: KeyTerms) -> Run {
    let limits = KeyLimits {
        monthly_tokens: Tokens::new(1_000_000),
        daily_tokens: None,
        monthly_usd: None,
        lifetime_usd: None,
    };
    let terms = KeyTerms { name: "test".to_owned(), ..terms };
    let (record, secret) = gateway(stage).mint_key(organization, terms, limits).await.unwrap();
    Run { id: record.key.id.to_string(), token: secret.expose_secret().to_owned() }
}

/// A call under way with a key, for a run that can be aborted.
async fn stall(stage: &Stage, key: &Run) -> (Run, JoinHandle<Answer>) {
    let run = stage.run(json!({})).await;
    let request = stage.client().chat(key, &ask("[[sim stall=head]]"));
    let request = request.header("x-run-id", &run.id);
    let stalled = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    stage.in_flight(&run, 1).await;
    (run, stalled)
}

fn requests(answer: &Answer) -> (Option<&str>, Option<&str>) {
    let header = |name| answer.header(name);
    (header("x-ratelimit-limit-requests"), header("x-ratelimit-remaining-requests"))
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_organization_refuses_takes_nothing_of_its_key() {
    let stage = Stage::simulated(&[]).await;
    let slow = Limits { requests_per_minute: Some(1), ..Limits::default() };
    let payer = organization(&stage, slow).await;
    let terms = || KeyTerms { rate_limit_rpm: Some(3), ..KeyTerms::default() };
    let (one, other) = (key(&stage, payer, terms()).await, key(&stage, payer, terms()).await);
    let first = stage.client().ask(&one, &ask("hi")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(requests(&first), (Some("1"), Some("0")), "the organization's is the tightest");
    for key in [&one, &other, &other, &other] {
        let refused = stage.client().ask(key, &ask("hi")).await;
        assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"));
        let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let says =
            format!("This organization may make 1 requests a minute. Try again in {seconds} s.");
        assert_eq!(message(&refused), says);
    }
    // Another limit holds at once, and the keys have what they had.
    set(&stage, payer, Limits { requests_per_minute: Some(900), ..Limits::default() }).await;
    assert_eq!(requests(&stage.client().ask(&other, &ask("hi")).await), (Some("3"), Some("2")));
    assert_eq!(requests(&stage.client().ask(&one, &ask("hi")).await), (Some("3"), Some("1")));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_pace_with_a_run_and_without() {
    let stage = Stage::simulated(&[]).await;
    let terms = KeyTerms { rate_limit_rpm: Some(3), ..KeyTerms::default() };
    let key = key(&stage, OrganizationId::DEFAULT, terms).await;
    let run = stage.run(json!({"requests_per_minute": 1})).await;
    let for_run = |run: &Run| stage.client().chat(&key, &ask("hi")).header("x-run-id", &run.id);
    let asked = async |run| Answer::of(for_run(run).send().await.unwrap()).await;
    let first = asked(&run).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(requests(&first), (Some("1"), Some("0")));
    let refused = asked(&run).await;
    assert!(message(&refused).starts_with("This run may make 1 requests"), "{}", refused.text);
    assert_eq!(requests(&stage.client().ask(&key, &ask("hi")).await), (Some("3"), Some("1")));
    assert_eq!(requests(&asked(&stage.run(json!({})).await).await), (Some("3"), Some("0")));
    let refused = stage.client().ask(&key, &ask("hi")).await;
    assert!(message(&refused).starts_with("This key may make 3 requests"), "{}", refused.text);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_by_the_worst_case_and_given_back_by_the_usage() {
    let stage = Stage::simulated(&[]).await;
    let worst = strict_input("[[sim usage=10:50]]") + MAX_TOKENS;
    let limit = u32::try_from(worst + 40).unwrap();
    let terms = || KeyTerms { tokens_per_minute: Some(limit), ..KeyTerms::default() };
    let busy = key(&stage, OrganizationId::DEFAULT, terms()).await;
    let header = |answer: &Answer, name: &str| {
        answer.header(&format!("x-ratelimit-{name}-tokens")).unwrap_or_default().to_owned()
    };
    // One call took all but forty, of which it gave all but sixty back.
    for _ in 0..2 {
        let answer = stage.client().ask(&busy, &ask("[[sim usage=10:15]]")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(header(&answer, "limit"), limit.to_string());
        assert!(!header(&answer, "reset").is_empty());
    }
    let busy = key(&stage, OrganizationId::DEFAULT, terms()).await;
    let (run, _stalled) = stall(&stage, &busy).await;
    let refused = stage.client().ask(&busy, &ask("hi")).await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"), "{}", refused.text);
    let says = format!("This key may use {limit} tokens a minute, and this call can take ");
    assert!(message(&refused).starts_with(&says), "{}", refused.text);
    assert!(refused.header("retry-after").is_some() && refused.header("x-should-retry").is_none());
    stage.abort(&run).await;
    let small = KeyTerms { tokens_per_minute: Some(20), ..KeyTerms::default() };
    let small = key(&stage, OrganizationId::DEFAULT, small).await;
    let refused = stage.client().ask(&small, &ask("hi")).await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(header(&refused, "remaining"), "20");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_are_limited_for_a_key_and_for_an_organization() {
    let stage = Stage::simulated(&[]).await;
    let payer = OrganizationId::DEFAULT;
    set(&stage, payer, Limits { max_concurrency: Some(2), ..Limits::default() }).await;
    let one_call = KeyTerms { max_concurrency: Some(1), ..KeyTerms::default() };
    let (key_of_one, free) =
        (key(&stage, payer, one_call).await, key(&stage, payer, KeyTerms::default()).await);
    let mut runs = Vec::new();
    let crowded = [(&key_of_one, "This key may have 1 "), (&free, "This organization may have 2 ")];
    for (whose, says) in crowded {
        runs.push(stall(&stage, whose).await);
        let refused = stage.client().ask(whose, &ask("hi")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
        assert_eq!(refused.code(), "concurrency_limited");
        assert!(message(&refused).starts_with(says), "{}", refused.text);
    }
    for (run, stalled) in runs {
        stage.abort(&run).await;
        stalled.await.unwrap();
    }
    for key in [&key_of_one, &free] {
        assert_eq!(stage.client().ask(key, &ask("hi")).await.status, 200, "both places are free");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_has_its_own_pace_for_each_run() {
    let limits = [("ENDPOINT_RATE_LIMITS", "/v1/chat/completions=1, /v1/embeddings=600")];
    let stage = Stage::simulated(&limits).await;
    let (run, other) = (stage.run(json!({})).await, stage.run(json!({})).await);
    let first = stage.client().ask(&run, &ask("hi")).await;
    assert_eq!((first.status, requests(&first)), (200, (Some("1"), Some("0"))));
    let asked = async |run: &Run, path: &str, body: Value| {
        let request = stage.client().http.post(format!("{}{path}", stage.client().data));
        Answer::of(request.bearer_auth(&run.token).json(&body).send().await.unwrap()).await
    };
    for path in
        ["/v1/chat/completions", "/inference/v1/chat/completions", "/api/v1/chat/completions"]
    {
        let refused = asked(&run, path, ask("hi")).await;
        assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"), "{path}");
        let says = "At this endpoint a run or key may make 1 requests a minute.";
        assert!(message(&refused).starts_with(says), "{}", refused.text);
    }
    assert_eq!(asked(&run, "/v1/messages", ask("hi")).await.status, 200);
    let embedding = json!({"model": "text-embedding-3-small", "input": "hi"});
    assert_eq!(requests(&asked(&run, "/v1/embeddings", embedding).await).0, Some("600"));
    assert_eq!(stage.client().ask(&other, &ask("hi")).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_enforces_its_share_and_at_least_one() {
    let stage = Stage::simulated(&[("RATE_LIMIT_SHARE", "1/3")]).await;
    for (limit, share) in [(7, "2"), (2, "1")] {
        let run = stage.run(json!({"requests_per_minute": limit})).await;
        assert_eq!(requests(&stage.client().ask(&run, &ask("hi")).await).0, Some(share));
    }
    stage.end().await;
}

/// Every call that answers tell the pace of can be limited by its path, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn every_metered_endpoint_can_have_a_limit() {
    let stage = Stage::simulated(&[]).await;
    let document = stage.client().http.get(format!("{}/openapi.json", stage.client().data));
    let document = Answer::of(document.send().await.unwrap()).await.json();
    let metered = |operation: &Value| {
        !operation["post"]["responses"]["200"]["headers"]["x-ratelimit-limit-requests"].is_null()
    };
    let paths = document["paths"].as_object().unwrap();
    let mut mounted = Vec::new();
    for (path, _) in paths.iter().filter(|(_, operation)| metered(operation)) {
        let below = path.strip_prefix("/inference").or_else(|| path.strip_prefix("/api"));
        let known = below.filter(|below| below.starts_with("/v1/")).unwrap_or(path);
        assert!(METERED_ENDPOINTS.contains(&known), "{path}");
        mounted.push(known.to_owned());
    }
    for known in METERED_ENDPOINTS {
        assert!(mounted.iter().any(|path| path == known), "{known}");
    }
    stage.end().await;
}
