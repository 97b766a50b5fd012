//! How the domain's values look in JSON, for documents that describe it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::domain::control::AttemptBudget;
use crate::domain::id::{Attempt, KeyId, OrchestratorKeyId, OrganizationId, ReservationId, RunId};
use crate::domain::money::Usd;
use crate::domain::organization::{KeyStatus, Role};
use crate::domain::run::{OnCap, RunState};
use crate::domain::settlement::{CostSource, Flag};
use crate::domain::tier::ServiceTier;
use crate::domain::usage::Tokens;

/// Exact decimal text of US dollars.
pub struct UsdText;

/// A day, as in `2026-01-31`.
pub struct DayText;

/// An instant of RFC 3339, in UTC.
pub struct InstantText;

macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(UsdText, "Usd", {
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9]+)?$",
});
schema!(DayText, "Day", { "type": "string", "format": "date" });
schema!(InstantText, "Instant", { "type": "string", "format": "date-time" });
schema!(RunId, "RunId", { "type": "string", "format": "uuid" });
schema!(OrganizationId, "OrganizationId", { "type": "string", "format": "uuid" });
schema!(ReservationId, "CallId", { "type": "string", "format": "uuid" });
schema!(KeyId, "KeyId", { "type": "string", "format": "uuid" });
schema!(OrchestratorKeyId, "OrchestratorKeyId", { "type": "string", "format": "uuid" });
schema!(KeyStatus, "KeyStatus", {
    "type": "string",
    "enum": KeyStatus::ALL.map(KeyStatus::as_str),
});
schema!(Role, "Role", { "type": "string", "enum": Role::ALL.map(Role::as_str) });
schema!(ServiceTier, "ServiceTier", { "type": "string", "enum": ServiceTier::WORDS });
schema!(Attempt, "Attempt", { "type": "integer", "minimum": 1 });
schema!(Tokens, "Tokens", { "type": "integer", "minimum": 0 });
schema!(RunState, "RunState", { "type": "string", "enum": RunState::ALL.map(RunState::as_str) });
schema!(AttemptBudget, "AttemptBudget", {
    "type": "string", "enum": AttemptBudget::ALL.map(AttemptBudget::as_str)
});
schema!(OnCap, "OnCap", { "type": "string", "enum": OnCap::ALL.map(OnCap::as_str) });
schema!(CostSource, "CostSource", {
    "type": "string",
    "enum": CostSource::ALL.map(CostSource::as_str),
});
schema!(Flag, "Flag", { "type": "string", "enum": Flag::ALL.map(Flag::as_str) });

impl JsonSchema for Usd {
    fn schema_name() -> Cow<'static, str> {
        UsdText::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        UsdText::json_schema(schemas)
    }
}
