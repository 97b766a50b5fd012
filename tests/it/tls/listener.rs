//! The listener's own certificate: which protocols it speaks, and how it is replaced.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::tls::Version;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::TcpStream;

use super::authority::{Authority, Certified, der, shown};
use crate::support::client::{Client, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::process::GatewayProcess;

/// A gateway whose planes both have TLS, and a client that trusts it.
async fn secured(authority: &Authority, own: &Certified) -> (TestGateway, Client) {
    let (certificate, key) = authority.put(own);
    let settings = [
        ("TLS_CERT_FILE", certificate.as_str()),
        ("TLS_KEY_FILE", key.as_str()),
        ("ADMIN_TLS_CERT_FILE", certificate.as_str()),
        ("ADMIN_TLS_KEY_FILE", key.as_str()),
    ];
    let gateway = TestGateway::serve(&database().await, &settings).await;
    let client = Client {
        http: authority.client(None),
        data: format!("https://{}", gateway.running.data_addr),
        admin: format!("https://{}", gateway.running.admin_addr),
    };
    (gateway, client)
}

/// The certificate that a fresh handshake gets to see.
async fn now_shown(authority: &Authority, at: SocketAddr) -> Vec<u8> {
    let socket = TcpStream::connect(at).await.unwrap();
    shown(&authority.shake(socket, &["http/1.1"]).await.unwrap())
}

async fn until_shown(authority: &Authority, at: SocketAddr, wanted: &Certified) {
    for _ in 0..400 {
        if now_shown(authority, at).await == der(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the new certificate is never shown");
}

/// How often files were read again, as the metrics tell.
async fn reloads(client: &Client, outcome: &str) -> u64 {
    let text = client.operator(reqwest::Method::GET, "/metrics").send().await.unwrap();
    let text = text.text().await.unwrap();
    let of = format!("rungate_reloads_total{{what=\"data\",outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&of));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_planes_speak_tls_from_the_version_1_2_on_and_nothing_else() {
    let authority = Authority::new();
    let (gateway, client) = secured(&authority, &authority.listener(1)).await;
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    let mut streamed = prompt("hello");
    streamed["stream"] = json!(true);
    let told = client.ask(&run, &streamed).await;
    assert!(told.text.ends_with("data: [DONE]\n\n"), "{}", told.text);
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_version_min(version)
            .tls_version_max(version)
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap()])
            .build()
            .unwrap();
        let answer = http.get(format!("{}/healthz", client.data)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{version:?}");
    }
    let at = gateway.running.data_addr;
    let in_the_clear = reqwest::get(format!("http://{at}/healthz")).await;
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
    let socket = TcpStream::connect(at).await.unwrap();
    assert!(authority.shake(socket, &["h2"]).await.is_err(), "only HTTP/1.1 is spoken");
    assert_eq!(client.settled(&run).await["calls"], 2);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_without_a_restart_and_a_broken_one_replaces_nothing() {
    let authority = Authority::new();
    let first = authority.listener(1);
    let (gateway, client) = secured(&authority, &first).await;
    let at = gateway.running.data_addr;
    let before = Client { http: authority.keeping(None), ..client.clone() };
    let run = before.register(json!({"cost_limit_usd": "1"})).await;
    assert_eq!(before.ask(&run, &prompt("hello")).await.status, 200);

    let failed = reloads(&client, "failed").await;
    authority.write("cert.pem", "-----BEGIN CERTIFICATE-----\nbroken");
    while reloads(&client, "failed").await == failed {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(now_shown(&authority, at).await, der(&first));

    let second = authority.listener(2);
    authority.put(&second);
    until_shown(&authority, at, &second).await;
    assert_eq!(before.ask(&run, &prompt("hello")).await.status, 200, "an open connection stays");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_certificates_stops_the_start_and_no_word_of_it_is_told() {
    let authority = Authority::new();
    let (mine, other) = (authority.listener(1), authority.listener(2));
    let certificate = authority.write("cert.pem", &mine.certificate);
    let key = authority.write("key.pem", &other.key);
    let settings = [("TLS_CERT_FILE", certificate.as_str()), ("TLS_KEY_FILE", key.as_str())];
    let said = GatewayProcess::try_serve(&database().await, &settings).err().unwrap();
    assert!(said.err.contains("cert.pem cannot be used with its key"), "{said:?}");
    let secret = other.key.lines().nth(1).unwrap();
    assert!(!said.err.contains(secret) && !said.out.contains(secret), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sighup_a_certificate_is_read_again_and_calls_go_on() {
    let authority = Authority::new();
    let (certificate, key) = authority.put(&authority.listener(1));
    let settings = [("TLS_CERT_FILE", certificate.as_str()), ("TLS_KEY_FILE", key.as_str())];
    let gateway = GatewayProcess::serve(&database().await, &settings);
    let client = Client {
        http: authority.client(None),
        data: gateway.client.data.replace("http:", "https:"),
        admin: gateway.client.admin.clone(),
    };
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let second = authority.listener(2);
    authority.put(&second);
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let at = client.data.trim_start_matches("https://").parse().unwrap();
    until_shown(&authority, at, &second).await;
    assert_eq!(client.ask(&run, &prompt("hello")).await.status, 200);
    assert_eq!(gateway.terminate(), Some(0));
}
