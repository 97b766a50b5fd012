//! What would reach beyond the gateway: tools of the provider, addresses that somebody fetches,
//! another address or another key for the provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{ANSWER, PROVIDER_KEY, Stage, body_of, header_of, sent};
use crate::data_plane::stage::{ask, with};
use crate::support::client::Run;
use crate::support::provider::ScriptedProvider;

/// Somebody's server that nobody should ask for anything.
struct Canary {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Canary {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, asked }
    }

    fn assert_quiet(&self) {
        assert_eq!(self.asked.load(Ordering::SeqCst), 0, "somebody asked the canary");
    }
}

/// Sends a body that must be refused with this code.
async fn check_refused(stage: &Stage, run: &Run, body: &Value, code: &str) {
    let answer = stage.client().ask(run, body).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}: {}", answer.text);
}

/// Threat 12.
#[tokio::test(flavor = "multi_thread")]
async fn no_tool_of_a_provider_goes_upstream_in_any_dialect() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let refused = "parameter_not_allowed";
    for tool in [
        // OpenAI
        json!({"type": "web_search"}),
        json!({"type": "web_search_preview", "search_context_size": "high"}),
        json!({"type": "code_interpreter", "container": {"type": "auto"}}),
        json!({"type": "file_search", "vector_store_ids": ["vs_1"]}),
        json!({"type": "mcp", "server_label": "x", "server_url": "https://mcp.example.com"}),
        json!({"type": "computer_use_preview"}),
        json!({"type": "image_generation"}),
        json!({"type": "local_shell"}),
        // Anthropic
        json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 5}),
        json!({"type": "web_fetch_20250910", "name": "web_fetch"}),
        json!({"type": "code_execution_20250825", "name": "code_execution"}),
        json!({"type": "mcp_toolset", "mcp_server_name": "x"}),
        // Groq, Mistral, Gemini, OpenRouter
        json!({"type": "browser_search"}),
        json!({"type": "web_search_premium"}),
        json!({"google_search": {}}),
        json!({"type": "openrouter:web_search"}),
        // One that we know, with more in it than a function has.
        json!({"type": "function", "function": {"name": "f"}, "server_url": "https://x"}),
        json!({"type": "custom", "custom": {"name": "f"}, "web_search": {}}),
    ] {
        let own = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
        for tools in [json!([tool]), json!([own, tool])] {
            check_refused(&stage, &run, &with(ask("hi"), json!({"tools": tools})), refused).await;
        }
    }
    for fields in [
        json!({"web_search_options": {}}),
        json!({"plugins": [{"id": "web"}]}),
        json!({"mcp_servers": [{"type": "url", "url": "https://x"}]}),
        json!({"tool_choice": {"type": "web_search"}}),
        json!({"search_parameters": {"mode": "on"}}),
        json!({"compound_custom": {}}),
        json!({"container": {"skills": []}}),
    ] {
        check_refused(&stage, &run, &with(ask("hi"), fields), refused).await;
    }
    assert!(provider.seen().is_empty());
    stage.end().await;
}

/// Input that a body does not show, and what would be kept or come where nobody meters it.
fn references() -> Vec<Value> {
    vec![
        json!({"previous_response_id": "resp_1"}),
        json!({"conversation": "conv_1"}),
        json!({"conversation": {"id": "conv_1"}}),
        json!({"prompt": {"id": "pmpt_1", "version": "1"}}),
        json!({"prompt_id": "pmpt_1"}),
        json!({"input": "x"}),
        json!({"file_ids": ["file-1"]}),
        json!({"attachments": [{"file_id": "file-1"}]}),
        json!({"assistant_id": "asst_1"}),
        json!({"thread_id": "thread_1"}),
        json!({"cached_content": "cachedContents/1"}),
        json!({"store": true}),
        json!({"background": true}),
        json!({"prediction": {"type": "content", "content": "x"}}),
    ]
}

/// Threats 5 and 13.
#[tokio::test(flavor = "multi_thread")]
async fn no_address_or_file_in_a_body_is_fetched_or_passed_on() {
    let canary = Canary::new().await;
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let at = &canary.address;
    let mut urls = vec![format!("//{at}/x"), "file:///etc/passwd".into(), format!("ftp://{at}/x")];
    for scheme in
        ["http", "HTTP", "hTTps", " http", "http ", "\thttp", "\nhttp", "view-source:http"]
    {
        urls.push(format!("{scheme}://{at}/x.png"));
    }
    for odd in
        ["data:image/png;base64,AAAA#http://", "data:,http://", "data:image/png;base64,\nhttp://"]
    {
        urls.push(format!("{odd}{at}/"));
    }
    urls.extend([
        format!("http:\\\\{at}"),
        format!("http:{at}"),
        format!("{at}/x"),
        "blob:x".into(),
    ]);
    for url in &urls {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let text = json!({"type": "text", "text": "look"});
        for message in [
            json!({"role": "user", "content": [image]}),
            json!({"role": "system", "content": [text, image]}),
            json!({"role": "tool", "tool_call_id": "c", "content": [text, image]}),
        ] {
            let body = with(ask("hi"), json!({"messages": [message]}));
            check_refused(&stage, &run, &body, "parameter_not_allowed").await;
        }
    }
    let link = format!("http://{at}/x");
    for part in [
        json!({"type": "image_url", "image_url": {"file_id": "file-1"}}),
        json!({"type": "image_file", "image_file": {"file_id": "file-1"}}),
        json!({"type": "input_image", "image_url": {"url": link}}),
        json!({"type": "input_file", "file_url": link}),
        json!({"type": "file", "file": {"file_id": "file-1"}}),
        json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
        json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        json!({"type": "audio_url", "audio_url": {"url": link}}),
        json!({"type": "video_url", "video_url": {"url": link}}),
        json!({"type": "document", "source": {"type": "url", "url": link}}),
        json!({"type": "document_url", "document_url": link}),
        json!({"type": "tool_result", "content": [{"type": "image", "source": {"url": link}}]}),
        json!({"type": "text", "text": "a", "file_id": "file-1"}),
    ] {
        let body = with(ask("hi"), json!({"messages": [{"role": "user", "content": [part]}]}));
        check_refused(&stage, &run, &body, "parameter_not_allowed").await;
    }
    for fields in references() {
        check_refused(&stage, &run, &with(ask("hi"), fields), "parameter_not_allowed").await;
    }
    assert!(provider.seen().is_empty());
    canary.assert_quiet();
    stage.end().await;
}

/// Threat 14.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_brings_its_own_address_or_key_for_the_provider() {
    let canary = Canary::new().await;
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    let url = format!("http://{}/v1", canary.address);
    let own = json!({"base_url": url, "api_base": url, "api_key": "sk-own", "host": url,
        "extra_headers": {"authorization": "Bearer sk-own"}, "organization": "org-own"});
    for (name, value) in own.as_object().unwrap() {
        let one = json!({name: value});
        for body in [
            with(ask("hi"), one.clone()),
            with(ask("hi"), json!({"extra_body": one})),
            with(ask("hi"), json!({"litellm_params": one})),
            with(ask("hi"), json!({"stream": true, "stream_options": one})),
            with(ask("hi"), json!({"tools": [with(json!({"type": "custom"}), one.clone())]})),
            with(ask("hi"), json!({"messages": [with(json!({"role": "user"}), one.clone())]})),
        ] {
            check_refused(&stage, &run, &body, "parameter_not_allowed").await;
        }
    }
    assert!(provider.seen().is_empty());
    // What is only metadata is not sent, and what is only a header or a query is not read.
    let body = with(ask("hi"), json!({"metadata": own}));
    let path = format!("{}/v1/chat/completions", stage.client().data);
    let query = [("api_base", url.as_str()), ("api_key", "sk-own"), ("base_url", &url)];
    let path = reqwest::Url::parse_with_params(&path, query).unwrap();
    let mut request = stage.client().http.post(path).bearer_auth(&run.token).json(&body);
    for name in [
        "x-api-base",
        "x-base-url",
        "x-portkey-custom-host",
        "x-forwarded-host",
        "x-original-url",
        "helicone-target-url",
        "x-litellm-api-base",
        "openai-base-url",
        "proxy-authorization",
    ] {
        let name = HeaderName::from_static(name);
        request = request.header(name, HeaderValue::from_str(&url).unwrap());
    }
    let answer = sent(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let seen = provider.seen();
    let [upstream] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(header_of(upstream, "authorization"), [format!("Bearer {PROVIDER_KEY}")]);
    assert_eq!(header_of(upstream, "host"), [provider.address.to_string()]);
    assert!(!upstream.contains(&canary.address) && !upstream.contains("sk-own"), "{upstream}");
    assert!(body_of(upstream).get("metadata").is_none());
    canary.assert_quiet();
    stage.end().await;
}

/// Threat 14.
#[tokio::test(flavor = "multi_thread")]
async fn a_providers_own_key_opens_nothing_here() {
    let provider = ScriptedProvider::json(ANSWER).await;
    let stage = Stage::before(&provider, &[]).await;
    let run = stage.run(json!({})).await;
    for key in [PROVIDER_KEY, "sk-proj-1234567890", "sk-ant-api03-1234567890", "rg-adm-for-tests"] {
        for (name, value) in [
            ("authorization", format!("Bearer {key}")),
            ("x-api-key", key.into()),
            ("api-key", key.into()),
        ] {
            let url = format!("{}/v1/chat/completions", stage.client().data);
            let request = stage.client().http.post(url).header(name, value);
            let answer = sent(request.json(&with(ask("hi"), json!({"run_id": run.id})))).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "invalid_key"),
                "{name} {key}"
            );
        }
    }
    assert!(provider.seen().is_empty());
    stage.end().await;
}
