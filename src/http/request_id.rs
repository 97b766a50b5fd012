//! The name of a request, on its answer and in every log line about it.

use actix_web::http::header::HeaderMap;
use uuid::Uuid;

use crate::domain::key::may_hold_credential;

/// The header that carries it, both ways.
pub const REQUEST_ID: &str = "x-request-id";

const MAX_BYTES: usize = 128;

/// The caller's own id if it is sane and no credential, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_sane(id) && !may_hold_credential(id))
        .map_or_else(|| format!("req_{}", Uuid::now_v7().simple()), str::to_owned)
}

/// Short, and made of characters that no log, header or shell misreads.
fn is_sane(id: &str) -> bool {
    (1..=MAX_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}
