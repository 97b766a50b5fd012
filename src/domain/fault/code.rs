//! The codes of faults, and everything that is fixed about each.

/// The rule that was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The body cannot be understood.
    InvalidRequest,
    /// No such model, or it does not fit the endpoint.
    InvalidModel,
    /// What was given as a run id is none.
    InvalidRunId,
    /// Two names of the run disagree.
    RunIdMismatch,
    /// Nothing names a run.
    RunIdRequired,
    /// A field whose cost cannot be bounded, or that nobody knows.
    ParameterNotAllowed,
    /// The credential is not valid, for whatever reason.
    InvalidKey,
    /// The run's cap cannot afford the call.
    CostLimitExceeded,
    /// The key's dollars cannot afford the call.
    KeyBudgetExceeded,
    /// The organization's month cannot afford the call, or its cost circuit is open.
    CostCircuitOpen,
    /// What the organization has paid for in advance cannot afford the call.
    InsufficientCredits,
    /// The run is past running.
    RunClosed,
    /// The run is past its expiry.
    RunExpired,
    /// The run may not use this model.
    ModelNotAllowed,
    /// The key may not use this endpoint.
    EndpointNotAllowed,
    /// The organization is bound to the EU, and no provider of the model is there.
    EuResidencyUnavailable,
    /// The credential may not do this.
    Forbidden,
    /// There is no such run.
    RunNotFound,
    /// There is no such endpoint or object.
    NotFound,
    /// The run is not running yet.
    RunNotActive,
    /// The id is taken by a different registration.
    RunConflict,
    /// The new cap is below what is spent.
    LimitBelowSpent,
    /// The name or the id is taken.
    Conflict,
    /// The run cannot go there from where it is.
    InvalidTransition,
    /// The provider that serves the model has no key.
    ProviderNotConfigured,
    /// The body is larger than is accepted.
    RequestTooLarge,
    /// The body's type or encoding is not accepted.
    UnsupportedMediaType,
    /// A WebSocket was asked for.
    UpgradeNotSupported,
    /// Too many requests in too short a time.
    RateLimited,
    /// Too many calls at once.
    ConcurrencyLimited,
    /// The run's token budget cannot take the call.
    TokenCeilingExceeded,
    /// The run's call budget cannot take the call.
    CallLimitExceeded,
    /// Only reservations of calls in flight stand in the way.
    BudgetReserved,
    /// A bug.
    InternalError,
    /// The provider failed.
    UpstreamError,
    /// Draining, or the ledger cannot be reached.
    Unavailable,
    /// The provider did not answer in time.
    UpstreamTimeout,
}

/// Whose fault it is, as the header `x-error-origin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request is at fault.
    Client,
    /// A limit or a state that somebody set.
    Policy,
    /// The gateway failed.
    Gateway,
    /// The provider failed or refused.
    Upstream,
}

impl Origin {
    /// The word in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Policy => "policy",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// Everything that is fixed about a code.
struct Rule {
    name: &'static str,
    status: u16,
    kind: &'static str,
    origin: Origin,
    retryable: bool,
}

const fn rule(
    name: &'static str,
    status: u16,
    kind: &'static str,
    origin: Origin,
    retryable: bool,
) -> Rule {
    Rule { name, status, kind, origin, retryable }
}

const BAD: &str = "invalid_request_error";
const PERMISSION: &str = "permission_error";
const QUOTA: &str = "insufficient_quota";
const RATE: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 37] = [
        Self::InvalidRequest,
        Self::InvalidModel,
        Self::InvalidRunId,
        Self::RunIdMismatch,
        Self::RunIdRequired,
        Self::ParameterNotAllowed,
        Self::InvalidKey,
        Self::CostLimitExceeded,
        Self::KeyBudgetExceeded,
        Self::CostCircuitOpen,
        Self::InsufficientCredits,
        Self::RunClosed,
        Self::RunExpired,
        Self::ModelNotAllowed,
        Self::EndpointNotAllowed,
        Self::EuResidencyUnavailable,
        Self::Forbidden,
        Self::RunNotFound,
        Self::NotFound,
        Self::RunNotActive,
        Self::RunConflict,
        Self::LimitBelowSpent,
        Self::Conflict,
        Self::InvalidTransition,
        Self::ProviderNotConfigured,
        Self::RequestTooLarge,
        Self::UnsupportedMediaType,
        Self::UpgradeNotSupported,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::TokenCeilingExceeded,
        Self::CallLimitExceeded,
        Self::BudgetReserved,
        Self::InternalError,
        Self::UpstreamError,
        Self::Unavailable,
        Self::UpstreamTimeout,
    ];

    const fn rule(self) -> Rule {
        use Origin::{Client, Gateway, Policy, Upstream};
        match self {
            Self::InvalidRequest => rule("invalid_request", 400, BAD, Client, false),
            Self::InvalidModel => rule("invalid_model", 400, BAD, Client, false),
            Self::InvalidRunId => rule("invalid_run_id", 400, BAD, Client, false),
            Self::RunIdMismatch => rule("run_id_mismatch", 400, BAD, Client, false),
            Self::RunIdRequired => rule("run_id_required", 400, BAD, Client, false),
            Self::ParameterNotAllowed => rule("parameter_not_allowed", 400, BAD, Policy, false),
            Self::InvalidKey => rule("invalid_key", 401, "authentication_error", Client, false),
            Self::CostLimitExceeded => rule("cost_limit_exceeded", 402, QUOTA, Policy, false),
            Self::KeyBudgetExceeded => rule("key_budget_exceeded", 402, QUOTA, Policy, false),
            Self::CostCircuitOpen => rule("cost_circuit_open", 402, QUOTA, Policy, false),
            Self::InsufficientCredits => rule("insufficient_credits", 402, QUOTA, Policy, false),
            Self::RunClosed => rule("run_closed", 403, PERMISSION, Policy, false),
            Self::RunExpired => rule("run_expired", 403, PERMISSION, Policy, false),
            Self::ModelNotAllowed => rule("model_not_allowed", 403, PERMISSION, Policy, false),
            Self::EndpointNotAllowed => {
                rule("endpoint_not_allowed", 403, PERMISSION, Policy, false)
            }
            Self::EuResidencyUnavailable => {
                rule("eu_residency_unavailable", 403, PERMISSION, Policy, false)
            }
            Self::Forbidden => rule("forbidden", 403, PERMISSION, Policy, false),
            Self::RunNotFound => rule("run_not_found", 404, BAD, Client, false),
            Self::NotFound => rule("not_found", 404, BAD, Client, false),
            Self::RunNotActive => rule("run_not_active", 409, BAD, Policy, true),
            Self::RunConflict => rule("run_conflict", 409, BAD, Client, false),
            Self::LimitBelowSpent => rule("limit_below_spent", 409, BAD, Policy, false),
            Self::Conflict => rule("conflict", 409, BAD, Client, false),
            Self::InvalidTransition => rule("invalid_transition", 409, BAD, Policy, false),
            Self::ProviderNotConfigured => rule("provider_not_configured", 412, BAD, Policy, false),
            Self::RequestTooLarge => rule("request_too_large", 413, BAD, Client, false),
            Self::UnsupportedMediaType => rule("unsupported_media_type", 415, BAD, Client, false),
            Self::UpgradeNotSupported => rule("upgrade_not_supported", 426, BAD, Client, false),
            Self::RateLimited => rule("rate_limited", 429, RATE, Policy, true),
            Self::ConcurrencyLimited => rule("concurrency_limited", 429, RATE, Policy, true),
            Self::TokenCeilingExceeded => rule("token_ceiling_exceeded", 429, QUOTA, Policy, false),
            Self::CallLimitExceeded => rule("call_limit_exceeded", 429, QUOTA, Policy, false),
            Self::BudgetReserved => rule("budget_reserved", 429, RATE, Policy, true),
            Self::InternalError => rule("internal_error", 500, SERVER, Gateway, true),
            Self::UpstreamError => rule("upstream_error", 502, SERVER, Upstream, true),
            Self::Unavailable => {
                rule("unavailable", 503, "service_unavailable_error", Gateway, true)
            }
            Self::UpstreamTimeout => rule("upstream_timeout", 504, SERVER, Upstream, true),
        }
    }

    /// The code as clients read it.
    pub const fn as_str(self) -> &'static str {
        self.rule().name
    }

    /// The HTTP status, unless a setting says otherwise for spent caps.
    pub const fn status(self) -> u16 {
        self.rule().status
    }

    /// OpenAI's word for this kind of error.
    pub const fn kind(self) -> &'static str {
        self.rule().kind
    }

    /// Whose fault it is.
    pub const fn origin(self) -> Origin {
        self.rule().origin
    }

    /// Whether the same request may succeed later.
    pub const fn retryable(self) -> bool {
        self.rule().retryable
    }
}
