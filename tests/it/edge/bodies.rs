//! Bodies in chunks that are none.

use super::raw::{ASK, Scene, send, send_and_hang_up};

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_framed_wrong_are_refused() {
    let scene = Scene::new(&[]).await;
    let length = ASK.len();
    let head = format!("{}connection: close\r\ntransfer-encoding: chunked\r\n\r\n", scene.head());
    for (name, body) in [
        ("a negative size", format!("-{length:x}\r\n{ASK}\r\n0\r\n\r\n")),
        ("a signed size", format!("+{length:x}\r\n{ASK}\r\n0\r\n\r\n")),
        ("a size with 0x", format!("0x{length:x}\r\n{ASK}\r\n0\r\n\r\n")),
        ("no size", format!("\r\n{ASK}\r\n0\r\n\r\n")),
        ("a size beyond 64 bits", format!("{}\r\n{ASK}\r\n0\r\n\r\n", "f".repeat(17))),
        ("a size that wraps around", format!("1{}\r\n{ASK}\r\n0\r\n\r\n", "0".repeat(16))),
        ("a space in the size", format!("5 5\r\n{ASK}\r\n0\r\n\r\n")),
        ("no CR after the size", format!("{length:x}\n{ASK}\r\n0\r\n\r\n")),
        ("no LF after the size", format!("{length:x}\r{ASK}\r\n0\r\n\r\n")),
        ("no line end after the chunk", format!("{length:x}\r\n{ASK}0\r\n\r\n")),
        ("a chunk that is longer", format!("{:x}\r\n{ASK}\r\n0\r\n\r\n", length - 1)),
        ("NUL in an extension", format!("{length:x};\0\r\n{ASK}\r\n0\r\n\r\n")),
        ("a bare LF in an extension", format!("{length:x};a\n{ASK}\r\n0\r\n\r\n")),
    ] {
        let heard = send(scene.at(), format!("{head}{body}").as_bytes()).await;
        assert!(matches!(heard.statuses.as_slice(), [] | [400]), "{name}: {}", heard.text);
        scene.provider_saw(0);
    }
    for (name, body) in [
        ("the largest size", format!("{}\r\n{ASK}", "f".repeat(16))),
        ("a chunk that is shorter", format!("{:x}\r\n{ASK}", length + 1)),
        ("no last chunk", format!("{length:x}\r\n{ASK}\r\n")),
        ("no end of the last chunk", format!("{length:x}\r\n{ASK}\r\n0\r\n")),
        ("an extension without end", format!("{length:x};{}", "a".repeat(1 << 20))),
    ] {
        let heard = send_and_hang_up(scene.at(), format!("{head}{body}").as_bytes()).await;
        assert!(matches!(heard.statuses.as_slice(), [] | [400]), "{name}: {}", heard.text);
        scene.provider_saw(0);
    }
    scene.end().await;
}

/// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_refused_at_its_limit() {
    let scene = Scene::new(&[("MAX_BODY_BYTES", "200000")]).await;
    let head = format!("{}connection: close\r\ntransfer-encoding: chunked\r\n\r\n", scene.head());
    let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
    let heard = send(scene.at(), format!("{head}{}", chunk.repeat(100)).as_bytes()).await;
    assert_eq!(heard.statuses, [413], "{}", heard.text);
    scene.provider_saw(0);
    scene.end().await;
}

/// Threat 18.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_of_a_bad_credential_is_not_read() {
    let scene = Scene::new(&[]).await;
    let head = scene.head().replace(&scene.run.token, "rg-run-nobody");
    // Nothing of it is sent: an answer means that nobody waited for it.
    let bytes = format!("{head}content-length: 9000000\r\n\r\n");
    let heard = send(scene.at(), bytes.as_bytes()).await;
    assert_eq!(heard.statuses, [401], "{}", heard.text);
    scene.provider_saw(0);
    scene.end().await;
}
