//! Service tiers: what they cost to the last digit, who asks for one, and what is charged.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod catalogue;
mod imported;
mod bounds;
mod stage;
mod asking;
mod charged;
mod streamed;
mod set;

/// Models with prices of other tiers.
const MODELS: &str = include_str!("../../fixtures/tiers/models.toml");
