//! Runs and calls as the control plane answers them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::control::AttemptBudget;
use crate::domain::id::{Attempt, OrganizationId, ReservationId, RunId};
use crate::domain::money::Usd;
use crate::domain::run::OnCap;
use crate::domain::settlement::{CostSource, Flag};
use crate::domain::usage::Tokens;
use crate::gateway::runs::OpenedRun;
use crate::http::usage_view::{UsageView, instant};
use crate::ledger::{CallRecord, RunRecord};
use crate::protocol::schema::InstantText;

use super::control;

/// A run with its usage, on one level. The state, attempt and cap are among the usage's fields.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Run")]
pub(super) struct RunView {
    id: RunId,
    organization_id: OrganizationId,
    /// Shown once, where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(flatten)]
    usage: UsageView,
    allowed_models: Option<Vec<String>>,
    token_limit: Option<Tokens>,
    call_limit: Option<u32>,
    max_concurrency: Option<u32>,
    requests_per_minute: Option<u32>,
    max_output_tokens_per_call: Option<Tokens>,
    on_cap: OnCap,
    require_token: bool,
    model_aliases: Option<BTreeMap<String, String>>,
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    forced_parameters: Option<Box<RawValue>>,
    provider: Option<String>,
    /// Whether a call whose provider fails goes on to the next one that serves its model.
    fallback: bool,
    /// Whether the limits above and what is spent are for all attempts or the current one.
    attempt_budget: AttemptBudget,
    /// The providers that it brought keys of its own for, which are never shown.
    own_providers: Option<Vec<String>>,
    #[schemars(with = "Option<InstantText>")]
    expires_at: Option<String>,
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    metadata: Option<Box<RawValue>>,
    close_reason: Option<String>,
    #[schemars(with = "InstantText")]
    created_at: String,
    #[schemars(with = "Option<InstantText>")]
    closed_at: Option<String>,
}

impl RunView {
    /// The view of a record.
    pub(super) fn of(record: RunRecord) -> Self {
        let usage = UsageView::of(&record);
        let RunRecord { run, metadata, close_reason, created_at, closed_at, .. } = record;
        let terms = run.terms;
        Self {
            id: run.id,
            organization_id: terms.organization,
            token: None,
            usage,
            allowed_models: terms.allowed_models,
            token_limit: terms.token_limit,
            call_limit: terms.call_limit,
            max_concurrency: terms.max_concurrency,
            requests_per_minute: terms.requests_per_minute,
            max_output_tokens_per_call: terms.max_output_tokens_per_call,
            on_cap: terms.on_cap,
            require_token: terms.require_token,
            forced_parameters: control::object(&terms.control.forced_parameters),
            model_aliases: Some(terms.control.model_aliases).filter(|all| !all.is_empty()),
            provider: terms.control.provider,
            fallback: terms.control.fallback,
            attempt_budget: terms.control.attempt_budget,
            own_providers: (!terms.control.own_providers.is_empty())
                .then_some(terms.control.own_providers),
            expires_at: run.standing.expires_at.map(instant),
            metadata: RawValue::from_string(metadata).ok(),
            close_reason,
            created_at: instant(created_at),
            closed_at: closed_at.map(instant),
        }
    }

    /// The view of a run that was just opened, with its token if it is new.
    pub(super) fn opened(opened: OpenedRun) -> Self {
        let token = opened.token.map(|token| token.expose_secret().to_owned());
        Self { token, ..Self::of(opened.record) }
    }
}

/// One ended attempt.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Call")]
pub(super) struct CallView {
    id: ReservationId,
    request_id: String,
    attempt: Attempt,
    /// Its name in the catalogue.
    model: String,
    /// What the client called it, where that is something else: an alias, or a name with a
    /// provider before it.
    requested_model: Option<String>,
    served_model: Option<String>,
    /// The service tier that it was served in, as the provider said, else as it was asked for; null
    /// of the default one. A word that is none of ours is the provider's own.
    service_tier: Option<String>,
    provider: String,
    endpoint: String,
    input_tokens: Tokens,
    cached_input_tokens: Tokens,
    cache_write_tokens: Tokens,
    output_tokens: Tokens,
    reasoning_tokens: Tokens,
    cost_usd: Usd,
    /// `usage`: the provider said; `estimate` and `worst_case`: it did not; `none`: nothing was
    /// bought.
    #[schemars(with = "CostSource")]
    cost_source: &'static str,
    price_version: String,
    /// What the client got; 499 if it had gone.
    status: Option<u16>,
    latency_ms: Option<u64>,
    ttfb_ms: Option<u64>,
    #[schemars(with = "InstantText")]
    created_at: String,
    /// Why somebody should look at this call.
    #[schemars(with = "Option<Flag>")]
    flag: Option<&'static str>,
}

impl CallView {
    /// The view of a record.
    pub(super) fn of(call: CallRecord) -> Self {
        let usage = call.charge.usage;
        Self {
            id: call.id,
            request_id: call.request_id,
            attempt: call.attempt,
            model: call.model,
            requested_model: call.requested_model,
            served_model: call.served_model,
            service_tier: call.service_tier,
            provider: call.provider,
            endpoint: call.endpoint,
            input_tokens: usage.input(),
            cached_input_tokens: usage.cached_input,
            cache_write_tokens: usage.cache_write,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
            cost_usd: call.charge.cost.normalized(),
            cost_source: call.charge.source.as_str(),
            price_version: call.price_version,
            status: call.status,
            latency_ms: call.latency_ms,
            ttfb_ms: call.ttfb_ms,
            created_at: instant(call.created_at),
            flag: call.charge.flag.map(Flag::as_str),
        }
    }
}

/// A page of a list.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "{T}List")]
pub(super) struct ListView<T> {
    pub(super) data: Vec<T>,
    /// Where the next page begins: its `after`.
    pub(super) next: Option<String>,
}
