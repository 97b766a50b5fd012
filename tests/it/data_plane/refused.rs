//! What a refusal looks like, all of it: status, headers and body to the byte.

use crate::support::client::Answer;

/// The published table: code, status, OpenAI's `type`, whose fault, whether a retry can help.
const RULES: &[(&str, u16, &str, &str, bool)] = &[
    ("invalid_request", 400, "invalid_request_error", "client", false),
    ("invalid_model", 400, "invalid_request_error", "client", false),
    ("invalid_run_id", 400, "invalid_request_error", "client", false),
    ("run_id_mismatch", 400, "invalid_request_error", "client", false),
    ("run_id_required", 400, "invalid_request_error", "client", false),
    ("parameter_not_allowed", 400, "invalid_request_error", "policy", false),
    ("invalid_key", 401, "authentication_error", "client", false),
    ("cost_limit_exceeded", 402, "insufficient_quota", "policy", false),
    ("run_closed", 403, "permission_error", "policy", false),
    ("run_expired", 403, "permission_error", "policy", false),
    ("model_not_allowed", 403, "permission_error", "policy", false),
    ("run_not_found", 404, "invalid_request_error", "client", false),
    ("not_found", 404, "invalid_request_error", "client", false),
    ("run_not_active", 409, "invalid_request_error", "policy", true),
    ("provider_not_configured", 412, "invalid_request_error", "policy", false),
    ("request_too_large", 413, "invalid_request_error", "client", false),
    ("unsupported_media_type", 415, "invalid_request_error", "client", false),
    ("upgrade_not_supported", 426, "invalid_request_error", "client", false),
    ("rate_limited", 429, "rate_limit_error", "policy", true),
    ("concurrency_limited", 429, "rate_limit_error", "policy", true),
    ("token_ceiling_exceeded", 429, "insufficient_quota", "policy", false),
    ("call_limit_exceeded", 429, "insufficient_quota", "policy", false),
    ("budget_reserved", 429, "rate_limit_error", "policy", true),
    ("upstream_error", 502, "server_error", "upstream", true),
    ("unavailable", 503, "service_unavailable_error", "gateway", true),
    ("upstream_timeout", 504, "server_error", "upstream", true),
];

/// An expected refusal.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub code: &'static str,
    status: u16,
    param: Option<String>,
    message: String,
    /// Members of the error after its `request_id`, as JSON text.
    more: String,
    retry_after: Option<String>,
}

/// The refusal of this code, with what its code alone says.
pub(super) fn refused(code: &'static str, message: impl Into<String>) -> Refused {
    let (_, status, _, _, retry) = rule(code);
    let retry_after = match (status, retry) {
        (429, false) => Some("60"),
        (409 | 429 | 503, true) => Some("1"),
        _ => None,
    };
    Refused {
        code,
        status,
        param: None,
        message: message.into(),
        more: String::new(),
        retry_after: retry_after.map(str::to_owned),
    }
}

fn rule(code: &str) -> (&'static str, u16, &'static str, &'static str, bool) {
    let found = RULES.iter().find(|rule| rule.0 == code);
    *found.unwrap_or_else(|| panic!("{code} is not in the table"))
}

impl Refused {
    pub(super) fn param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn more(mut self, more: impl Into<String>) -> Self {
        self.more = more.into();
        self
    }

    pub(super) fn retry_after(mut self, seconds: Option<&str>) -> Self {
        self.retry_after = seconds.map(str::to_owned);
        self
    }

    /// What is wrong with an answer; nothing if it is this refusal.
    fn differences(&self, answer: &Answer) -> Vec<String> {
        let (code, _, kind, origin, retry) = rule(self.code);
        let id = answer.header("x-request-id").unwrap_or_default();
        let param = self.param.as_ref().map_or("null".to_owned(), |param| format!("{param:?}"));
        let (message, more) = (serde_json::Value::from(self.message.clone()), &self.more);
        let names = format!(r#""type":"{kind}","code":"{code}","param":{param}"#);
        let body =
            format!(r#"{{"error":{{"message":{message},{names},"request_id":"{id}"{more}}}}}"#);
        let should_retry = (!retry).then_some("false");
        let mut found = Vec::new();
        let mut differ = |what: &str, is: Option<&str>, should_be: Option<&str>| {
            if is != should_be {
                found.push(format!("  {what}\n    is        {is:?}\n    should be {should_be:?}"));
            }
        };
        differ("status", Some(&answer.status.to_string()), Some(&self.status.to_string()));
        differ("body", Some(&answer.text), Some(&body));
        differ("content-type", answer.header("content-type"), Some("application/json"));
        differ("x-error-origin", answer.header("x-error-origin"), Some(origin));
        differ("x-should-retry", answer.header("x-should-retry"), should_retry);
        differ("retry-after", answer.header("retry-after"), self.retry_after.as_deref());
        if id.is_empty() {
            found.push("  x-request-id is missing".to_owned());
        }
        found
    }
}

/// Holds answers against what they should be, and tells of all that differ at once.
#[derive(Default)]
pub(super) struct Checked(Vec<String>);

impl Checked {
    pub(super) fn refusal(&mut self, name: &str, answer: &Answer, expected: &Refused) {
        let found = expected.differences(answer);
        if !found.is_empty() {
            self.0.push(format!("{name}:\n{}", found.join("\n")));
        }
    }

    pub(super) fn done(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// One answer against one refusal.
pub(super) fn check(name: &str, answer: &Answer, expected: &Refused) {
    let mut checked = Checked::default();
    checked.refusal(name, answer, expected);
    checked.done();
}
