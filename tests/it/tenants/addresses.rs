//! An organization's owner looks into nobody's network through the gateway.

use std::time::Duration;

use bytes::Bytes;
use rungate::domain::fault::Code;
use rungate::gateway::providers::WantedProvider;
use rungate::providers::{self, Format};
use rungate::upstream::{Access, Client, Outbound, SendError, Sent, Trust};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::stage::{gateway, list, organization};
use crate::support::postgres::database;

fn wanted(base_url: Option<&str>) -> WantedProvider {
    WantedProvider {
        provider: "openai".to_owned(),
        api_key: Some("sentinel-key".to_owned().into()),
        base_url: base_url.map(|url| Some(url.to_owned())),
        ..WantedProvider::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sets_no_address_within_a_network_and_the_operator_may() {
    let gateway = gateway(&database().await, &[]).await;
    let (org, cases) = (organization(&gateway).await, &gateway.running.gateway);
    for url in [
        "https://127.0.0.1/v1",
        "https://10.0.0.7:8443/v1",
        "https://169.254.169.254/latest",
        "https://[::1]/v1",
        "https://[::ffff:10.0.0.1]/v1",
        "https://2130706433/v1",
        "https://0x7f000001/v1",
        "https://017700000001/v1",
        "https://localhost/v1",
        "https://metadata.google.internal/v1",
        "http://llm.example/v1",
    ] {
        let refused = cases.put_provider(org, &wanted(Some(url)), false).await.unwrap_err();
        let told = (refused.code(), refused.param_name());
        assert_eq!(told, (Code::InvalidRequest, Some("base_url")), "{url}");
        assert!(!refused.message().contains("127.0.0.1"), "it repeats nothing of the address");
        let taken = cases.put_provider(org, &wanted(Some(url)), true).await.unwrap();
        assert!(taken.anywhere, "{url}");
        cases.delete_provider(org, "openai").await.unwrap();
    }
    let taken = cases.put_provider(org, &wanted(Some("https://llm.example/v1")), false).await;
    assert!(!taken.unwrap().anywhere);
    // The operator's address stays the operator's while its owner changes the rest, and ends with
    // the owner's own.
    cases.put_provider(org, &wanted(Some("http://10.0.0.7/v1")), true).await.unwrap();
    let kept = cases.put_provider(org, &wanted(None), false).await.unwrap();
    assert_eq!((kept.anywhere, kept.base_url.as_deref()), (true, Some("http://10.0.0.7/v1")));
    let own = cases.put_provider(org, &wanted(Some("https://llm.example")), false).await.unwrap();
    assert!(!own.anywhere);
    assert_eq!(list(&gateway.client, org).await.status, 200);
    gateway.stop().await;
}

/// Sends a call to whoever listens, and answers who is connected to him.
async fn send(access: Access, listener: TcpListener) -> (Option<SendError>, JoinHandle<()>) {
    let client = Client::new(Trust::of_system().unwrap(), Duration::from_secs(30));
    let body = Bytes::from_static(b"{}");
    let call = Outbound { format: Format::Chat, body, stream: false, counts: false, betas: None };
    let met = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    });
    (access.send(&client, call, Sent::default()).await.err(), met)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_not_connected_to_whatever_it_led_to_before() {
    let openai = providers::find("openai").unwrap();
    let key: SecretString = "sentinel-key".to_owned().into();
    for host in ["localhost", "127.0.0.1"] {
        for (scheme, anywhere) in [("https", false), ("http", false), ("https", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("{scheme}://{host}:{}/v1", listener.local_addr().unwrap().port());
            let access = Access::new(openai, Some(&url), Some(&key)).unwrap();
            let access = if anywhere { access } else { access.in_public() };
            let (error, mut met) = send(access, listener).await;
            // TLS fails with the one that may be met: nobody speaks it there.
            assert_eq!(error, Some(SendError::NotSent), "{url}");
            if anywhere {
                met.await.unwrap();
                continue;
            }
            // Whoever was connected to has long been told: the sender has given up.
            let told = tokio::time::timeout(Duration::from_millis(30), &mut met).await;
            assert!(told.is_err(), "{url}");
            met.abort();
        }
    }
}
