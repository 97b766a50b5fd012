//! Runs kept apart: neither the gateway's answers nor the provider's cache join two of them.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{ANSWER, body_of};
use crate::data_plane::stage::{Stage, ask, ask_streamed, with};
use crate::support::provider::ScriptedProvider;

/// Threat 24.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_ask_the_same_share_no_reply_and_no_name_at_the_provider() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let (a, b) = (stage.run(json!({})).await, stage.run(json!({})).await);
    // The second run tries to be the first one.
    let theirs = json!({"user": a.id, "prompt_cache_key": a.id, "safety_identifier": a.id});
    for (run, body) in [(&a, ask("hi")), (&a, ask("hi")), (&b, ask("hi"))] {
        assert_eq!(stage.client().ask(run, &body).await.status, 200);
    }
    let key = body_of(&provider.seen()[0])["prompt_cache_key"].clone();
    for body in [
        with(ask("hi"), theirs.clone()),
        with(ask("hi"), json!({"prompt_cache_key": key, "safety_identifier": key})),
        with(ask_streamed("hi"), theirs),
    ] {
        stage.client().ask(&b, &body).await;
    }
    let bodies: Vec<Value> = provider.seen().iter().map(|request| body_of(request)).collect();
    assert_eq!(bodies.len(), 6, "every call is asked anew");
    let names = |bodies: &[Value]| -> HashSet<(String, String)> {
        let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
        bodies
            .iter()
            .map(|body| (text(body, "prompt_cache_key"), text(body, "safety_identifier")))
            .collect()
    };
    let (of_a, of_b) = (names(&bodies[..2]), names(&bodies[2..]));
    assert_eq!((of_a.len(), of_b.len()), (1, 1), "{of_a:?} {of_b:?}");
    assert!(of_a.is_disjoint(&of_b));
    for (body, run) in bodies.iter().zip([&a, &a, &b, &b, &b, &b]) {
        assert!(body.get("user").is_none());
        let tag = body["prompt_cache_key"].as_str().unwrap();
        assert!(tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{tag}");
        assert!(!body.to_string().contains(&run.id) && !body.to_string().contains(&a.id));
    }
    stage.end().await;
}
