//! An orchestrator's own notes about a run: any JSON object that Postgres can keep as `jsonb`.

use crate::domain::fault::Fault;
use crate::protocol::json;

use super::fields::Fields;

/// Most bytes of the notes, as they are sent.
pub(super) const MAX_BYTES: usize = 16 << 10;
/// Most digits of an exponent. Postgres keeps numbers in full, and refuses those that are too long.
const MAX_EXPONENT_DIGITS: usize = 3;

/// Reads the member `metadata`.
pub(super) fn read(fields: &Fields<'_>) -> Result<Option<String>, Fault> {
    const NAME: &str = "metadata";
    let Some(raw) = fields.given(NAME) else { return Ok(None) };
    if !raw.starts_with('{') {
        return Err(fields.wrong(NAME, "must be an object"));
    }
    if raw.len() > MAX_BYTES {
        return Err(fields.wrong(NAME, format!("must be at most {MAX_BYTES} bytes long")));
    }
    let mut nodes = json::MAX_NODES;
    json::check(raw, &mut nodes).map_err(|flaw| fields.wrong(NAME, flaw.says()))?;
    if let Some(says) = unstorable(raw) {
        return Err(fields.wrong(NAME, says));
    }
    Ok(Some(raw.to_owned()))
}

/// The notes with their keys in order and without spaces.
pub(super) fn canonical(metadata: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(metadata) else {
        return metadata.to_owned();
    };
    value.sort_all_objects();
    value.to_string()
}

/// What `jsonb` would refuse in a text that is valid JSON: a NUL character, or a number of
/// thousands of digits.
fn unstorable(raw: &str) -> Option<&'static str> {
    let (mut in_string, mut last) = (false, b' ');
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                if after.starts_with(b"u0000") {
                    return Some("must not hold NUL characters; leave them out");
                }
                rest = after.get(1..).unwrap_or_default();
            }
            b'e' | b'E' if !in_string && last.is_ascii_digit() => {
                let digits = after.iter().skip_while(|b| matches!(b, b'+' | b'-' | b'0'));
                if digits.take_while(|b| b.is_ascii_digit()).count() > MAX_EXPONENT_DIGITS {
                    return Some("has a number out of range; write it as a string");
                }
            }
            _ => {}
        }
        last = byte;
    }
    None
}
