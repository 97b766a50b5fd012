//! The same over a real socket: whatever a client sends, the fault is the client's.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use reqwest::header::HeaderValue;
use tokio::runtime::Runtime;

use super::{body, cases, credential, fuzz};
use crate::support::client::{Answer, Client};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// A request over a socket costs as much as so many looks at a body.
const DEARER: u32 = 50;

/// Requests are sent one by one; the client lives with the runtime that drives it.
struct Line {
    runtime: Runtime,
    client: Client,
    answered: RefCell<u32>,
}

impl Line {
    fn new(runtime: Runtime, client: &Client) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let client = Client { http, ..client.clone() };
        Self { runtime, client, answered: RefCell::new(0) }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        // What the client library itself refuses to send is no case.
        let request = request.build().ok()?;
        let sent = self
            .runtime
            .block_on(async { Answer::of(self.client.http.execute(request).await.unwrap()).await });
        *self.answered.borrow_mut() += 1;
        Some(sent)
    }
}

fn check_fault(answer: &Answer) -> TestCaseResult {
    prop_assert!((400..500).contains(&answer.status), "{:?}", answer);
    let read: Result<serde_json::Value, _> = serde_json::from_str(&answer.text);
    prop_assert!(read.is_ok_and(|body| body["error"]["code"].is_string()), "{:?}", answer);
    prop_assert_ne!(answer.header("x-error-origin"), Some("gateway"));
    Ok(())
}

/// Threat 25.
#[test]
fn no_body_makes_the_gateway_fail() {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(TestGateway::dev(&[]));
    let line = Line::new(runtime, &gateway.client);
    fuzz("chat", cases(10_000) / DEARER, &body::bodies(), |bytes| {
        let url = format!("{}/v1/chat/completions", line.client.data);
        let request = line.client.http.post(url).header("content-type", "application/json");
        let answer = line.send(request.body(bytes.to_vec())).unwrap();
        if answer.status == 200 { Ok(()) } else { check_fault(&answer) }
    });
    assert!(*line.answered.borrow() > 0);
    line.runtime.block_on(gateway.stop());
}

/// Threat 25.
#[test]
fn no_credential_that_nobody_was_given_opens_anything() {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime
        .block_on(async { TestGateway::serve(&database().await, &[("RUN_AUTH", "token")]).await });
    let line = Line::new(runtime, &gateway.client);
    fuzz("credential", cases(10_000) / DEARER, &credential::credentials(), |bytes| {
        let usage = format!("{}/v1/usage", line.client.data);
        if let Ok(value) = HeaderValue::from_bytes(bytes) {
            for name in ["authorization", "x-api-key", "x-run-id"] {
                let request = line.client.http.get(&usage).header(name, value.clone());
                if let Some(answer) = line.send(request) {
                    check_fault(&answer)?;
                }
            }
        }
        let token = percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC);
        for token in [token.to_string(), String::from_utf8_lossy(bytes).into_owned()] {
            let url = format!("{}/r/{token}/v1/usage", line.client.data);
            // Some are other paths, or other addresses, by the rules of URLs.
            let ours = reqwest::Url::parse(&url).is_ok_and(|url| url.path().starts_with("/r/"));
            if let Some(answer) = ours.then(|| line.send(line.client.http.get(&url))).flatten() {
                check_fault(&answer)?;
            }
        }
        Ok(())
    });
    assert!(*line.answered.borrow() > 0);
    line.runtime.block_on(gateway.stop());
}
