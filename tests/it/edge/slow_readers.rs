//! Clients that do not read what they asked for, and those that only read slowly.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use super::raw::{ASK, DONE, Scene, read_to_end};
use crate::support::provider::{ScriptedProvider, Then, response};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn streamed(scene: &Scene) -> String {
    let body = ASK.replacen('{', "{\"stream\":true,", 1);
    format!("{}content-length: {}\r\n\r\n{body}", scene.head(), body.len())
}

/// A stream of so many events of 16 KiB, and its usage.
fn events(count: usize) -> String {
    let event = json!({"choices": [{"delta": {"content": "a".repeat(16 << 10)}}]});
    format!("{HEAD}{}data: {DONE}\n\ndata: [DONE]\n\n", format!("data: {event}\n\n").repeat(count))
}

/// A client whose kernel takes little for it.
async fn narrow(at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.connect(at).await.unwrap()
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_after_its_time_and_charged_what_it_asked_for() {
    let provider = ScriptedProvider::answering(events(1000), Then::Close).await;
    let scene = Scene::before(provider, &[("CLIENT_WRITE_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = narrow(scene.at()).await;
    socket.write_all(streamed(&scene).as_bytes()).await.unwrap();
    socket.read_exact(&mut [0; 64]).await.unwrap();
    // Settled long before the call's own time is over, although nobody reads.
    scene.client().settled(&scene.run).await;
    let calls = scene.client().calls(&scene.run).await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["status"], 499, "{calls:?}");
    assert_eq!(calls[0]["cost_source"], "usage", "{calls:?}");
    let heard = read_to_end(&mut socket).await;
    assert!(!heard.text.contains("[DONE]"), "the connection was closed before the end");
    scene.gateway.stop().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_a_whole_answer_is_cut_too() {
    let body = DONE.replacen('{', &format!("{{\"x\":\"{}\",", "a".repeat(8 << 20)), 1);
    let provider =
        ScriptedProvider::answering(response("200 OK", "application/json", &body), Then::Close);
    let scene = Scene::before(provider.await, &[("CLIENT_WRITE_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = narrow(scene.at()).await;
    socket.write_all(scene.call("").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(2500)).await;
    let heard = read_to_end(&mut socket).await;
    assert!(heard.text.len() < body.len(), "the connection was closed before the end");
    scene.gateway.stop().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_but_steady_reader_gets_everything() {
    let stream = events(150);
    let wanted = stream.matches("data: ").count() - 1;
    let provider = ScriptedProvider::answering(stream, Then::Close).await;
    let scene = Scene::before(provider, &[("CLIENT_WRITE_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = narrow(scene.at()).await;
    let call =
        streamed(&scene).replacen("content-length", "connection: close\r\ncontent-length", 1);
    socket.write_all(call.as_bytes()).await.unwrap();
    let (mut heard, mut chunk) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        let read = socket.read(&mut chunk).await.unwrap();
        if read == 0 {
            break;
        }
        heard.extend_from_slice(&chunk[..read]);
        sleep(Duration::from_millis(25)).await;
    }
    let heard = String::from_utf8_lossy(&heard);
    assert_eq!(heard.matches("data: ").count(), wanted, "the usage was not asked for");
    assert!(heard.contains("[DONE]"));
    scene.gateway.stop().await;
}

/// Answers each request with an event, a pause, and the rest.
async fn pausing(pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let _read = stream.read(&mut request).await.unwrap();
                let whole = events(1);
                let (begin, rest) = whole.split_at(HEAD.len() + 8000);
                stream.write_all(begin.as_bytes()).await.unwrap();
                sleep(pause).await;
                stream.write_all(rest.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_pauses_costs_an_honest_client_nothing() {
    let address = pausing(Duration::from_millis(2500)).await;
    let settings = [
        ("OPENAI_BASE_URL", &*format!("http://{address}/v1")),
        ("CLIENT_WRITE_TIMEOUT_SECONDS", "1"),
        ("CLIENT_HEAD_TIMEOUT_SECONDS", "1"),
        ("CLIENT_IDLE_TIMEOUT_SECONDS", "1"),
    ];
    let scene = Scene::new(&settings).await;
    let mut socket = TcpStream::connect(scene.at()).await.unwrap();
    let call =
        streamed(&scene).replacen("content-length", "connection: close\r\ncontent-length", 1);
    socket.write_all(call.as_bytes()).await.unwrap();
    let heard = read_to_end(&mut socket).await;
    assert_eq!(heard.statuses, [200], "{}", heard.text);
    assert!(heard.text.contains("[DONE]"), "{}", heard.text);
    scene.gateway.stop().await;
}
