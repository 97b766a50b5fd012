//! What holds for connections in the clear holds under TLS: their number, their time, their end.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use crate::support::client::{Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::{ScriptedProvider, Then};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n";
const DONE: &str =
    r#"{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A gateway with TLS on its data plane, before a provider.
struct Scene {
    authority: Authority,
    gateway: TestGateway,
    run: Run,
    _provider: ScriptedProvider,
}

impl Scene {
    async fn new(provider: ScriptedProvider, settings: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.put(&authority.listener(1));
        let base_url = provider.base_url();
        let mut all = vec![
            ("TLS_CERT_FILE", certificate.as_str()),
            ("TLS_KEY_FILE", key.as_str()),
            ("SIMULATE_PROVIDERS", "false"),
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("OPENAI_API_KEY", "provider-key-0123456789"),
        ];
        all.extend_from_slice(settings);
        let gateway = TestGateway::serve(&database().await, &all).await;
        let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
        Self { authority, gateway, run, _provider: provider }
    }

    /// The control plane's client.
    fn client(&self) -> &Client {
        &self.gateway.client
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gateway.running.data_addr).await.unwrap()
    }

    async fn secured(&self) -> TlsStream<TcpStream> {
        self.authority.shake(self.connect().await, &["http/1.1"]).await.unwrap()
    }

    /// A client whose kernel takes little for it.
    async fn narrow(&self) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let socket = socket.connect(self.gateway.running.data_addr).await.unwrap();
        self.authority.shake(socket, &["http/1.1"]).await.unwrap()
    }

    /// A call that is streamed.
    fn call(&self) -> Vec<u8> {
        let body = json!({
            "model": "gpt-4o-mini", "stream": true, "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        })
        .to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: \
             application/json\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            self.run.token,
            body.len()
        )
        .into_bytes()
    }
}

async fn quiet() -> ScriptedProvider {
    ScriptedProvider::json(DONE).await
}

/// A stream of so many events of 16 KiB, and its usage.
fn events(count: usize) -> String {
    let event = json!({"choices": [{"delta": {"content": "a".repeat(16 << 10)}}]});
    format!("{HEAD}{}data: {DONE}\n\ndata: [DONE]\n\n", format!("data: {event}\n\n").repeat(count))
}

/// Reads until the gateway closes; a reset is as good as an end.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut heard = Vec::new();
    let reading = stream.read_to_end(&mut heard);
    let _reset = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("hangs");
    String::from_utf8_lossy(&heard).into_owned()
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_and_had_its_place() {
    let settings = [("CLIENT_HEAD_TIMEOUT_SECONDS", "1"), ("MAX_CONNECTIONS", "2")];
    let scene = Scene::new(quiet().await, &settings).await;
    let mut silent = scene.connect().await;
    let mut dripping = scene.connect().await;
    // The beginning of a record that promises more.
    dripping.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    // Both have their places once somebody else has none.
    loop {
        let socket = scene.connect().await;
        match scene.authority.shake(socket, &["http/1.1"]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(_) => break,
        }
    }
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut dripping).await, "");
    let mut next = scene.secured().await;
    next.write_all(HEALTH).await.unwrap();
    assert!(next.read(&mut [0; 64]).await.unwrap() > 0, "their places are free again");
    scene.gateway.stop().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end_and_connections_that_ask_for_nothing_are_cut_under_tls() {
    let settings = [("CLIENT_HEAD_TIMEOUT_SECONDS", "1"), ("CLIENT_IDLE_TIMEOUT_SECONDS", "1")];
    let scene = Scene::new(quiet().await, &settings).await;
    let used = async |then: &[u8]| {
        let mut stream = scene.secured().await;
        stream.write_all(HEALTH).await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(then).await.unwrap();
        rest(&mut stream).await
    };
    let fresh = async {
        let mut stream = scene.secured().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nx-a: ").await.unwrap();
        rest(&mut stream).await
    };
    let (first, next, idle) = tokio::join!(fresh, used(b"GET /he"), used(b""));
    assert!(first.starts_with("HTTP/1.1 408"), "{first}");
    assert!(next.is_empty() || next.starts_with("HTTP/1.1 408"), "{next}");
    assert_eq!(idle, "");
    scene.gateway.stop().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_under_tls_and_a_steady_one_is_not() {
    let provider = ScriptedProvider::answering(events(150), Then::Close).await;
    let scene = Scene::new(provider, &[("CLIENT_WRITE_TIMEOUT_SECONDS", "1")]).await;
    let mut steady = scene.narrow().await;
    steady.write_all(&scene.call()).await.unwrap();
    let (mut heard, mut chunk) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        let read = steady.read(&mut chunk).await.unwrap();
        if read == 0 {
            break;
        }
        heard.extend_from_slice(&chunk[..read]);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(String::from_utf8_lossy(&heard).contains("[DONE]"), "{} bytes", heard.len());

    let mut deaf = scene.narrow().await;
    deaf.write_all(&scene.call()).await.unwrap();
    deaf.read_exact(&mut [0; 64]).await.unwrap();
    let usage = scene.client().settled(&scene.run).await;
    assert_eq!(usage["calls"], 2, "{usage}");
    // It is closed while nobody reads, so its last bytes never come.
    let slow = scene.gateway.client.operator(reqwest::Method::GET, "/metrics");
    let slow = slow.send().await.unwrap().text().await.unwrap();
    assert!(slow.contains("rungate_slow_clients_total{kind=\"reader\"}"), "{slow}");
    assert!(!rest(&mut deaf).await.contains("[DONE]"));
    scene.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_under_tls_is_noticed_while_it_is_served() {
    let provider = ScriptedProvider::answering("", Then::Stall).await;
    let scene = Scene::new(provider, &[("MAX_CONNECTIONS", "1")]).await;
    let mut client = scene.secured().await;
    client.write_all(&scene.call()).await.unwrap();
    while scene.gateway.running.gateway.calls_in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(scene.authority.shake(scene.connect().await, &["http/1.1"]).await.is_err());
    // It says goodbye as TLS does, in bytes that are not the request's.
    client.shutdown().await.unwrap();
    while scene.authority.shake(scene.connect().await, &["http/1.1"]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(scene.gateway.running.gateway.calls_in_flight(), 1, "the call itself goes on");
    scene.gateway.running.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_piped_under_tls_are_answered_in_their_order() {
    let scene = Scene::new(quiet().await, &[]).await;
    let mut client = scene.secured().await;
    let last = b"GET /nowhere HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
    let piped = [HEALTH, HEALTH, last.as_slice()].concat();
    client.write_all(&piped).await.unwrap();
    let heard = rest(&mut client).await;
    let statuses: Vec<_> =
        heard.match_indices("HTTP/1.1 ").map(|(at, _)| &heard[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "404"], "{heard}");
    scene.gateway.stop().await;
}
