//! Requests that are framed or headed wrong, byte by byte.

use super::raw::{ASK, Heard, Scene, read_answer, send, send_and_hang_up};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// One refusal, or a close without a word.
    Refused,
    /// One refusal with this status.
    Status(u16),
    /// An answer, since nothing is wrong or what is wrong is of no consequence.
    Served,
}

fn check(name: &str, heard: &Heard, gets: Gets) -> usize {
    let statuses = heard.statuses.as_slice();
    match gets {
        Gets::Refused => {
            assert!(matches!(statuses, [] | [400..=499]), "{name}: {statuses:?} {}", heard.text)
        }
        Gets::Status(status) => assert_eq!(statuses, [status], "{name}: {}", heard.text),
        Gets::Served => assert_eq!(statuses, [200], "{name}: {}", heard.text),
    }
    usize::from(gets == Gets::Served)
}

/// A call that is one in every way, but that its length is not said.
fn unframed(scene: &Scene, framing: &str, body: &str) -> Vec<u8> {
    format!("{}connection: close\r\n{framing}\r\n{body}", scene.head()).into_bytes()
}

async fn hold(scene: Scene, cases: Vec<(&str, Vec<u8>, Gets)>) {
    let mut served = 0;
    for (name, bytes, gets) in cases {
        served += check(name, &send(scene.at(), &bytes).await, gets);
        scene.provider_saw(served);
    }
    scene.end().await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_length_is_ambiguous_is_refused() {
    let scene = Scene::new(&[]).await;
    let length = ASK.len();
    let chunked = format!("{length:x}\r\n{ASK}\r\n0\r\n\r\n");
    let of = |framing: &str, body: &str| unframed(&scene, framing, body);
    let te = "transfer-encoding: chunked\r\n";
    let cl = format!("content-length: {length}\r\n");
    let lengths = |values: &[&str]| {
        let lines = values.iter().map(|value| format!("content-length: {value}\r\n"));
        of(&lines.collect::<String>(), ASK)
    };
    let encodings = |values: &[&str]| {
        let lines = values.iter().map(|value| format!("transfer-encoding:{value}\r\n"));
        of(&lines.collect::<String>(), &chunked)
    };
    let cases = vec![
        ("fine", of(&cl, ASK), Gets::Served),
        ("fine, chunked", of(te, &chunked), Gets::Served),
        ("CL+TE", of(&format!("{cl}{te}"), &chunked), Gets::Refused),
        ("TE+CL", of(&format!("{te}{cl}"), &chunked), Gets::Refused),
        ("CL 0 and TE", of(&format!("content-length: 0\r\n{te}"), &chunked), Gets::Refused),
        ("the same length twice", lengths(&["85", "85"]), Gets::Refused),
        ("two lengths", lengths(&["5", "85"]), Gets::Refused),
        ("a list of lengths", lengths(&["85, 85"]), Gets::Refused),
        ("a signed length", lengths(&["+85"]), Gets::Refused),
        ("a negative length", lengths(&["-1"]), Gets::Refused),
        ("a hexadecimal length", lengths(&["0x55"]), Gets::Refused),
        ("a length with a fraction", lengths(&["85.0"]), Gets::Refused),
        ("no length", lengths(&[""]), Gets::Refused),
        ("a length beyond 64 bits", lengths(&["18446744073709551617"]), Gets::Refused),
        ("a length of all of memory", lengths(&["18446744073709551615"]), Gets::Status(413)),
        ("a length in other digits", lengths(&["８５"]), Gets::Refused),
        ("two codings", encodings(&[" chunked, identity"]), Gets::Refused),
        ("two codings, chunked last", encodings(&[" gzip, chunked"]), Gets::Refused),
        ("two headers", encodings(&[" chunked", " identity"]), Gets::Refused),
        ("twice chunked", encodings(&[" chunked", " chunked"]), Gets::Refused),
        ("another coding", encodings(&[" xchunked"]), Gets::Refused),
        ("identity", encodings(&[" identity"]), Gets::Refused),
        ("a quoted coding", encodings(&[" \"chunked\""]), Gets::Refused),
        ("a coding with a parameter", encodings(&[" chunked;q=1"]), Gets::Refused),
        ("a vertical tab", encodings(&[" \u{b}chunked"]), Gets::Refused),
        ("a tab before the coding", encodings(&["\tchunked"]), Gets::Served),
        ("a coding in capitals", encodings(&[" CHUNKED"]), Gets::Served),
        ("a space in the name", of("transfer-encoding : chunked\r\n", &chunked), Gets::Refused),
        ("a folded coding", of("transfer-encoding:\r\n chunked\r\n", &chunked), Gets::Refused),
    ];
    hold(scene, cases).await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_can_be_read_in_two_ways_are_refused() {
    let scene = Scene::new(&[]).await;
    let other = scene.client().register(json!({"cost_limit_usd": "1"})).await;
    let with = |headers: &str| scene.call(&format!("connection: close\r\n{headers}")).into_bytes();
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let names = |id: &str| format!("x-run-id: {id}\r\n");
    let (mine, theirs) = (&scene.run, &other);
    let cases = vec![
        ("two hosts", with("host: other\r\n"), Gets::Refused),
        (
            "no host",
            String::from_utf8(with("")).unwrap().replacen("host: gateway\r\n", "", 1).into(),
            Gets::Refused,
        ),
        ("two credentials", with(&bearer(&theirs.token)), Gets::Status(400)),
        ("one credential twice", with(&bearer(&mine.token)), Gets::Served),
        (
            "another one elsewhere",
            with(&format!("x-api-key: {}\r\n", theirs.token)),
            Gets::Status(400),
        ),
        ("a foreign one elsewhere", with("api-key: sk-1\r\n"), Gets::Status(400)),
        ("another run", with(&names(&theirs.id)), Gets::Status(400)),
        ("two runs", with(&format!("{}{}", names(&mine.id), names(&theirs.id))), Gets::Status(400)),
        (
            "two runs in one header",
            with(&names(&format!("{}, {}", mine.id, theirs.id))),
            Gets::Status(400),
        ),
        ("its own run twice", with(&names(&mine.id).repeat(2)), Gets::Served),
        (
            "connection names ours",
            with("connection: authorization, x-run-id, host\r\n"),
            Gets::Served,
        ),
        (
            "connection names theirs",
            with("connection: close, content-type, x-a\r\nx-a: 1\r\n"),
            Gets::Served,
        ),
        (
            "hop by hop",
            with("te: trailers\r\nkeep-alive: 5\r\nproxy-authorization: a\r\n"),
            Gets::Served,
        ),
    ];
    hold(scene, cases).await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_malformed_are_refused() {
    let scene = Scene::new(&[]).await;
    let with = |headers: &str| scene.call(&format!("connection: close\r\n{headers}")).into_bytes();
    let raw = |bytes: &[u8]| {
        let call = scene.call("connection: close\r\nx-a: @\r\n");
        let (before, after) = call.split_once('@').unwrap();
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    let cases = vec![
        ("folded", with("x-a: 1\r\n 2\r\n"), Gets::Refused),
        ("folded with a tab", with("x-a: 1\r\n\t2\r\n"), Gets::Refused),
        ("a folded first header", with(" x-a: 1\r\n"), Gets::Refused),
        ("no colon", with("x-a\r\n"), Gets::Refused),
        ("no name", with(": 1\r\n"), Gets::Refused),
        ("a name with a space", with("x a: 1\r\n"), Gets::Refused),
        ("a name with a control character", with("x\u{1}a: 1\r\n"), Gets::Refused),
        ("a name in other letters", with("х-run-id: 1\r\n"), Gets::Refused),
        ("NUL", raw(b"a\0b"), Gets::Refused),
        ("a bare CR", raw(b"a\rb"), Gets::Refused),
        ("escape", raw(b"\x1b[2J"), Gets::Refused),
        ("DEL", raw(b"\x7f"), Gets::Refused),
        ("not UTF-8", raw(b"\xff\xfe"), Gets::Served),
        // A line may end so (RFC 9112, section 2.2). Nothing of it goes upstream.
        ("a bare LF", raw(b"a\nx-b: c"), Gets::Served),
        ("200 headers", with(&"x-a: 1\r\n".repeat(200)), Gets::Refused),
        (
            "a header of 256 KiB",
            with(&format!("x-a: {}\r\n", "a".repeat(256 << 10))),
            Gets::Refused,
        ),
        ("a name of 80 KiB", with(&format!("{}: 1\r\n", "a".repeat(80 << 10))), Gets::Refused),
    ];
    hold(scene, cases).await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_or_closed() {
    let scene = Scene::new(&[]).await;
    let line = |line: &str| {
        let call = scene.call("connection: close\r\n");
        call.replacen("POST /v1/chat/completions HTTP/1.1", line, 1).into_bytes()
    };
    let path = "/v1/chat/completions";
    let cases = vec![
        ("HTTP/1.0", line(&format!("POST {path} HTTP/1.0")), Gets::Served),
        ("HTTP/1.2", line(&format!("POST {path} HTTP/1.2")), Gets::Refused),
        ("HTTP/2.0", line(&format!("POST {path} HTTP/2.0")), Gets::Refused),
        ("HTTP/0.9", line(&format!("POST {path}")), Gets::Refused),
        ("no version", line(&format!("POST {path} ")), Gets::Refused),
        ("lower case", line(&format!("POST {path} http/1.1")), Gets::Refused),
        ("two spaces", line(&format!("POST  {path} HTTP/1.1")), Gets::Refused),
        ("a tab", line(&format!("POST\t{path} HTTP/1.1")), Gets::Refused),
        ("a space in the target", line(&format!("POST {path} x HTTP/1.1")), Gets::Refused),
        ("NUL in the target", line(&format!("POST {path}\0 HTTP/1.1")), Gets::Refused),
        ("CR in the target", line(&format!("POST {path}\r HTTP/1.1")), Gets::Refused),
        ("a fragment", line(&format!("POST {path}#x HTTP/1.1")), Gets::Served),
        (
            "a target of 70 KiB",
            line(&format!("POST /{} HTTP/1.1", "a".repeat(70 << 10))),
            Gets::Refused,
        ),
        ("no method", line(&format!(" {path} HTTP/1.1")), Gets::Refused),
        ("a method in lower case", line(&format!("post {path} HTTP/1.1")), Gets::Status(404)),
        ("TRACE", line(&format!("TRACE {path} HTTP/1.1")), Gets::Status(404)),
        ("CONNECT", line("CONNECT example.com:443 HTTP/1.1"), Gets::Status(404)),
        ("OPTIONS", line("OPTIONS * HTTP/1.1"), Gets::Refused),
        (
            "an absolute target",
            line(&format!("POST http://evil.test{path} HTTP/1.1")),
            Gets::Served,
        ),
        ("another scheme", line("POST file:///etc/passwd HTTP/1.1"), Gets::Refused),
        ("an authority", line("POST evil.test:80 HTTP/1.1"), Gets::Refused),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Gets::Refused),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), Gets::Refused),
        ("garbage", (0..=255_u8).cycle().take(8000).collect(), Gets::Refused),
        ("NULs", vec![0; 300_000], Gets::Refused),
        ("an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(), Gets::Refused),
    ];
    hold(scene, cases).await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cut_short_is_not_forwarded() {
    let scene = Scene::new(&[]).await;
    let call = scene.call("");
    for cut in (0..call.len()).step_by(37) {
        let heard = send_and_hang_up(scene.at(), &call.as_bytes()[..cut]).await;
        check(&format!("cut at {cut}"), &heard, Gets::Refused);
    }
    scene.provider_saw(0);
    scene.end().await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_behind_a_refused_request_is_not_a_request() {
    let scene = Scene::new(&[]).await;
    let (at, hidden) = (scene.at(), scene.call("x-hidden: 1\r\n"));
    let (token, length) = (&scene.run.token, hidden.len());
    let head = |path: &str, token: &str, framing: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n{framing}\r\n{hidden}"
        )
    };
    let (chat, whole) = ("/v1/chat/completions", format!("content-length: {length}\r\n"));
    for (name, bytes) in [
        ("as a body that is no JSON", head(chat, token, &whole)),
        ("of an unknown endpoint", head("/v1/files", token, &whole)),
        ("of a bad credential", head(chat, "rg-run-x", &whole)),
        ("of an unknown encoding", head(chat, token, &format!("{whole}content-encoding: br\r\n"))),
        ("of a body that is too large", head(chat, token, "content-length: 99999999\r\n")),
        ("of a WebSocket", head(chat, token, "upgrade: websocket\r\nconnection: upgrade\r\n")),
        ("of a bad chunk", head(chat, token, "transfer-encoding: chunked\r\n")),
        ("of two lengths", head(chat, token, &format!("content-length: 0\r\n{whole}"))),
        (
            "of CONNECT",
            head(chat, token, "").replacen("POST /v1/chat/completions", "CONNECT a:1", 1),
        ),
    ] {
        let heard = send_and_hang_up(at, bytes.as_bytes()).await;
        check(name, &heard, Gets::Refused);
        scene.provider_saw(0);
    }
    scene.end().await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_each_other_are_answered_each_for_itself() {
    let scene = Scene::new(&[]).await;
    let get = "GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n";
    let last = "GET /readyz HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
    let bytes =
        [&scene.call(""), get, &scene.call(""), "GET /nope HTTP/1.1\r\nhost: g\r\n\r\n", last];
    let heard = send(scene.at(), bytes.concat().as_bytes()).await;
    assert_eq!(heard.statuses, [200, 200, 200, 404, 200], "{}", heard.text);
    scene.provider_saw(2);
    scene.end().await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_continue_is_told_to() {
    let scene = Scene::new(&[]).await;
    let mut socket = TcpStream::connect(scene.at()).await.unwrap();
    let call = scene.call("expect: 100-continue\r\n");
    let (head, body) = call.split_at(call.len() - ASK.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut socket).await.statuses, [100]);
    socket.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut socket).await.statuses, [200]);
    scene.provider_saw(1);
    scene.end().await;
}
