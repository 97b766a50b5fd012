//! The OpenAI chat wire format: bytes in, bytes out.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test fails by panicking"
)]

mod answers;
mod bodies;
mod fields;
pub(crate) mod generate;
mod hostile;
mod refusals;
mod streams;
mod streams_told;
mod unpriced;

use bytes::Bytes;
use rungate::domain::fault::Fault;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::providers::{Dialect, find};

fn parse(body: &str) -> Result<Request, Fault> {
    Request::parse(Format::Chat, Bytes::copy_from_slice(body.as_bytes()))
}

fn accept(body: &str) -> Request {
    parse(body).unwrap_or_else(|fault| panic!("{fault:?} for {}", shorten(body)))
}

/// A body with one user message and these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{members}}}"#)
}

/// A body whose only message has these members beside its role.
fn message(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user",{members}}}]}}"#)
}

fn part(members: &str) -> String {
    message(&format!(r#""content":[{members}]"#))
}

fn dialect(provider: &str) -> &'static Dialect {
    &find(provider).unwrap().dialect
}

fn shorten(body: &str) -> String {
    body.chars().take(200).collect()
}
