//! Whether what is mounted is what is described. Both come from one list in the code; this asks a
//! running gateway.

use reqwest::Method;

use super::document::Document;
use crate::support::client::Answer;
use crate::support::gateway::{ADMIN_TOKEN, TestGateway};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Whether somebody is there, whatever he answers.
async fn is_mounted(base: &str, method: &str, path: &str) -> bool {
    let path = path.replace("{id}", "11111111-2222-4333-8444-555555555555");
    let path = path.replace("{org}", "default").replace("{provider}", "openai");
    let url = format!("{base}{}", path.replace("{model}", "gpt-4o-mini"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client.request(method, url).bearer_auth(ADMIN_TOKEN);
    let answer = Answer::of(request.send().await.unwrap()).await;
    // HEAD shows no body, but what it is mounted for is always there.
    answer.status != 404
        || answer.text.contains("run_not_found")
        || answer.text.contains("The organization has nothing")
        || answer.text.contains("has not configured this provider")
        || answer.text.contains("not a UUID")
}

async fn check(base: &str, document: &Document) {
    let mut methods_seen = 0;
    for path in document.whole["paths"].as_object().unwrap().keys() {
        for method in METHODS {
            let described = document.whole["paths"][path].get(method.to_ascii_lowercase());
            let mounted = is_mounted(base, method, path).await;
            assert_eq!(mounted, described.is_some(), "{method} {base}{path}");
            methods_seen += usize::from(mounted);
        }
        let deeper = format!("{path}/more");
        if document.find("get", &deeper).is_none() && !path.ends_with("{model}") {
            assert!(!is_mounted(base, "GET", &deeper).await, "{deeper}");
        }
    }
    assert_eq!(methods_seen, document.operations().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_described_is_mounted_and_nothing_else() {
    let gateway = TestGateway::dev(&[("BASE_PATHS", "/v1,/some/where")]).await;
    let client = &gateway.client;
    let data = Document::read(&client.data, "").await;
    assert_eq!(data.whole["servers"][1]["url"], "/r/{run_token}");
    for base in [client.data.clone(), format!("{}/r/rg-run-any", client.data)] {
        check(&base, &data).await;
    }
    check(&client.admin, &Document::read(&client.admin, ADMIN_TOKEN).await).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_the_same_under_a_run_and_for_the_operator_alone() {
    let database = crate::support::postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let client = &gateway.client;
    let open = Document::read(&client.data, "").await;
    let under = Document::read(&format!("{}/r/rg-run-nobody", client.data), "").await;
    assert_eq!(open.whole, under.whole);
    let get = async |url: String| Answer::of(client.http.get(url).send().await.unwrap()).await;
    let refused = get(format!("{}/openapi.json", client.admin)).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_key"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_may_ask_for_the_head_alone() {
    let gateway = TestGateway::dev(&[]).await;
    for base in [&gateway.client.data, &gateway.client.admin] {
        for path in ["/healthz", "/readyz"] {
            let ask = async |method: Method| {
                let request = gateway.client.http.request(method, format!("{base}{path}"));
                Answer::of(request.send().await.unwrap()).await
            };
            let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
            assert_eq!((head.status, head.text.as_str()), (200, ""));
            for name in ["content-type", "content-length", "x-rungate-mode"] {
                assert_eq!(head.header(name), get.header(name), "{base}{path} {name}");
            }
        }
    }
    gateway.stop().await;
}
