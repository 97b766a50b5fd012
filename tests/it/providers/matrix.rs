//! Answers that break HTTP or the format: one table, one row in the ledger each.

use std::io::Write as _;

use serde_json::json;

use crate::data_plane::endings::{Booked, check_booked};
use crate::data_plane::endings_streams::{content, error_code};
use crate::data_plane::stage::{MODEL, Stage, ask, ask_streamed};
use crate::support::provider::{ScriptedProvider, Then, response};

pub(super) const WHOLE: &str = concat!(
    r#"{"model":"gpt-4o-mini","choices":[{"message":{"content":"Hello"}}],"#,
    r#""usage":{"prompt_tokens":8,"completion_tokens":2}}"#
);
pub(super) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
pub(super) const CHUNK: &str =
    "data: {\"model\":\"gpt-4o-mini\",\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
pub(super) const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2}}\n\n";
pub(super) const DONE: &str = "data: [DONE]\n\n";
pub(super) const SAID: Booked = Booked::Usage(8, 0, 2, MODEL);

/// One answer, and what comes of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) stream: bool,
    /// What the client gets, by its status or, within a stream, by an event of that status.
    pub(super) status: u16,
    /// The code of its error; empty if there is none.
    pub(super) code: &'static str,
    pub(super) booked: Booked,
}

pub(super) fn whole(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    booked: Booked,
) -> Case {
    let code = if status == 200 { "" } else { "upstream_error" };
    Case { name, bytes: bytes.into(), stream: false, status, code, booked }
}

pub(super) fn streamed(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    booked: Booked,
) -> Case {
    Case { stream: true, ..whole(name, bytes, status, booked) }
}

/// Makes each call once, before a provider that answers each with its own bytes.
pub(super) async fn check(cases: Vec<Case>) {
    let answers = cases.iter().map(|case| (case.bytes.clone(), Then::Close));
    let provider = ScriptedProvider::in_turn(answers).await;
    let settings = [("WORKERS", "1"), ("UPSTREAM_RETRIES", "0")];
    let stage = Stage::before(&provider, &settings).await;
    for (sent, case) in cases.iter().enumerate() {
        let Case { name, stream, status, code, booked, .. } = case;
        let run = stage.run(json!({})).await;
        let body = if *stream { ask_streamed("hi") } else { ask("hi") };
        let answer = stage.client().ask(&run, &body).await;
        assert_eq!(provider.seen().len(), sent + 1, "{name}: sent once");
        let begun = *stream && answer.status == 200;
        if begun {
            assert_eq!(error_code(&answer.text), *code, "{name}: {}", answer.text);
        } else {
            assert_eq!(answer.status, *status, "{name}: {answer:?}");
            let told = if code.is_empty() { None } else { Some("upstream") };
            assert_eq!(answer.header("x-error-origin"), told, "{name}");
            if told.is_some() {
                assert_eq!(answer.code(), *code, "{name}: {answer:?}");
            }
        }
        let output = if begun { content(&answer.text) } else { String::new() };
        check_booked(name, &stage, &run, ("hi", &output), *booked, &[*status]).await;
    }
    stage.end().await;
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn encoded(status: &str, content_type: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-encoding: {coding}\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn json_answer() -> String {
    response("200 OK", "application/json", WHOLE)
}

/// A head of 200 with these lines in it, and what follows it.
fn under(lines: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lines}\r\n\r\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_http_fails_and_is_paid_as_it_may_have_been_made() {
    let chunked = |rest: &str| under("transfer-encoding: chunked", rest);
    let event = format!("{:x}\r\n{CHUNK}\r\n", CHUNK.len());
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    let length = WHOLE.len();
    check(vec![
        whole("no HTTP", "SSH-2.0-OpenSSH_9.9\r\n", 502, Booked::WorstCase),
        whole("an old HTTP", WHOLE, 502, Booked::WorstCase),
        whole("no status", "HTTP/1.1 many OK\r\n\r\n", 502, Booked::WorstCase),
        whole("a colon too few", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", 502, Booked::WorstCase),
        whole("no chunk size", chunked("zz\r\n{}\r\n0\r\n\r\n"), 502, Booked::WorstCase),
        whole("2^64 bytes", chunked("10000000000000000\r\n{}"), 502, Booked::WorstCase),
        whole("no last chunk", chunked(&format!("{length:x}\r\n{WHOLE}")), 502, Booked::WorstCase),
        whole("a length too short", under("content-length: 9", WHOLE), 502, Booked::WorstCase),
        whole("a length too long", under("content-length: 999", WHOLE), 502, Booked::WorstCase),
        whole("a negative length", under("content-length: -1", WHOLE), 502, Booked::WorstCase),
        whole(
            "two lengths",
            under(&format!("content-length: 5\r\ncontent-length: {length}"), WHOLE),
            502,
            Booked::WorstCase,
        ),
        streamed(
            "no chunk size in a stream",
            format!("{events}\r\n\r\n{event}zz\r\n"),
            502,
            Booked::Estimate,
        ),
        streamed(
            "no last chunk after the last word",
            format!("{EVENTS}{CHUNK}{USAGE}{DONE}").replace("\r\nconnection: close", ""),
            200,
            SAID,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_passed_over_and_a_switch_of_protocols_is_a_failure() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let proceed = "HTTP/1.1 100 Continue\r\n\r\n";
    let answer = json_answer();
    check(vec![
        whole("100", format!("{proceed}{answer}"), 200, SAID),
        whole("103", format!("{early}{early}{answer}"), 200, SAID),
        streamed("103 before a stream", format!("{early}{EVENTS}{USAGE}{DONE}"), 200, SAID),
        whole("103 and no more", early, 502, Booked::WorstCase),
        whole(
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            502,
            Booked::WorstCase,
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_nobody_asked_for_is_not_relayed() {
    let stream = format!("{CHUNK}{USAGE}{DONE}");
    let (json, sse) = ("application/json", "text/event-stream");
    check(vec![
        whole("gzip", encoded("200 OK", json, "gzip", &gzipped(WHOLE)), 502, Booked::WorstCase),
        streamed(
            "a stream in gzip",
            encoded("200 OK", sse, "gzip", &gzipped(&stream)),
            502,
            Booked::WorstCase,
        ),
        streamed(
            "a stream that only says so",
            encoded("200 OK", sse, "br", stream.as_bytes()),
            502,
            Booked::WorstCase,
        ),
        whole("no encoding", encoded("200 OK", json, "identity", WHOLE.as_bytes()), 200, SAID),
        Case {
            code: "invalid_request",
            ..whole(
                "a verdict in gzip",
                encoded("400 Bad Request", json, "gzip", &gzipped(r#"{"error":{"code":"x"}}"#)),
                400,
                Booked::Nothing,
            )
        },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_in_the_format_fails_whatever_its_type_says() {
    let json = |body: &str| response("200 OK", "application/json", body);
    let truncated = &WHOLE[..WHOLE.len() - 20];
    let twice = WHOLE.replace("{\"model\"", "{\"usage\":{\"prompt_tokens\":0},\"model\"");
    let page = response("200 OK", "text/html", "<html>Sign in to the hotel's network</html>");
    check(vec![
        whole("half of it", json(truncated), 502, Booked::WorstCase),
        whole("no closing", json(r#"{"choices":[}"#), 502, Booked::WorstCase),
        whole("two usages", json(&twice), 502, Booked::WorstCase),
        whole("a text of its type", response("200 OK", "text/plain", WHOLE), 200, SAID),
        whole("nothing of its type", response("200 OK", "", WHOLE), 200, SAID),
        whole("a stream", format!("{EVENTS}{CHUNK}{USAGE}{DONE}"), 502, Booked::WorstCase),
        streamed("a page for a stream", page, 502, Booked::WorstCase),
        streamed("an empty answer", json(""), 502, Booked::WorstCase),
        streamed("half an event", format!("{EVENTS}data: {{\"cho"), 502, Booked::Estimate),
        streamed("no content", "HTTP/1.1 204 No Content\r\n\r\n", 502, Booked::WorstCase),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = ScriptedProvider::json(WHOLE).await;
    let to = format!("http://{}/v1/chat/completions", elsewhere.address);
    let redirect =
        |status: &str| format!("HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    check(vec![
        whole("301", redirect("301 Moved Permanently"), 502, Booked::WorstCase),
        whole("303", redirect("303 See Other"), 502, Booked::WorstCase),
        whole("307", redirect("307 Temporary Redirect"), 502, Booked::WorstCase),
        streamed("308", redirect("308 Permanent Redirect"), 502, Booked::WorstCase),
    ])
    .await;
    assert_eq!(elsewhere.seen(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_moment_from_which_a_provider_serves_again_reaches_the_client_in_seconds() {
    let now = std::time::SystemTime::now();
    let in_an_hour = httpdate::fmt_http_date(now + std::time::Duration::from_secs(3600));
    let told = [
        (in_an_hour.as_str(), Some("600")),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some("0")),
        ("-5", None),
        ("a while", None),
    ];
    let busy = |wait: &str| {
        let head = format!("HTTP/1.1 429 Too Many Requests\r\nretry-after: {wait}\r\n");
        (format!("{head}content-length: 0\r\n\r\n"), Then::Close)
    };
    let provider = ScriptedProvider::in_turn(told.map(|(wait, _)| busy(wait))).await;
    let stage = Stage::before(&provider, &[("UPSTREAM_RETRIES", "0")]).await;
    for (wait, told) in told {
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (502, told), "{wait}");
        assert_eq!(answer.header("x-error-origin"), Some("upstream"));
        check_booked(wait, &stage, &run, ("hi", ""), Booked::Nothing, &[502]).await;
    }
    stage.end().await;
}
