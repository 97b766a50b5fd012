//! Certificates of clients at the handshake.

use std::time::Duration;

use serde_json::json;

use super::authority::Authority;
use crate::support::client::{Client, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;

/// A gateway that looks at clients' certificates.
async fn asking(authority: &Authority, settings: &[(&str, &str)]) -> TestGateway {
    let (certificate, key) = authority.put(&authority.listener(1));
    let authorities = authority.write("clients.pem", &authority.pem);
    let mut all = vec![
        ("TLS_CERT_FILE", certificate.as_str()),
        ("TLS_KEY_FILE", key.as_str()),
        ("TLS_CLIENT_CA_FILE", authorities.as_str()),
        ("RUN_AUTH", "token"),
    ];
    all.extend_from_slice(settings);
    TestGateway::serve(&database().await, &all).await
}

fn with(http: reqwest::Client, gateway: &TestGateway) -> Client {
    let data = format!("https://{}", gateway.running.data_addr);
    Client { http, data, admin: gateway.client.admin.clone() }
}

/// Whether somebody gets to say anything at all.
async fn comes_in(client: &Client) -> bool {
    client.http.get(format!("{}/healthz", client.data)).send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_required_nobody_comes_in_without_a_good_one() {
    let authority = Authority::new();
    let gateway = asking(&authority, &[]).await;
    let good = authority.issue(10, Vec::new());
    let stranger = Authority::new().issue(10, Vec::new());
    let expired = authority.issue_until(11, Vec::new(), 2020);
    for (own, wanted) in [(None, false), (Some(&good), true), (Some(&stranger), false)] {
        assert_eq!(comes_in(&with(authority.client(own), &gateway)).await, wanted);
    }
    assert!(!comes_in(&with(authority.client(Some(&expired)), &gateway)).await);
    // It opens the door and nothing else: a call needs its token all the same.
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let client = with(authority.client(Some(&good)), &gateway);
    assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    let bare = client.http.post(format!("{}/v1/chat/completions", client.data));
    let bare = bare.header("x-run-id", &run.id).json(&prompt("hello")).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_optional_a_bad_one_is_refused_all_the_same() {
    let authority = Authority::new();
    let gateway = asking(&authority, &[("TLS_CLIENT_AUTH", "optional")]).await;
    let stranger = Authority::new().issue(10, Vec::new());
    assert!(comes_in(&with(authority.client(None), &gateway)).await);
    assert!(!comes_in(&with(authority.client(Some(&stranger)), &gateway)).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_from_the_reload_on_also_on_open_connections() {
    let authority = Authority::new();
    let list = authority.write("revoked.pem", &authority.revoking(&[10]));
    let gateway = asking(&authority, &[("TLS_CLIENT_CRL_FILE", list.as_str())]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let revoked = authority.issue(10, Vec::new());
    let (leaving, staying) = (authority.issue(11, Vec::new()), authority.issue(12, Vec::new()));
    assert!(!comes_in(&with(authority.client(Some(&revoked)), &gateway)).await);
    // One call each, on connections that stay open.
    let leaving_open = with(authority.keeping(Some(&leaving)), &gateway);
    let staying_open = with(authority.keeping(Some(&staying)), &gateway);
    for client in [&leaving_open, &staying_open] {
        assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    }
    authority.write("revoked.pem", &authority.revoking(&[10, 11]));
    let fresh = with(authority.client(Some(&leaving)), &gateway);
    while comes_in(&fresh).await {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let late = leaving_open.ask(&run, &prompt("hello")).await;
    assert_eq!((late.status, late.code().as_str()), (401, "invalid_key"), "{}", late.text);
    assert_eq!(staying_open.ask(&run, &prompt("hello")).await.status, 200);
    assert!(comes_in(&with(authority.client(Some(&staying)), &gateway)).await);
    gateway.stop().await;
}
