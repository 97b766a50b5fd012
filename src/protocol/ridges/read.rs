//! Bodies as types, strictly: what is not a member is refused by its name.

use serde::Deserialize;
use serde_json::error::Category;

use crate::domain::fault::{Code, Fault};
use crate::protocol::json::syntax_fault;

/// How much a message says of what is wrong, in characters: it may repeat a name that the client
/// chose.
const MAX_SHOWN: usize = 300;

/// Reads a body.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    // An array would be read as an object's members in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        let says = "The body must be one JSON object.";
        return Err(Fault::new(Code::InvalidRequest, says));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => data_fault(&error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => syntax_fault(&error),
    })
}

/// Names the member, and repeats no value.
fn data_fault(says: &str) -> Fault {
    let code = match says.starts_with("unknown field") {
        true => Code::ParameterNotAllowed,
        false => Code::InvalidRequest,
    };
    let says = match says.rsplit_once("expected ") {
        Some((_, expected)) if says.starts_with("invalid") => format!("expected {expected}"),
        _ => says.to_owned(),
    };
    let shown: String = says
        .chars()
        .take(MAX_SHOWN)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    Fault::new(code, format!("The body is not what this endpoint takes: {shown}."))
}
