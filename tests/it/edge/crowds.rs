//! More connections than anybody needs.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::raw::{ASK, Scene, read_answer, read_to_end};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";

async fn connect_from(from: &str, at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(at).await.unwrap()
}

/// A connection that has its place, since it was served on it, and keeps it.
async fn take_place_from(from: &str, at: SocketAddr) -> TcpStream {
    let mut socket = connect_from(from, at).await;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut socket).await.statuses, [200]);
    socket
}

/// Whether a fresh connection is served; if it is not, it is told why.
async fn is_served(from: &str, at: SocketAddr) -> bool {
    let mut socket = connect_from(from, at).await;
    socket.write_all(HEALTH).await.unwrap();
    let heard = read_to_end(&mut socket).await;
    let served = heard.statuses == [200];
    if !served {
        assert_eq!(heard.statuses, [503], "{}", heard.text);
        assert!(heard.text.contains("retry-after: 1\r\n"), "{}", heard.text);
        assert!(heard.text.contains("\"code\":\"unavailable\""), "{}", heard.text);
    }
    served
}

/// Waits until a fresh connection is, or is not, served.
async fn until_served(from: &str, at: SocketAddr, wanted: bool) {
    for _ in 0..400 {
        if is_served(from, at).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never comes that being served is {wanted}");
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_told_so_and_the_control_plane_still_answers() {
    let scene = Scene::new(&[("MAX_CONNECTIONS", "20")]).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(take_place_from("127.0.0.1", scene.at()).await);
    }
    until_served("127.0.0.1", scene.at(), false).await;
    assert!(!is_served("127.0.0.2", scene.at()).await, "the limit is everybody's");
    assert_eq!(scene.client().usage(&scene.run).await["calls"], 0);
    drop(idle);
    until_served("127.0.0.1", scene.at(), true).await;
    scene.end().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_takes_no_more_than_its_places_and_the_others_keep_theirs() {
    let scene = Scene::new(&[("MAX_CONNECTIONS_PER_ADDRESS", "5")]).await;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(take_place_from("127.0.0.9", scene.at()).await);
    }
    until_served("127.0.0.9", scene.at(), false).await;
    assert!(is_served("127.0.0.1", scene.at()).await);
    drop(idle);
    until_served("127.0.0.9", scene.at(), true).await;
    scene.end().await;
}

/// Threat 19.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_sockets_that_do_nothing_are_nothing_to_another_run() {
    let scene = Scene::new(&[]).await;
    let hog = scene.client().register(json!({"cost_limit_usd": "1"})).await;
    let head = scene.head().replace(&scene.run.token, &hog.token);
    let half = format!("{head}content-length: 9000000\r\n\r\n{{");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n");
    let nobody = format!("{}content-length: 100\r\n\r\n{{", head.replace(&hog.token, "rg-run-x"));
    let begun = [b"".as_slice(), b"POST", half.as_bytes(), chunked.as_bytes(), nobody.as_bytes()];
    let mut sockets = Vec::new();
    for number in 0..500 {
        let mut socket = connect_from("127.0.0.9", scene.at()).await;
        socket.write_all(begun[number % begun.len()]).await.unwrap();
        sockets.push(socket);
    }
    let mut victim = TcpStream::connect(scene.at()).await.unwrap();
    for call in 0..30 {
        victim.write_all(scene.call("").as_bytes()).await.unwrap();
        let heard = read_answer(&mut victim).await;
        assert_eq!(heard.statuses, [200], "call {call}: {}", heard.text);
    }
    let fresh: serde_json::Value = serde_json::from_str(ASK).unwrap();
    for _ in 0..10 {
        assert_eq!(scene.client().ask(&scene.run, &fresh).await.status, 200);
    }
    drop(sockets);
    scene.gateway.stop().await;
}
