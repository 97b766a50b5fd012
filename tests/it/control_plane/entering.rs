//! Who may enter, what is there, and which of two faults is told.

use std::sync::Arc;

use super::app::{App, MAX_BODY_BYTES, NOBODY, TOKEN};
use super::broken::Broken;

/// Every endpoint that names a run, with a body that is right.
const OF_A_RUN: [(&str, &str, &str); 7] = [
    ("GET", "", ""),
    ("PATCH", "", "{}"),
    ("POST", "/close", r#"{"mode":"drain"}"#),
    ("POST", "/attempts", "{}"),
    ("POST", "/token", ""),
    ("GET", "/usage", ""),
    ("GET", "/calls", ""),
];

/// Those of an organization.
const PROVIDERS: &str = "/organizations/00000000-0000-0000-0000-000000000001/inference/providers";
const NO_KEY: &str =
    "This credential is not valid here. Send ADMIN_TOKEN as `Authorization: Bearer …`.";
const NO_RUN: &str = "There is no run of this id. Check the id, or have the run registered first.";
const NO_PATH: &str =
    "There is no such endpoint on the control plane. Check the path and the method.";
const NO_LEDGER: &str =
    "The gateway cannot reach its ledger right now. Nothing was sent; try again shortly.";

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_credential_gets_the_same_answer() {
    let app = App::new().await;
    let basic = format!("Basic {TOKEN}");
    let longer = format!("Bearer {TOKEN}x");
    let bad =
        [None, Some(""), Some("Bearer"), Some("Bearer "), Some(TOKEN), Some(&basic), Some(&longer)];
    for credential in bad {
        let providers = ["GET", "PUT"].map(|method| format!("{method} {PROVIDERS}"));
        let runs = ["POST /runs", "GET /runs", "GET /metrics", "GET /nowhere", "PUT /runs"];
        for what in runs.into_iter().chain(providers.iter().map(String::as_str)) {
            let mut request = app.request(what);
            if let Some(credential) = credential {
                request = request.header("authorization", credential);
            }
            let answer = app.send(request).await;
            answer.refuses(401, "invalid_key", None, NO_KEY);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    let twice = app.request("GET /runs").bearer_auth(TOKEN).bearer_auth(TOKEN);
    app.send(twice).await.refuses(401, "invalid_key", None, NO_KEY);
    let lower = app.request("GET /runs").header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(app.send(lower).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_comes_before_everything_but_size_and_encoding() {
    let app = App::new().await;
    let bad_token = |what: &str| app.request(what).bearer_auth("wrong");
    for (method, path, _) in OF_A_RUN {
        let what = format!("{method} /runs/not-a-uuid{path}?a=1");
        let answer = app.send(bad_token(&what).body("{\"nope\"")).await;
        answer.refuses(401, "invalid_key", None, NO_KEY);
    }
    let broken = bad_token("POST /runs").header("content-encoding", "gzip").body("not gzip");
    app.send(broken).await.refuses(401, "invalid_key", None, NO_KEY);
    app.send(bad_token("POST /runs").body(vec![b' '; MAX_BODY_BYTES + 1])).await.refuses(
        413,
        "request_too_large",
        None,
        "The body is larger than 1048576 bytes, decoded. Send a shorter request.",
    );
    app.send(bad_token("POST /runs").header("content-type", "text/plain").body("{}"))
        .await
        .refuses(
            415,
            "unsupported_media_type",
            None,
            "Send the body as `content-type: application/json`.",
        );
    app.send(bad_token("POST /runs").header("content-encoding", "br").body("{}")).await.refuses(
        415,
        "unsupported_media_type",
        None,
        "The body's content-encoding is not supported. Send it plain, or as gzip or zstd.",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_on_a_body_that_does_not_end() {
    let answered = ask_without_end(TOKEN).await;
    assert!(answered.starts_with("HTTP/1.1 413 "), "{answered}");
}

/// What may become large is not read of somebody unknown: that it is too large would tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_may_become_large_is_read_only_of_a_good_credential() {
    let answered = ask_without_end("nobodys").await;
    assert!(answered.starts_with("HTTP/1.1 401 "), "{answered}");
}

/// What is answered, to the end of the connection, to a body that is too large and goes on.
async fn ask_without_end(credential: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let app = App::new().await;
    let address = app.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /runs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {credential}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let spaces = " ".repeat(MAX_BODY_BYTES + 1);
    let request = format!("{head}{:x}\r\n{spaces}\r\n", spaces.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answered = String::new();
    let reading = stream.read_to_string(&mut answered);
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), reading).await;
    read.expect("the connection stays open").unwrap();
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_comes_before_the_run_and_the_run_before_its_state() {
    let app = App::new().await;
    for (method, path, body) in OF_A_RUN {
        let unknown = format!("{method} /runs/{NOBODY}{path}");
        app.ask(&unknown, body).await.refuses(404, "run_not_found", None, NO_RUN);
        let malformed = format!("{method} /runs/me{path}");
        app.ask(&malformed, body).await.refuses(
            400,
            "invalid_run_id",
            Some("id"),
            "The run id in the path is not a UUID.",
        );
        if method != "GET" {
            for what in [&unknown, &malformed] {
                app.ask(what, r#"{"nope":1}"#).await.refuses(
                    400,
                    "invalid_request",
                    Some("nope"),
                    "nope is not a field of this request; leave it out.",
                );
            }
        }
    }
    for (path, body) in [
        ("close", r#"{"mode":"drain","status":"running"}"#),
        ("attempts", r#"{"status":"finished"}"#),
    ] {
        let answer = app.ask(&format!("POST /runs/{NOBODY}/{path}"), body).await;
        answer.refuses(404, "run_not_found", None, NO_RUN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_an_endpoint_is_not_found() {
    let app = App::new().await;
    for what in [
        "GET /",
        "PUT /runs",
        "DELETE /runs",
        "GET /runs/",
        "POST /metrics",
        "POST /healthz",
        "GET /v1/models",
        "GET /%2fruns",
    ] {
        app.ask(what, "").await.refuses(404, "not_found", None, NO_PATH);
    }
    let of_a_run = format!("DELETE /runs/{NOBODY}");
    app.ask(&of_a_run, "").await.refuses(404, "not_found", None, NO_PATH);
    let deeper = format!("GET /runs/{NOBODY}/usage/more");
    app.ask(&deeper, "").await.refuses(404, "not_found", None, NO_PATH);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_needs_no_token() {
    let app = App::new().await;
    for path in ["GET /healthz", "GET /readyz"] {
        assert_eq!(app.send(app.request(path)).await.status, 200, "{path}");
    }
    app.gateway.drain();
    assert_eq!(app.send(app.request("GET /healthz")).await.status, 200);
    app.send(app.request("GET /readyz")).await.refuses(
        503,
        "unavailable",
        None,
        "This gateway is shutting down. Nothing was sent; try again shortly.",
    );
    // Orchestrators still get their bills.
    assert_eq!(app.ask("GET /runs", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text_for_the_operator() {
    let app = App::new().await;
    let answer = app.ask("GET /metrics", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developers_gateway_asks_for_no_token() {
    let app = App::on(Arc::new(Broken::default()), None).await;
    let answer = app.send(app.request("GET /runs")).await;
    answer.refuses(503, "unavailable", None, NO_LEDGER);
    assert_eq!(answer.headers["x-rungate-mode"], "dev");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ledger_everything_is_unavailable_and_nothing_leaks() {
    let app = App::on(Arc::new(Broken::default()), Some(TOKEN)).await;
    let runs =
        OF_A_RUN.map(|(method, path, body)| (format!("{method} /runs/{NOBODY}{path}"), body));
    let others = [
        ("GET /runs".to_owned(), ""),
        ("POST /runs".to_owned(), r#"{"cost_limit_usd":1}"#),
        ("GET /readyz".to_owned(), ""),
        ("GET /usage".to_owned(), ""),
        (format!("GET {PROVIDERS}"), ""),
        (format!("PUT {PROVIDERS}"), r#"{"provider":"openai","api_key":"a"}"#),
        (format!("DELETE {PROVIDERS}/openai"), ""),
    ];
    for (what, body) in runs.into_iter().chain(others) {
        let answer = app.ask(&what, body).await;
        answer.refuses(503, "unavailable", None, NO_LEDGER);
        assert_eq!(answer.headers["retry-after"], "1", "{what}");
    }
    assert_eq!(app.ask("GET /healthz", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_a_request_id_and_are_never_cached() {
    let app = App::new().await;
    let run = app.ask("POST /runs", r#"{"cost_limit_usd":1}"#).await;
    assert_eq!(run.headers["x-request-id"], "test-1");
    assert_eq!(run.headers["cache-control"], "no-store");
    let strange = app.bare("GET /healthz").header("x-request-id", "two words");
    let ids = app.send(strange).await.headers;
    assert!(ids["x-request-id"].to_str().unwrap().starts_with("req_"));
}
