//! Sockets whose clients take their time, or do nothing at all.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::raw::{Heard, Scene, read_answer, read_to_end};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// Sends `bytes`, then one byte after the other without an end, until the gateway closes.
async fn drip(socket: TcpStream, bytes: &[u8], byte: u8) -> Heard {
    let (mut reads, mut writes) = socket.into_split();
    let bytes = bytes.to_vec();
    let dripping = tokio::spawn(async move {
        let _closed_early = writes.write_all(&bytes).await;
        while writes.write_all(&[byte]).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let heard = read_to_end(&mut reads).await;
    dripping.abort();
    heard
}

/// Sends `bytes`, then nothing, until the gateway closes.
async fn stop(mut socket: TcpStream, bytes: &[u8]) -> Heard {
    let _closed_early = socket.write_all(bytes).await;
    read_to_end(&mut socket).await
}

/// A connection that has been answered once.
async fn used(at: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.unwrap();
    socket.write_all(HEALTH).await.unwrap();
    assert_eq!(read_answer(&mut socket).await.statuses, [200]);
    socket
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_cut_be_it_the_first_of_its_connection_or_not() {
    let scene = Scene::new(&[("CLIENT_HEAD_TIMEOUT_SECONDS", "1")]).await;
    let at = scene.at();
    let fresh = || async { TcpStream::connect(at).await.unwrap() };
    let head = b"GET /healthz HTTP/1.1\r\nx-a: ";
    let (nothing, stopped, dripped, next_stopped, next_dripped) = tokio::join!(
        async { stop(fresh().await, b"").await },
        async { stop(fresh().await, head).await },
        async { drip(fresh().await, head, b'a').await },
        async { stop(used(at).await, b"G").await },
        async { drip(used(at).await, head, b'a').await },
    );
    for heard in [nothing, stopped, dripped] {
        assert_eq!(heard.statuses, [408], "{}", heard.text);
    }
    for heard in [next_stopped, next_dripped] {
        assert!(matches!(heard.statuses.as_slice(), [] | [408]), "{}", heard.text);
    }
    scene.end().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let scene = Scene::new(&[("CLIENT_IDLE_TIMEOUT_SECONDS", "1")]).await;
    let heard = stop(used(scene.at()).await, b"").await;
    assert_eq!(heard.statuses, [0_u16; 0], "{}", heard.text);
    scene.end().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_wants_does_not_keep_its_connection() {
    let settings = [("CLIENT_IDLE_TIMEOUT_SECONDS", "1"), ("CLIENT_HEAD_TIMEOUT_SECONDS", "1")];
    let scene = Scene::new(&settings).await;
    let at = scene.at();
    let head =
        b"POST /nowhere HTTP/1.1\r\nhost: gateway\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n";
    let fresh = || async { TcpStream::connect(at).await.unwrap() };
    let (stopped, dripped) = tokio::join!(async { stop(fresh().await, head).await }, async {
        drip(fresh().await, head, b'a').await
    },);
    for heard in [stopped, dripped] {
        assert_eq!(heard.statuses, [404], "{}", heard.text);
    }
    scene.end().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_between_requests_keeps_its_connection() {
    let scene = Scene::new(&[("CLIENT_HEAD_TIMEOUT_SECONDS", "1")]).await;
    let mut socket = used(scene.at()).await;
    sleep(Duration::from_millis(1500)).await;
    socket.write_all(HEALTH).await.unwrap();
    assert_eq!(read_answer(&mut socket).await.statuses, [200]);
    scene.end().await;
}
