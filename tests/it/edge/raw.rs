//! Bare sockets, and a gateway to aim them at.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::support::client::{Client, Run};
use crate::support::gateway::TestGateway;
use crate::support::postgres::database;
use crate::support::provider::ScriptedProvider;

/// The key that the provider expects; nothing that a client sees may hold it.
pub(super) const PROVIDER_KEY: &str = "provider-key-0123456789";
/// A finished answer of the provider.
pub(super) const DONE: &str =
    r#"{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
/// A call's body.
pub(super) const ASK: &str =
    r#"{"model":"gpt-4o-mini","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

/// How long anything may take before it counts as hanging.
const HANGS: Duration = Duration::from_secs(15);

/// What a socket got to read until it was closed.
#[derive(Debug)]
pub(super) struct Heard {
    pub text: String,
    pub statuses: Vec<u16>,
}

impl Heard {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let statuses = text
            .match_indices("HTTP/1.")
            .filter_map(|(at, line)| text[at + line.len()..].get(2..5)?.parse().ok())
            .collect();
        Self { text, statuses }
    }
}

/// Sends bytes over a socket of their own and reads until the gateway closes it.
pub(super) async fn send(to: SocketAddr, bytes: &[u8]) -> Heard {
    let mut socket = TcpStream::connect(to).await.unwrap();
    // The gateway may well close before it has heard everything.
    let _closed_early = socket.write_all(bytes).await;
    read_to_end(&mut socket).await
}

/// The same, and hangs up its own half after it has sent everything.
pub(super) async fn send_and_hang_up(to: SocketAddr, bytes: &[u8]) -> Heard {
    let mut socket = TcpStream::connect(to).await.unwrap();
    let _closed_early = socket.write_all(bytes).await;
    let _closed_early = socket.shutdown().await;
    read_to_end(&mut socket).await
}

/// Reads until the gateway closes; a reset is as good as an end.
pub(super) async fn read_to_end(socket: &mut (impl AsyncRead + Unpin)) -> Heard {
    let mut heard = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let hangs = Instant::now() + HANGS;
    loop {
        match timeout_at(hangs, socket.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => return Heard::of(&heard),
            Ok(Ok(read)) => heard.extend_from_slice(&chunk[..read]),
            Err(_) => panic!("hangs after {:?}", String::from_utf8_lossy(&heard)),
        }
    }
}

/// Reads one answer with a length, and leaves the connection open.
pub(super) async fn read_answer(socket: &mut TcpStream) -> Heard {
    let mut heard = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = timeout(HANGS, socket.read(&mut chunk)).await.expect("hangs").unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Heard::of(&heard);
        }
    }
}

/// A gateway before a provider that always answers [`DONE`], and a run.
pub(super) struct Scene {
    pub provider: ScriptedProvider,
    pub gateway: TestGateway,
    pub run: Run,
}

impl Scene {
    pub(super) async fn new(settings: &[(&str, &str)]) -> Self {
        Self::before(ScriptedProvider::json(DONE).await, settings).await
    }

    pub(super) async fn before(provider: ScriptedProvider, settings: &[(&str, &str)]) -> Self {
        let base_url = provider.base_url();
        let mut all = vec![
            ("SIMULATE_PROVIDERS", "false"),
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("OPENAI_API_KEY", PROVIDER_KEY),
        ];
        all.extend_from_slice(settings);
        let gateway = TestGateway::serve(&database().await, &all).await;
        let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
        Self { provider, gateway, run }
    }

    pub(super) fn client(&self) -> &Client {
        &self.gateway.client
    }

    /// Where the data plane is.
    pub(super) fn at(&self) -> SocketAddr {
        self.gateway.running.data_addr
    }

    /// The head of a call, up to its own headers, and without its last line.
    pub(super) fn head(&self) -> String {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: \
             application/json\r\nauthorization: Bearer {}\r\n",
            self.run.token
        )
    }

    /// A whole call of the run, with more headers.
    pub(super) fn call(&self, headers: &str) -> String {
        format!("{}{headers}content-length: {}\r\n\r\n{ASK}", self.head(), ASK.len())
    }

    /// What the provider was sent is exactly the gateway's own: so many calls, each to one path
    /// with the headers that the gateway writes.
    pub(super) fn provider_saw(&self, calls: usize) {
        let seen = self.provider.seen();
        assert_eq!(seen.len(), calls, "{seen:#?}");
        for request in seen {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let (line, headers) = head.split_once("\r\n").unwrap();
            assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
            let mut names: Vec<String> = headers
                .lines()
                .map(|header| header.split_once(':').unwrap().0.to_ascii_lowercase())
                .collect();
            names.sort();
            let ours =
                ["accept", "authorization", "content-length", "content-type", "host", "user-agent"];
            assert_eq!(names, ours);
            assert!(headers.contains(&format!("Bearer {PROVIDER_KEY}")), "{headers}");
            assert!(headers.contains(&format!("host: {}", self.provider.address)), "{headers}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["messages"], json!([{"role": "user", "content": "hi"}]));
        }
    }

    /// The gateway still serves, and stops in order.
    pub(super) async fn end(self) {
        let body = serde_json::from_str(ASK).unwrap();
        assert_eq!(self.client().ask(&self.run, &body).await.status, 200);
        self.gateway.stop().await;
    }
}
