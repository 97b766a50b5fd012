//! The wire formats besides chat: what is read of a request, an answer and a stream.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod embeddings;
mod messages;
mod messages_told;

use bytes::Bytes;
use rungate::domain::fault::Fault;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::providers::find;
use serde_json::Value;

const BOUND: Tokens = Tokens::new(100);

fn parse(format: Format, body: &Value) -> Result<Request, Fault> {
    Request::parse(format, Bytes::from(body.to_string()))
}

fn accept(format: Format, body: &Value) -> Request {
    parse(format, body).unwrap_or_else(|fault| panic!("{fault:?} for {body}"))
}

/// The code and the field that a body is refused for.
fn refusal(format: Format, body: &Value) -> (&'static str, String) {
    let fault = parse(format, body).err().unwrap_or_else(|| panic!("accepted: {body}"));
    (fault.code().as_str(), fault.param_name().unwrap_or_default().to_owned())
}

fn upstream(format: Format, body: &Value, provider: &str) -> Value {
    let dialect = &find(provider).unwrap().dialect;
    let sent = accept(format, body).into_upstream("up/m", dialect, BOUND);
    serde_json::from_slice(&sent.bytes).unwrap()
}

/// A body with these members besides.
fn and(mut body: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("members are an object") };
    body.as_object_mut().unwrap().extend(members);
    body
}
