//! Faults: every way a request can fail, under a stable code.
//!
//! A code states the violated rule and never changes. What a client reads says what to do next;
//! what only an operator may read is kept apart and is printed by no `Display`.

use std::borrow::Cow;
use std::fmt;

use super::money::Usd;

mod code;

pub use code::{Code, Origin};

/// The numbers behind a refusal about money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyFacts {
    /// The run's cap.
    pub limit: Usd,
    /// What its calls have cost.
    pub spent: Usd,
    /// What its calls in flight may cost.
    pub reserved: Usd,
    /// What this call may cost.
    pub worst_case: Usd,
}

/// What a provider answered, safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// Its status, if it came to one.
    pub status: Option<u16>,
    /// Its body, scrubbed and cut; empty where it must not be shown.
    pub body: String,
}

/// A provider's own verdict on the request, which reaches the client as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamVerdict {
    /// 400, 404, 413 or 422.
    pub status: u16,
    /// The provider's code.
    pub code: Option<String>,
    /// The provider's type.
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    message: Cow<'static, str>,
    param: Option<String>,
    money: Option<MoneyFacts>,
    retry_after: Option<u32>,
    upstream: Option<UpstreamFailure>,
    verdict: Option<UpstreamVerdict>,
    not_retryable: bool,
    internal: Option<String>,
}

/// One failure of one request.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    details: Box<Details>,
}

impl Fault {
    /// A fault with what its reader should know and do.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, details: Box::new(Details { message: message.into(), ..Details::default() }) }
    }

    /// A fault whose reader can only wait; the reason is for the operator.
    pub fn internal(code: Code, message: &'static str, reason: impl fmt::Display) -> Self {
        let mut fault = Self::new(code, message);
        fault.details.internal = Some(reason.to_string());
        fault
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.details.param = Some(param.into());
        self
    }

    /// Adds the numbers of a refusal about money.
    #[must_use]
    pub fn money(mut self, money: MoneyFacts) -> Self {
        self.details.money = Some(money);
        self
    }

    /// Says after how many seconds a retry may help.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.retry_after = Some(seconds);
        self
    }

    /// Says that a retry will not help, though it may for other faults of this code.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.details.not_retryable = true;
        self
    }

    /// Adds what the provider answered.
    #[must_use]
    pub fn upstream(mut self, failure: UpstreamFailure) -> Self {
        self.details.upstream = Some(failure);
        self
    }

    /// Passes a provider's verdict on.
    #[must_use]
    pub fn verdict(mut self, verdict: UpstreamVerdict) -> Self {
        self.details.verdict = Some(verdict);
        self
    }

    /// The violated rule.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What the client reads.
    pub fn message(&self) -> &str {
        &self.details.message
    }

    /// The field at fault.
    pub fn param_name(&self) -> Option<&str> {
        self.details.param.as_deref()
    }

    /// The numbers of a refusal about money.
    pub fn money_facts(&self) -> Option<&MoneyFacts> {
        self.details.money.as_ref()
    }

    /// After how many seconds a retry may help.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.retry_after
    }

    /// What the provider answered.
    pub fn upstream_failure(&self) -> Option<&UpstreamFailure> {
        self.details.upstream.as_ref()
    }

    /// The provider's verdict.
    pub fn upstream_verdict(&self) -> Option<&UpstreamVerdict> {
        self.details.verdict.as_ref()
    }

    /// What only an operator may read.
    pub fn internal_reason(&self) -> Option<&str> {
        self.details.internal.as_deref()
    }

    /// Whose fault it is.
    pub fn origin(&self) -> Origin {
        if self.details.verdict.is_some() { Origin::Upstream } else { self.code.origin() }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        !self.details.not_retryable && self.details.verdict.is_none() && self.code.retryable()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({}: {})", self.code.as_str(), self.details.message)
    }
}

impl std::error::Error for Fault {}
