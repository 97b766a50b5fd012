//! The Responses wire format: bytes in, bytes out, and by way of chat completions.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test fails by panicking"
)]

mod answers;
mod fields;
pub(crate) mod generate;
mod grammar;
mod refusals;
mod requests;
mod streams;
mod to_chat;
mod translated;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rungate::domain::fault::Fault;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::providers::find;
use serde_json::Value;

const BOUND: Tokens = Tokens::new(100);

fn parse(body: &str) -> Result<Request, Fault> {
    Request::parse(Format::Responses, Bytes::copy_from_slice(body.as_bytes()))
}

fn accept(body: &str) -> Request {
    parse(body).unwrap_or_else(|fault| panic!("{fault:?} for {body:.300}"))
}

/// A body with one message and these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","input":"hi",{members}}}"#)
}

/// A body with this item.
fn item(members: &str) -> String {
    format!(r#"{{"model":"m","input":[{{{members}}}]}}"#)
}

/// A body with a message of the user that has this part.
fn part(members: &str) -> String {
    item(&format!(r#""role":"user","content":[{{{members}}}]"#))
}

fn upstream(body: &str, provider: &str) -> String {
    let dialect = &find(provider).unwrap().dialect;
    let sent = accept(body).into_upstream("up/m", dialect, BOUND);
    String::from_utf8(sent.bytes.to_vec()).unwrap()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn fixture(name: &str) -> String {
    let path = fixtures().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:.300}"))
}

/// Holds `found` against a fixture, or writes it there if `UPDATE_FIXTURES` is set.
fn check_fixture(name: &str, found: &str) {
    let path = fixtures().join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name}; UPDATE_FIXTURES=1 writes it");
}
