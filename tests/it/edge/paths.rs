//! Targets that only look like an endpoint's.

use super::raw::{ASK, Scene, send};

/// What is no endpoint of the data plane.
const NOWHERE: &[&str] = &[
    "/",
    "",
    "/v1",
    "/v1/",
    "/v2/chat/completions",
    "/chat/completions",
    "/v1/chat",
    "/v1/../admin",
    "/v1/../runs",
    "/v1/%2e%2e/runs",
    "/v1/..%2fruns",
    "/v1/..;/runs",
    "/v1/./chat/completions",
    "/v1//chat/completions",
    "//v1/chat/completions",
    "///v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "/v1/chat/completions.",
    "/v1/chat/completions..",
    "/v1/chat/completions%20",
    "/v1/chat/completions%00",
    "/v1/chat/completions%00.json",
    "/v1/chat/completions;a=b",
    "/v1/chat/completions%3Fx",
    "/v1/chat/completions%23x",
    "/v1/chat/completions/x",
    "/v1/chat/completions/../../../runs",
    "/v1%2fchat%2fcompletions",
    "/v1/chat%2Fcompletions",
    "/v1/chat%5Ccompletions",
    "/v1\\chat\\completions",
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/v1/chat/completions%0d%0aX-A:%201",
    "/v1/chat/%c0%afcompletions",
    "/v1/files",
    "/v1/files/file-1",
    "/v1/batches",
    "/v1/fine_tuning/jobs",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/assistants",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/uploads",
    "/v1/completions",
    "/v1/moderations",
    "/v1/organization/costs",
    "/v1/chat/completions/chatcmpl-1",
    "/v1/realtime",
    "/azure/openai/deployments/x/chat/completions",
    "/openai/deployments/x",
    "/anthropic/v1/messages",
    "/v1beta/models/x:generateContent",
    "/runs",
    "/metrics",
    "/admin",
    "/key/generate",
    "/.env",
    "/proxy?url=http://169.254.169.254/",
    "/http://evil.test/v1",
    "/r/",
    "/r//v1/chat/completions",
    "/r/a/b/v1/chat/completions",
    "/r/x/../../runs",
    "/r/x/runs",
];

/// Threat 16.
#[tokio::test(flavor = "multi_thread")]
async fn no_trick_with_a_path_reaches_anything_but_the_endpoints() {
    let scene = Scene::new(&[]).await;
    let chat = "/v1/chat/completions";
    for path in NOWHERE {
        for method in ["POST", "GET"] {
            let bytes = scene.call("connection: close\r\n").replacen(
                &format!("POST {chat}"),
                &format!("{method} {path}"),
                1,
            );
            let heard = send(scene.at(), bytes.as_bytes()).await;
            let expected: &[u16] = if path.is_empty() { &[400] } else { &[404] };
            assert_eq!(heard.statuses, expected, "{method} {path}: {}", heard.text);
        }
    }
    scene.provider_saw(0);
    scene.end().await;
}

/// Threat 16.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_by_another_spelling_is_the_same_endpoint() {
    let scene = Scene::new(&[]).await;
    let mut served = 0;
    for path in [
        "/v1/chat/completions?api_base=http://evil.test&path=/v1/files",
        "/v1/ch%61t/completions",
        "/%761/chat/completions",
        "/inference/v1/chat/completions",
        "/api/v1/chat/completions",
    ] {
        let bytes = scene.call("connection: close\r\n").replacen(
            "POST /v1/chat/completions",
            &format!("POST {path}"),
            1,
        );
        assert_eq!(send(scene.at(), bytes.as_bytes()).await.statuses, [200], "{path}");
        served += 1;
        scene.provider_saw(served);
    }
    scene.end().await;
}

/// Threat 34.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_refused_at_once_and_nothing_is_forwarded() {
    let scene = Scene::new(&[]).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (head, at) = (scene.head(), scene.at());
    let refused = [
        ("GET /v1/chat/completions", String::new()),
        ("POST /v1/chat/completions", format!("content-length: {}\r\n", ASK.len())),
        ("GET /v1/responses", String::new()),
        ("GET /v1/usage", String::new()),
    ]
    .map(|(path, framing)| {
        let head = head.replacen("POST /v1/chat/completions", path, 1);
        let bytes = format!("{head}{upgrade}{framing}\r\n{ASK}");
        async move { (path, send(at, bytes.as_bytes()).await) }
    });
    for (path, heard) in futures_util::future::join_all(refused).await {
        assert_eq!(heard.statuses, [426], "{path}: {}", heard.text);
    }
    scene.provider_saw(0);
    scene.end().await;
}
