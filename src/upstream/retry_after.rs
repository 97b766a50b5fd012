//! What a provider's `retry-after` says: seconds, or the moment from which on.

use std::time::{Duration, SystemTime};

/// The seconds from `now` after which a retry may help: a number of them, or a date of HTTP (RFC
/// 9110, section 10.2.3), rounded up; one that is past is no wait at all. `None` if it is neither.
pub fn retry_after_seconds(value: &str, now: SystemTime) -> Option<u32> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().unwrap_or(u32::MAX));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    let wait = moment.duration_since(now).unwrap_or(Duration::ZERO);
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else_is() {
        // Sun, 06 Nov 1994 08:49:37 GMT, and half a second.
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("99999999999", Some(u32::MAX)),
            ("Sun, 06 Nov 1994 08:49:38 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(u32::MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994", None),
        ] {
            assert_eq!(retry_after_seconds(value, now), seconds, "{value:?}");
        }
    }
}
