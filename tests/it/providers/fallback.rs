//! Fallback: where a call goes whose provider has failed, what each attempt costs, and that none of
//! it happens unasked.

use serde_json::json;

use super::fallback_stage::{
    ANTHROPIC, AZURE, Chain, NAME, OPENAI, claude, cost, counted_at_azure, sent, strict,
};
use super::matrix::{CHUNK, EVENTS};
use super::retries::{failing, good, good_stream};
use crate::data_plane::stage::{ask, ask_of, ask_streamed, with};
use crate::support::client::Answer;
use crate::support::provider::{ScriptedProvider, Then, response};

#[tokio::test(flavor = "multi_thread")]
async fn after_its_retries_a_call_goes_on_to_the_next_provider_at_that_ones_prices() {
    for (status, streamed) in [(429, false), (502, true), (503, false), (529, true)] {
        let answer = if streamed { good_stream() } else { good() };
        let scripts = [vec![failing(status, "")], vec![answer], vec![claude()]];
        let chain = Chain::of(scripts, &[("UPSTREAM_RETRIES", "1")]).await;
        let run = chain.run(json!({})).await;
        let body = if streamed { ask_streamed("hi") } else { ask("hi") };
        let answer = chain.ask(&run, &body).await;
        assert_eq!(answer.status, 200, "{status}: {answer:?}");
        assert!(answer.text.contains("Hello"), "{status}: {answer:?}");
        assert_eq!(answer.header("x-served-model"), Some(NAME));
        assert_eq!(answer.header("x-run-max-output-tokens"), None);
        let paid = cost(AZURE, (8, 2));
        if !streamed {
            assert_eq!(answer.header("x-run-cost-usd"), Some(paid.to_string().as_str()));
        }
        chain.check(&run, &["openai", "openai"], Some(("azure_openai", paid))).await;
        assert_eq!(chain.seen(), [2, 1, 0]);
        let usage = chain.stage.client().usage(&run).await;
        assert_eq!(usage["calls"], 1, "{usage}");
        let metrics = chain.stage.client().operator(reqwest::Method::GET, "/metrics");
        let metrics = Answer::of(metrics.send().await.unwrap()).await.text;
        let labels = "{from=\"openai\",to=\"azure_openai\"}";
        let counted = metrics.contains(&format!("rungate_upstream_fallbacks_total{labels}"));
        assert!(counted, "moves are counted: {metrics}");
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_ask_for_it_stays_where_it_is() {
    for fields in [json!({}), json!({"fallback": false}), json!({"provider": "openai"})] {
        let scripts = [vec![failing(503, "")], vec![good()], vec![claude()]];
        let chain = Chain::of(scripts, &[("UPSTREAM_RETRIES", "1")]).await;
        let run = chain.stage.run(fields).await;
        let answer = chain.ask(&run, &ask("hi")).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
        assert_eq!(chain.seen(), [2, 0, 0]);
        chain.check(&run, &["openai", "openai"], None).await;
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_has_its_own_retries_and_the_last_failure_is_answered() {
    let last = response("503 No", "application/json", r#"{"error":{"message":"Tired."}}"#);
    let scripts = [vec![failing(503, "")], vec![failing(429, "")], vec![(last, Then::Close)]];
    let chain = Chain::of(scripts, &[("UPSTREAM_RETRIES", "1")]).await;
    let run = chain.run(json!({})).await;
    let answer = chain.ask(&run, &ask("hi")).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
    assert_eq!(answer.json()["error"]["upstream"]["body"], "Tired.");
    assert_eq!(answer.header("x-run-spent-usd"), Some("0"));
    let tried = ["openai", "openai", "azure_openai", "azure_openai", "anthropic", "anthropic"];
    chain.check(&run, &tried, None).await;
    chain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_needs_no_time_for_retries() {
    let hour = "retry-after: 3600\r\n";
    for (settings, wait) in [
        ([("UPSTREAM_RETRIES", "5"), ("UPSTREAM_RETRY_SECONDS", "0")], ""),
        ([("UPSTREAM_RETRIES", "5"), ("UPSTREAM_RETRY_SECONDS", "10")], hour),
    ] {
        let scripts = [vec![failing(429, wait)], vec![failing(429, wait)], vec![claude()]];
        let chain = Chain::of(scripts, &settings).await;
        let run = chain.run(json!({})).await;
        assert_eq!(chain.ask(&run, &ask("hi")).await.status, 200);
        let paid = cost(ANTHROPIC, (9, 4));
        chain.check(&run, &["openai", "azure_openai"], Some(("anthropic", paid))).await;
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_gone_on_from() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let scripts = [vec![good()], vec![good()], vec![claude()]];
    let chain = Chain::of(scripts, &[("OPENAI_BASE_URL", &nobody)]).await;
    let run = chain.run(json!({})).await;
    assert_eq!(chain.ask(&run, &ask("hi")).await.status, 200);
    chain.check(&run, &["openai"], Some(("azure_openai", cost(AZURE, (8, 2))))).await;
    chain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_cost_and_what_the_request_caused_is_taken_nowhere_else() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    let mut cases: Vec<(String, (String, Then), bool)> = Vec::new();
    for status in [400, 401, 403, 404, 413, 422, 500, 504, 524] {
        cases.push((status.to_string(), failing(status, ""), false));
    }
    for (name, bytes, streamed) in [
        ("no answer", String::new(), false),
        ("half a body", format!("{head}{{\"id\":"), false),
        ("half a stream", format!("{EVENTS}{CHUNK}"), true),
        ("an error event", format!("{EVENTS}data: {{\"error\":{{\"code\":503}}}}\n\n"), true),
    ] {
        cases.push((name.to_owned(), (bytes, Then::Close), streamed));
    }
    let script = cases.iter().map(|(_, answer, _)| answer.clone()).collect();
    let chain = Chain::of([script, vec![good()], vec![claude()]], &[]).await;
    for (made, (name, _, streamed)) in cases.iter().enumerate() {
        let run = chain.run(json!({})).await;
        let body = if *streamed { ask_streamed("hi") } else { ask("hi") };
        let answer = chain.ask(&run, &body).await;
        assert!(answer.status != 200 || answer.text.contains("upstream_error"), "{name}");
        assert_eq!(chain.seen(), [made + 1, 0, 0], "{name}");
        assert_eq!(chain.rows(&run).await.len(), 1, "{name}");
    }
    chain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_moves_only_to_what_its_name_and_its_run_allow() {
    let all = json!({});
    let aliased = json!({"model_aliases": {"mine": NAME, "at": "openai/gpt-4o-mini"}});
    let listed = |names: &[&str]| json!({"allowed_models": names});
    for (model, fields, moves) in [
        (NAME, all.clone(), Some("azure_openai")),
        ("openai/gpt-4o-mini", all.clone(), None),
        ("alone", all, None),
        ("mine", aliased.clone(), Some("azure_openai")),
        ("at", aliased, None),
        (NAME, listed(&[NAME]), Some("azure_openai")),
        (NAME, listed(&["openai/gpt-4o-mini"]), None),
        (NAME, listed(&["openai/gpt-4o-mini", "anthropic/gpt-4o-mini"]), Some("anthropic")),
    ] {
        let scripts = [vec![failing(503, "")], vec![good()], vec![claude()]];
        let chain = Chain::of(scripts, &[]).await;
        let run = chain.run(fields).await;
        let answer = chain.ask(&run, &ask_of(model, "hi")).await;
        assert_eq!(answer.status, if moves.is_some() { 200 } else { 502 }, "{model}: {answer:?}");
        let rows = chain.rows(&run).await;
        assert_eq!(rows.get(1).map(|row| row.0.as_str()), moves, "{model}");
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_refuse_a_field_is_passed_over() {
    let image = json!([{"role": "user", "content": [{"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]);
    for (fields, forced, moves) in [
        // Azure takes no images here; Anthropic has neither a seed nor several choices.
        (json!({"messages": image}), json!({}), Some("anthropic")),
        (json!({"messages": image, "seed": 7}), json!({}), None),
        (json!({"messages": image, "n": 2}), json!({}), None),
        (json!({"messages": image}), json!({"seed": 7}), None),
        (json!({"messages": image}), json!({"temperature": 0.5}), Some("anthropic")),
        (json!({"seed": 7, "n": 2}), json!({}), Some("azure_openai")),
    ] {
        let scripts = [vec![failing(503, "")], vec![good()], vec![claude()]];
        let chain = Chain::of(scripts, &[]).await;
        let run = chain.run(json!({"forced_parameters": forced})).await;
        let answer = chain.ask(&run, &with(ask("hi"), fields.clone())).await;
        let expected = if moves.is_some() { 200 } else { 502 };
        assert_eq!(answer.status, expected, "{fields} {forced}: {answer:?}");
        let rows = chain.rows(&run).await;
        assert_eq!(rows.get(1).map(|row| row.0.as_str()), moves, "{fields} {forced}");
        if moves == Some("anthropic") {
            assert_eq!(sent(&chain.anthropic)["temperature"], forced["temperature"]);
        }
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_provider_that_is_too_dear_leaves_the_first_failure_and_nothing_reserved() {
    let scripts = [vec![failing(503, "")], vec![good()], vec![claude()]];
    let chain = Chain::of(scripts, &[]).await;
    let first = strict(OPENAI, 10, "hi", 50);
    for (fields, served) in [
        (json!({"cost_limit_usd": first.to_string()}), false),
        (json!({"cost_limit_usd": strict(AZURE, 20, "hi", 50).to_string()}), true),
    ] {
        let run = chain.run(fields).await;
        let answer = chain.ask(&run, &ask("hi")).await;
        if served {
            assert_eq!(answer.status, 200, "{answer:?}");
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
        assert_eq!(answer.json()["error"]["upstream"]["body"], "Overloaded.");
        chain.check(&run, &["openai"], None).await;
        assert_eq!(chain.seen(), [1, 0, 0]);
    }
    chain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_provider_that_is_affordable_by_its_own_tokens_is_gone_on_to() {
    let text = "word ".repeat(1_000);
    let cap = counted_at_azure(&text, 50);
    assert!(cap < strict(AZURE, 20, &text, 50));
    for (spare, served) in [("0", true), ("-0.0000001", false)] {
        let scripts = [vec![failing(503, "")], vec![good()], vec![claude()]];
        let chain = Chain::of(scripts, &[]).await;
        let cap = cap + rust_decimal::Decimal::from_str_exact(spare).unwrap();
        let fields = json!({"cost_limit_usd": cap.to_string(), "on_cap": "refuse"});
        let run = chain.run(fields).await;
        let answer = chain.ask(&run, &ask(&text)).await;
        assert_eq!(answer.status, if served { 200 } else { 502 }, "{answer:?}");
        let paid = served.then(|| ("azure_openai", cost(AZURE, (8, 2))));
        chain.check(&run, &["openai"], paid).await;
        chain.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_is_bounded_and_announced_for_the_target_that_answers() {
    let large = with(ask("hi"), json!({"max_tokens": 1000}));
    let low = json!({"max_output_tokens_per_call": 300});
    // What buys 600 tokens of output at the first, and less than 240 at the second.
    let cap = json!({"cost_limit_usd": strict(OPENAI, 10, "hi", 600).to_string()});
    for (fields, first, told, written) in [
        (json!({}), failing(503, ""), Some("400"), Some(400)),
        (json!({}), good(), None, None),
        (low, failing(503, ""), Some("300"), Some(300)),
        (cap, failing(503, ""), Some("600"), None),
    ] {
        for streamed in [false, true] {
            let answer = if streamed { good_stream() } else { good() };
            let first = if first.0.contains(" 503 ") { first.clone() } else { answer.clone() };
            let chain = Chain::of([vec![first], vec![answer], vec![claude()]], &[]).await;
            let run = chain.run(fields.clone()).await;
            let body = with(large.clone(), json!({"stream": streamed}));
            let answer = chain.ask(&run, &body).await;
            assert_eq!(answer.header("x-run-max-output-tokens"), told, "{fields}: {answer:?}");
            let seen = chain.seen()[1];
            assert_eq!(seen, usize::from(written.is_some()), "{fields}: {answer:?}");
            if let Some(written) = written {
                assert_eq!(sent(&chain.azure)["max_completion_tokens"], written);
            }
            chain.rows(&run).await;
            chain.end().await;
        }
    }
}

/// A provider that may be anywhere in the order is skipped by its configuration, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_configured_is_passed_over() {
    let openai = ScriptedProvider::in_turn([failing(503, "")]).await;
    let azure = ScriptedProvider::in_turn([good()]).await;
    let settings = [("AZURE_OPENAI_API_KEY", ""), ("AZURE_OPENAI_BASE_URL", "")];
    let chain = Chain::with(openai, azure, vec![claude()], &settings).await;
    let run = chain.run(json!({})).await;
    assert_eq!(chain.ask(&run, &ask("hi")).await.status, 200);
    chain.check(&run, &["openai"], Some(("anthropic", cost(ANTHROPIC, (9, 4))))).await;
    assert_eq!(chain.seen(), [1, 0, 1]);
    chain.end().await;
}
